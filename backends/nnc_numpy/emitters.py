"""The spelling of each op in NumPy: one table from op to a function that prints it.

Its keys, with the loops of `nnc.emit`, say which ops may reach this backend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nnc.emit import ADD, AND, COMPARE, MUL, OR, SHIFT, XOR, Emitter, Expr, Site
from nnc.emit.layout import string
from nnc.emit.spellings import (
    arg_reduction,
    argsort,
    attribute_text,
    bitcast,
    broadcast,
    cast,
    concat,
    const,
    copied,
    cumsum,
    dims_text,
    function,
    iota,
    negated,
    negative,
    operator,
    pad,
    reduction,
    reshape,
    reverse,
    size,
    slices,
    transpose,
)
from nnc.ir.graph import Node
from nnc.ir.narrow import to_bf16, to_f16
from nnc_numpy import attention, kernels, runtime
from nnc_numpy.dot import dot
from nnc_numpy.masks import choice
from nnc_numpy.scatter import add_one_by_one, take, take_along
from nnc_numpy.sizes import is_little

_GEOMETRY = ("stride", "dilation", "low", "high", "groups")
_ATTENTION = ("scale", "causal")
_POOLING = ("size", "stride", "low", "high")
_WINDOW = ("axes", "size", "stride", "dilation")


def inverse_root(site: Site, node: Node, x: Expr) -> Expr:
    return site.dialect.binary("/", MUL, Expr("1.0"), site.dialect.call("np.sqrt", x))


def reduced(name: str, function: str) -> Emitter:
    """`x.sum(axis=...)`; of a little array `np.add.reduce(x, axis=...)`, which is 1 us faster."""
    method = reduction(name)

    def emit(site: Site, node: Node, x: Expr) -> Expr:
        axes, (type,) = node.attrs["axes"], site.types
        if len(axes) != 1 or type.rank > 2 or not (type.is_float and is_little(type.shape)):
            return method(site, node, x)
        axis = {"axis": axes[0]} if type.rank > 1 else {}
        kept = site.dialect.call(f"{function}.reduce", x, **axis, keepdims=True).text
        return replace(site.dialect.call(f"{function}.reduce", x, **axis), kept=(axes, kept))

    return emit


def random_bits(site: Site, node: Node, *xs: Expr) -> Expr:
    """The words of a stream; a counter that is 0 is left out."""
    seed, step, iteration, offset, *tag = xs
    counters = {
        "ordinal": Expr(str(node.attrs["ordinal"])),
        "step": step,
        "iteration": iteration,
        "offset": offset,
    }
    options = {name: x.text for name, x in counters.items() if x.text != "0"}
    if node.type.dtype != "u32":
        options["width"] = node.type.dtype.removeprefix("u")
    name, shape = site.helper(runtime.random_bits), Expr(dims_text(node.attrs["shape"]))
    stream = tag[0] if tag else Expr(string(node.attrs["path"]))
    return site.dialect.call(name, shape, replace(seed, weak=""), stream, **options)


def stream_tags(site: Site, node: Node) -> Expr:
    path, sizes = Expr(string(node.attrs["path"])), Expr(dims_text(node.attrs["sizes"]))
    return site.dialect.call(site.helper(runtime.stream_tags), path, sizes)


def round_to(site: Site, node: Node, x: Expr) -> Expr:
    """`to_bf16(x)`; to other types by casting there and back."""
    dialect, dtype, own = site.dialect, node.attrs["dtype"], node.type.dtype
    functions = {"bf16": to_bf16, "f16": to_f16}
    if dtype not in functions:
        rounded = dialect.method(x, "astype", dialect.dtype(dtype))
    else:
        rounded, dtype = dialect.call(site.helper(functions[dtype]), x), "f32"
    return rounded if dtype == own else dialect.method(rounded, "astype", dialect.dtype(own))


def kernel(function: Callable[..., Any], *attributes: str) -> Emitter:
    """A call of a function of this backend, which goes into the file."""

    def emit(site: Site, node: Node, *xs: Expr) -> Expr:
        options = {name: attribute_text(node.attrs[name]) for name in attributes}
        return site.dialect.call(site.helper(function), *xs, **options)

    return emit


def of_array(function: Callable[..., Any]) -> Emitter:
    """`kernel` for arrays; a number, which has no place to work in, gets what defines the op."""

    def emit(site: Site, node: Node, x: Expr) -> Expr:
        return (kernel(function) if node.type.rank else copied())(site, node, x)

    return emit


EMITTERS: dict[str, Emitter] = {
    # elementwise
    "neg": negative,
    "abs": function("abs"),
    "sign": function("sign"),
    "exp": function("exp"),
    "expm1": function("expm1"),
    "log": function("log"),
    "log1p": function("log1p"),
    "sqrt": function("sqrt"),
    "rsqrt": inverse_root,
    "sin": function("sin"),
    "cos": function("cos"),
    "tan": function("tan"),
    "tanh": function("tanh"),
    "erf": copied(),
    "erfinv": copied(),
    "floor": function("floor"),
    "ceil": function("ceil"),
    "round": function("rint"),
    "not": negated,
    "is_finite": function("isfinite"),
    "add": operator("+", ADD),
    "sub": operator("-", ADD),
    "mul": operator("*", MUL),
    "div": operator("/", MUL),
    "pow": function("power"),
    "rem": operator("%", MUL),
    "floordiv": operator("//", MUL),
    "maximum": function("maximum"),
    "minimum": function("minimum"),
    "atan2": function("arctan2"),
    "and": operator("&", AND),
    "or": operator("|", OR),
    "xor": operator("^", XOR),
    "shift_left": operator("<<", SHIFT),
    "shift_right": operator(">>", SHIFT),
    "eq": operator("==", COMPARE),
    "ne": operator("!=", COMPARE),
    "lt": operator("<", COMPARE),
    "le": operator("<=", COMPARE),
    "gt": operator(">", COMPARE),
    "ge": operator(">=", COMPARE),
    "where": choice,
    "cast": cast,
    "bitcast": bitcast,
    "round_to": round_to,
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
    "window": copied(*_WINDOW),
    "fold": copied("shape", *_WINDOW),
    "dynamic_slice": copied("size"),
    "dynamic_update": copied(),
    # index and reduce
    "take": take,
    "take_along": take_along,
    "scatter_add": add_one_by_one,
    "scatter_add_along": copied("axis"),
    "argsort": argsort,
    "sum": reduced("sum", "np.add"),
    "max": reduced("max", "np.maximum"),
    "min": reduced("min", "np.minimum"),
    "prod": reduced("prod", "np.multiply"),
    "argmax": arg_reduction("argmax"),
    "argmin": arg_reduction("argmin"),
    "cumsum": cumsum,
    # linear algebra, random
    "dot": dot,
    "orthogonal": copied(),
    "random_bits": random_bits,
    "stream_tags": stream_tags,
    # composites
    "conv": copied(*_GEOMETRY),
    "conv_input_grad": copied("shape", *_GEOMETRY),
    "conv_filter_grad": copied("shape", *_GEOMETRY),
    "max_pool": copied(*_POOLING),
    "max_pool_grad": copied("shape", *_POOLING),
    "sum_pool": copied(*_POOLING),
    "sum_pool_grad": copied("shape", *_POOLING),
    "sigmoid": of_array(kernels.sigmoid),
    "softplus": of_array(kernels.softplus),
    "gelu": kernel(kernels.gelu),
    "gelu_grad": kernel(kernels.gelu_grad),
    "gelu_with_slope": kernel(kernels.gelu_with_slope),
    "layer_norm": kernel(kernels.layer_norm, "eps"),
    "layer_norm_grad": kernel(kernels.layer_norm_grad),
    "batch_norm": kernel(kernels.batch_norm, "eps"),
    "batch_norm_grad": kernel(kernels.batch_norm_grad, "eps"),
    "log_sigmoid": of_array(kernels.log_sigmoid),
    "attention": kernel(attention.attention, *_ATTENTION),
    "attention_grad": kernel(attention.attention_grad, *_ATTENTION),
    "attention_with_weights": kernel(attention.attention_with_weights, *_ATTENTION),
    "attention_weights_grad": kernel(attention.attention_weights_grad, *_ATTENTION),
    "softmax": copied("axis"),
    "log_softmax": copied("axis"),
    "pick_log_softmax": copied(),
    "logsumexp": copied("axis"),
}
