"""How ops are printed: functions from a node and its printed operands to an expression.

Operands of elementwise ops come without their broadcasts, which NumPy's own rules do.
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
from nnc_numpy.expressions import (
    ATOM,
    UNARY,
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


def negated(site: Site, node: Node, x: Expr) -> Expr:
    """`~` of a Python bool would be an integer."""
    if x.weak:
        return call("np.logical_not", x)
    return Expr(f"~{x.at(UNARY)}", UNARY, size=sized(x))


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
    dim, dtype = dim_expr(node.attrs["dim"]), node.type.dtype
    return Expr(f"np.float64({dim.text})") if dtype == "f64" else replace(dim, weak=dtype)


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
        places.append(slice_text([first, end, *([str(step)] if step != 1 else [])]))
    return replace(subscript(x, places), size=sized(x))


def slice_text(bounds: list[str]) -> str:
    """`a:b`, or `a : b - 1` with spaces where a bound is more than a name or number."""
    if all(bound.isalnum() or not bound for bound in bounds):
        return ":".join(bounds)
    return " : ".join(bounds).strip().replace(":  :", "::")


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
    picked = subscript(x, [":"] * node.attrs["axis"] + [index.text])
    return replace(picked, size=sized(x, index))


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
