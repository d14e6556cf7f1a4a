"""The spelling of each op in PyTorch: one table from op to a function that prints it.

Its keys, with the statements of `dialect.py`, say which ops may reach this backend.
"""

from __future__ import annotations

from nnc.emit import ADD, AND, MUL, OR, SHIFT, XOR, Emitter
from nnc.emit.spellings import slices
from nnc_torch import kernels, runtime
from nnc_torch.dot import dot, plus, step_dot
from nnc_torch.host import by_type
from nnc_torch.indices import (
    arg_reduction,
    argsort,
    cumsum,
    first_extremum,
    index_add,
    product,
    reduction,
    scatter_add,
    scatter_add_along,
    take,
    take_along,
)
from nnc_torch.inplace import gelu_grad, in_place
from nnc_torch.shapes import (
    broadcast,
    concat,
    dynamic_slice,
    dynamic_update,
    fold,
    pad,
    reshape,
    reverse,
    transpose,
    window,
)
from nnc_torch.spatial import (
    conv,
    conv_filter_grad,
    conv_input_grad,
    sum_pool,
    sum_pool_grad,
)
from nnc_torch.spellings import (
    along,
    bitcast,
    cast,
    comparison,
    const,
    extremum,
    function,
    helper,
    helper_along,
    integer_operator,
    iota,
    larger,
    negated,
    negative,
    operator,
    power,
    sign,
    size,
    softplus,
    where,
)
from nnc_torch.squares import times, total

TENSORS: dict[str, Emitter] = {
    # elementwise
    "neg": negative,
    "abs": function("torch.abs"),
    "sign": sign,
    "exp": function("torch.exp"),
    "expm1": function("torch.expm1"),
    "log": function("torch.log"),
    "log1p": function("torch.log1p"),
    "sqrt": function("torch.sqrt"),
    "rsqrt": function("torch.rsqrt"),
    "sin": function("torch.sin"),
    "cos": function("torch.cos"),
    "tan": function("torch.tan"),
    "tanh": function("torch.tanh"),
    "erf": function("torch.erf"),
    "erfinv": function("torch.erfinv"),
    "floor": function("torch.floor"),
    "ceil": function("torch.ceil"),
    "round": function("torch.round"),
    "not": negated,
    "is_finite": function("torch.isfinite"),
    "add": plus,
    "sub": operator("-", ADD),
    "mul": times,
    "div": operator("/", MUL),
    "pow": power,
    "rem": operator("%", MUL),
    "floordiv": operator("//", MUL),
    "maximum": extremum("torch.maximum", "min"),
    "minimum": extremum("torch.minimum", "max"),
    "atan2": function("torch.atan2"),
    "and": integer_operator("&", AND),
    "or": integer_operator("|", OR),
    "xor": integer_operator("^", XOR),
    "shift_left": integer_operator("<<", SHIFT),
    "shift_right": integer_operator(">>", SHIFT),
    "eq": comparison("=="),
    "ne": comparison("!="),
    "lt": comparison("<"),
    "le": comparison("<="),
    "gt": comparison(">"),
    "ge": comparison(">="),
    "where": where,
    "cast": cast,
    "bitcast": bitcast,
    # creation
    "const": const,
    "iota": iota,
    "size": size,
    # shape
    "reshape": reshape,
    "transpose": transpose,
    "broadcast": broadcast,
    "slice": slices,
    "pad": pad,
    "reverse": reverse,
    "concat": concat,
    "window": window,
    "fold": fold,
    "dynamic_slice": dynamic_slice,
    "dynamic_update": dynamic_update,
    # index and reduce
    "take": take,
    "take_along": take_along,
    "scatter_add": scatter_add,
    "scatter_add_along": scatter_add_along,
    "argsort": argsort,
    "sum": total,
    "max": reduction("amax"),
    "min": reduction("amin"),
    "prod": product,
    "argmax": arg_reduction("argmax"),
    "argmin": arg_reduction("argmin"),
    "cumsum": cumsum,
    # linear algebra
    "dot": step_dot,
    # composites
    "conv": conv,
    "conv_input_grad": conv_input_grad,
    "conv_filter_grad": conv_filter_grad,
    "sum_pool": sum_pool,
    "sum_pool_grad": sum_pool_grad,
    "sigmoid": function("torch.sigmoid"),
    "softplus": softplus,
    "log_sigmoid": function("F.logsigmoid"),
    "softmax": along("torch.softmax"),
    "log_softmax": along("torch.log_softmax"),
    "softmax_grad": helper_along(kernels.softmax_grad),
    "log_softmax_grad": helper_along(kernels.log_softmax_grad),
    "logsumexp": along("torch.logsumexp"),
    "gelu": function("F.gelu"),
    "gelu_grad": gelu_grad,
    "silu": function("F.silu"),
    "silu_grad": helper(kernels.silu_grad),
}

#: gradients that modules have in parts, as autograd goes through those
STEPS_ALONE = {"softmax_grad", "log_softmax_grad", "gelu_grad", "silu_grad"}

#: where autograd goes through: the same values, and nnc's gradients at kinks and ties
DIFFERENTIABLE: dict[str, Emitter] = {
    **{op: emit for op, emit in TENSORS.items() if op not in STEPS_ALONE},
    "add": operator("+", ADD),
    "dot": dot,
    "sqrt": helper(runtime.sqrt),
    "maximum": larger,
    "minimum": helper(runtime.minimum),
    "scatter_add": index_add,
    "sum": reduction("sum"),
    "max": first_extremum("max"),
    "min": first_extremum("min"),
    "stop_gradient": lambda site, node, x: site.dialect.method(x, "detach"),
    "with_gradient": helper(runtime.with_gradient),
}


def with_host(table: dict[str, Emitter]) -> dict[str, Emitter]:
    """A table whose ops on unsigned integers are NumPy's."""
    made = dict.fromkeys(("random_bits", "stream_tags"))
    return {op: by_type(emit, op) for op, emit in {**table, **made}.items()}


EMITTERS = with_host({op: in_place(op, emit) for op, emit in TENSORS.items()})
MODULE_EMITTERS = with_host(DIFFERENTIABLE)
