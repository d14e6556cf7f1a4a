"""The spelling of each op in NumPy: one table from op to a function that prints it.

The keys of `EMITTERS` say which ops may reach this backend.  An emitter gets the file being
written (for helpers), the node and the printed operands; operands of elementwise ops come without
their broadcasts, which NumPy's own rules do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from nnc.ir.dims import Dim, equal
from nnc.ir.graph import Array, Node
from nnc.ir.types import TensorType
from nnc.ops.registry import OPS
from nnc_numpy import runtime
from nnc_numpy.dot import dot
from nnc_numpy.expressions import (
    ADD,
    AND,
    ATOM,
    COMPARE,
    MUL,
    OR,
    SHIFT,
    UNARY,
    XOR,
    Expr,
    array_text,
    binary,
    call,
    dim_expr,
    dim_text,
    dtype_text,
    literal,
    method,
    shape_text,
    sized,
    strong,
    subscript,
    tuple_text,
)
from nnc_numpy.layout import string


@dataclass(frozen=True)
class Site:
    """Where an op is printed: the types of its operands, and the way to get a helper."""

    types: tuple[TensorType, ...]
    helper: Callable[[Callable[..., Any]], str]
    """Includes a function in the file, with all that it uses; gives its name there."""


Emitter = Callable[..., Expr]


# ---------------------------------------------------------------- elementwise
def operator(symbol: str, level: int) -> Emitter:
    return lambda site, node, x, y: binary(symbol, level, x, y)


def function(name: str) -> Emitter:
    """`name(x, ...)`, where at least one operand has its element type."""
    return lambda site, node, *xs: call(name, *_one_strong(xs))


def _one_strong(xs: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """NumPy gives Python scalars the type of an array they stand beside, but needs one."""
    if all(x.weak for x in xs):
        return tuple(map(strong, xs))
    return tuple(replace(x, weak="") for x in xs)


def negative(site: Site, node: Node, x: Expr) -> Expr:
    return Expr(f"-{x.at(UNARY)}", UNARY, x.weak, sized(x))


def where(site: Site, node: Node, condition: Expr, x: Expr, y: Expr) -> Expr:
    x, y = _one_strong((x, y))
    return call("np.where", replace(condition, weak=""), x, y)


def cast(site: Site, node: Node, x: Expr) -> Expr:
    dtype = node.attrs["dtype"]
    if x.weak and x.weak not in ("f16", "f32", "f64") and dtype in ("i32", "i64", "u32", "u64"):
        return replace(x, weak=dtype)  # a Python int is one of any width
    if x.weak:
        return Expr(f"{dtype_text(dtype)}({x.text})", size=sized(x))
    return method(x, "astype", dtype_text(dtype))


def bitcast(site: Site, node: Node, x: Expr) -> Expr:
    return method(x, "view", dtype_text(node.attrs["dtype"]))


# ---------------------------------------------------------------- creation
def const(site: Site, node: Node) -> Expr:
    value = node.attrs["value"]
    if isinstance(value, Array):
        return Expr(array_text(value.data), size=9)
    return literal(value, node.type.dtype)


def iota(site: Site, node: Node) -> Expr:
    shape, axis = node.attrs["shape"], node.attrs["axis"]
    counts = Expr(f"np.arange({dim_text(shape[axis])}, dtype={dtype_text(node.type.dtype)})")
    places = [":" if a == axis else "None" for a in range(axis, len(shape))]
    counts = subscript(counts, places)
    return call("np.broadcast_to", counts, Expr(shape_text(shape))) if len(shape) > 1 else counts


def size(site: Site, node: Node) -> Expr:
    return replace(dim_expr(node.attrs["dim"]), weak=node.type.dtype)


# ---------------------------------------------------------------- shape
def reshape(site: Site, node: Node, x: Expr) -> Expr:
    """`x[:, None]` and `x[..., 0]` where axes of size 1 come or go, else `x.reshape(...)`."""
    places = unit_axes(site.types[0].shape, node.type.shape)
    if places is not None:
        return subscript(x, places)
    dims = [dim_text(dim) for dim in node.type.shape]
    return method(x, "reshape", *(dims or ["()"]))


def unit_axes(old: tuple[Dim, ...], new: tuple[Dim, ...]) -> list[str] | None:
    """Subscripts that insert axes of size 1 into `old`, or remove them, to give `new`."""
    shorter, longer = sorted((old, new), key=len)
    marker = "None" if len(old) < len(new) else "0"
    places: list[str] = []
    rest = list(shorter)
    for dim in longer:
        if rest and equal(dim, rest[0]) is True:
            rest.pop(0)
            places.append(":")
        elif dim == 1:
            places.append(marker)
        else:
            return None
    return places if not rest and len(longer) > len(shorter) and shorter else None


def transpose(site: Site, node: Node, x: Expr) -> Expr:
    perm = node.attrs["perm"]
    if perm == (1, 0):
        return Expr(f"{x.at(ATOM)}.T", size=x.size)
    return method(x, "transpose", *map(str, perm))


def broadcast(site: Site, node: Node, x: Expr) -> Expr:
    shape, axes = node.attrs["shape"], node.attrs["axes"]
    if x.weak:
        return filled(x, shape_text(shape), node.type.dtype)
    places = [":" if axis in axes else "None" for axis in range(min(axes, default=0), len(shape))]
    return call("np.broadcast_to", subscript(x, places if axes else []), Expr(_tuple(shape)))


def filled(x: Expr, shape: str, dtype: str) -> Expr:
    """An array of one number."""
    if x.text in ("0", "0.0", "1", "1.0"):
        name = "np.zeros" if x.text.startswith("0") else "np.ones"
        return Expr(f"{name}({shape}, {dtype_text(dtype)})", size=1)
    return Expr(f"np.full({shape}, {x.text}, {dtype_text(dtype)})", size=1)


def _tuple(shape: tuple[Any, ...]) -> str:
    return tuple_text([dim_text(dim) for dim in shape]) if shape else "()"


def slices(site: Site, node: Node, x: Expr) -> Expr:
    places = []
    bounds = (node.attrs[name] for name in ("start", "stop", "step"))
    for start, stop, step, whole in zip(*bounds, site.types[0].shape, strict=True):
        end = "" if equal(stop, whole) is True else dim_text(stop)
        first = "" if start == 0 else dim_text(start)
        places.append(f"{first}:{end}" + (f":{step}" if step != 1 else ""))
    return subscript(x, places)


def pad(site: Site, node: Node, x: Expr) -> Expr:
    low, high = node.attrs["low"], node.attrs["high"]
    widths = [f"({dim_text(a)}, {dim_text(b)})" for a, b in zip(low, high, strict=True)]
    value = literal(node.attrs["value"], node.type.dtype).text
    options = {} if value in ("0", "0.0", "False") else {"constant_values": value}
    return call("np.pad", x, Expr(tuple_text(widths)), **options)


def reverse(site: Site, node: Node, x: Expr) -> Expr:
    axes = node.attrs["axes"]
    return subscript(x, ["::-1" if axis in axes else ":" for axis in range(node.type.rank)])


def concat(site: Site, node: Node, *xs: Expr) -> Expr:
    parts = tuple_text([strong(x).text for x in xs])
    return replace(call("np.concatenate", Expr(parts), axis=node.attrs["axis"]), size=sized(*xs))


# ---------------------------------------------------------------- index and reduce
def take(site: Site, node: Node, x: Expr, index: Expr) -> Expr:
    axis = node.attrs["axis"]
    return call("np.take", x, replace(index, weak=""), axis=axis)


def take_along(site: Site, node: Node, x: Expr, index: Expr) -> Expr:
    return call("np.take_along_axis", x, index, axis=node.attrs["axis"])


def argsort(site: Site, node: Node, x: Expr) -> Expr:
    options = f'axis={node.attrs["axis"]}, kind="stable"'
    return method(method(x, "argsort", options), "astype", "np.int32")


def reduction(name: str) -> Emitter:
    """`x.sum(axis=...)`; NumPy widens sums of narrow integers unless told not to."""

    def emit(site: Site, node: Node, x: Expr) -> Expr:
        axes = node.attrs["axes"]
        widened = name in ("sum", "prod") and node.type.dtype in ("i32", "u32")
        dtype = [f"dtype={dtype_text(node.type.dtype)}"] if widened else []
        axis = f"axis={axes[0] if len(axes) == 1 else axes}"
        all_axes = [] if node.type.rank == 0 else [axis]
        kept = method(x, name, axis, *dtype, "keepdims=True").text
        return replace(method(x, name, *all_axes, *dtype), kept=(axes, kept))

    return emit


def arg_reduction(name: str) -> Emitter:
    return lambda site, node, x: method(
        method(x, name, f"axis={node.attrs['axis']}"), "astype", "np.int32"
    )


def cumsum(site: Site, node: Node, x: Expr) -> Expr:
    axis = node.attrs["axis"]
    flip = ["::-1" if a == axis else ":" for a in range(node.type.rank)]
    around = node.attrs["reverse"]
    source = subscript(x, list(flip)) if around else x
    total = method(source, "cumsum", f"axis={axis}", f"dtype={dtype_text(node.type.dtype)}")
    return subscript(total, list(flip)) if around else total


# ---------------------------------------------------------------- random
def random_bits(site: Site, node: Node, *xs: Expr) -> Expr:
    """The words of a stream; a counter that is 0 is left out."""
    seed, step, iteration, offset = xs
    counters = {
        "ordinal": Expr(str(node.attrs["ordinal"])),
        "step": step,
        "iteration": iteration,
        "offset": offset,
    }
    options = {name: x.text for name, x in counters.items() if x.text != "0"}
    name = site.helper(runtime.random_bits)
    path = Expr(string(node.attrs["path"]))
    return call(name, Expr(_tuple(node.attrs["shape"])), replace(seed, weak=""), path, **options)


# ---------------------------------------------------------------- ops copied from their definition
def copied(*attributes: str) -> Emitter:
    """A call of the function that defines the op, which goes into the file as it stands."""

    def emit(site: Site, node: Node, *xs: Expr) -> Expr:
        evaluate = OPS[node.op].evaluate
        assert evaluate is not None
        options = {name: _attribute(node.attrs[name]) for name in attributes}
        return call(site.helper(evaluate), *xs, **options)

    return emit


def _attribute(value: Any) -> str:
    return _tuple(value) if isinstance(value, tuple) else repr(value)


_GEOMETRY = ("stride", "dilation", "low", "high", "groups")
_POOLING = ("size", "stride", "low", "high")
_WINDOW = ("axes", "size", "stride", "dilation")

EMITTERS: dict[str, Emitter] = {
    # elementwise
    "neg": negative,
    "abs": function("np.abs"),
    "sign": function("np.sign"),
    "exp": function("np.exp"),
    "expm1": function("np.expm1"),
    "log": function("np.log"),
    "log1p": function("np.log1p"),
    "sqrt": function("np.sqrt"),
    "rsqrt": lambda site, node, x: binary("/", MUL, Expr("1.0"), call("np.sqrt", x)),
    "sin": function("np.sin"),
    "cos": function("np.cos"),
    "tan": function("np.tan"),
    "tanh": function("np.tanh"),
    "erf": copied(),
    "erfinv": copied(),
    "floor": function("np.floor"),
    "ceil": function("np.ceil"),
    "round": function("np.rint"),
    "not": lambda site, node, x: (
        Expr(f"~{x.at(UNARY)}", UNARY, size=sized(x)) if not x.weak else call("np.logical_not", x)
    ),
    "is_finite": function("np.isfinite"),
    "add": operator("+", ADD),
    "sub": operator("-", ADD),
    "mul": operator("*", MUL),
    "div": operator("/", MUL),
    "pow": function("np.power"),
    "rem": operator("%", MUL),
    "floordiv": operator("//", MUL),
    "maximum": function("np.maximum"),
    "minimum": function("np.minimum"),
    "atan2": function("np.arctan2"),
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
    "window": copied(*_WINDOW),
    "fold": copied("shape", *_WINDOW),
    "dynamic_slice": copied("size"),
    "dynamic_update": copied(),
    # index and reduce
    "take": take,
    "take_along": take_along,
    "scatter_add": copied("axis"),
    "scatter_add_along": copied("axis"),
    "argsort": argsort,
    "sum": reduction("sum"),
    "max": reduction("max"),
    "min": reduction("min"),
    "prod": reduction("prod"),
    "argmax": arg_reduction("argmax"),
    "argmin": arg_reduction("argmin"),
    "cumsum": cumsum,
    # linear algebra, random
    "dot": dot,
    "orthogonal": copied(),
    "random_bits": random_bits,
    # composites
    "conv": copied(*_GEOMETRY),
    "conv_input_grad": copied("shape", *_GEOMETRY),
    "conv_filter_grad": copied("shape", *_GEOMETRY),
    "max_pool": copied(*_POOLING),
    "max_pool_grad": copied("shape", *_POOLING),
    "sum_pool": copied(*_POOLING),
    "sum_pool_grad": copied("shape", *_POOLING),
    "sigmoid": copied(),
    "softplus": copied(),
    "log_sigmoid": copied(),
    "softmax": copied("axis"),
    "log_softmax": copied("axis"),
    "logsumexp": copied("axis"),
}
