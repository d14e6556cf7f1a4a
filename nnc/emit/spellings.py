"""Spellings that libraries with NumPy's interface share: node and printed operands -> expression.

A backend fills its table of emitters from here and with its own.  Operands of elementwise ops come
without their broadcasts, which NumPy's rules do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nnc.emit.dialect import Dialect, Emitter, Site
from nnc.emit.expressions import (
    ATOM,
    UNARY,
    Expr,
    dim_expr,
    dim_text,
    shape_text,
    sized,
    tuple_text,
)
from nnc.ir.dims import Dim, equal
from nnc.ir.graph import Array, Node
from nnc.ir.types import INTEGERS
from nnc.ops.registry import OPS


# ---------------------------------------------------------------- elementwise
def operator(symbol: str, level: int) -> Emitter:
    return lambda site, node, x, y: site.dialect.binary(symbol, level, x, y)


def function(name: str) -> Emitter:
    """`np.name(x, ...)`, where at least one operand has its element type."""

    def emit(site: Site, node: Node, *xs: Expr) -> Expr:
        return site.dialect.call(f"{site.dialect.module}.{name}", *one_strong(site.dialect, xs))

    return emit


def one_strong(dialect: Dialect, xs: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Python scalars have the type of an array they stand beside, but that takes one."""
    if all(x.weak for x in xs):
        return tuple(map(dialect.strong, xs))
    return tuple(replace(x, weak="") for x in xs)


def negative(site: Site, node: Node, x: Expr) -> Expr:
    return Expr(f"-{x.at(UNARY)}", UNARY, x.weak, sized(x))


def negated(site: Site, node: Node, x: Expr) -> Expr:
    """`~` of a Python bool would be an integer."""
    if x.weak:
        return site.dialect.call(f"{site.dialect.module}.logical_not", x)
    return Expr(f"~{x.at(UNARY)}", UNARY, size=sized(x))


def where(site: Site, node: Node, condition: Expr, x: Expr, y: Expr) -> Expr:
    x, y = one_strong(site.dialect, (x, y))
    return site.dialect.call(f"{site.dialect.module}.where", replace(condition, weak=""), x, y)


def cast(site: Site, node: Node, x: Expr) -> Expr:
    dtype = node.attrs["dtype"]
    if x.weak and x.weak not in ("f16", "f32", "f64") and dtype in INTEGERS:
        return replace(x, weak=dtype)  # a Python int is one of any width
    if x.weak:
        return Expr(site.dialect.number(x.text, dtype), size=sized(x))
    return site.dialect.method(x, "astype", site.dialect.dtype(dtype))


def bitcast(site: Site, node: Node, x: Expr) -> Expr:
    return site.dialect.method(x, "view", site.dialect.dtype(node.attrs["dtype"]))


# ---------------------------------------------------------------- creation
def const(site: Site, node: Node) -> Expr:
    value = node.attrs["value"]
    if isinstance(value, Array):
        return Expr(site.dialect.array(value.data), size=9)
    return site.dialect.literal(value, node.type.dtype)


def iota(site: Site, node: Node) -> Expr:
    dialect, shape, axis = site.dialect, node.attrs["shape"], node.attrs["axis"]
    dtype = dialect.dtype(node.type.dtype)
    counts = Expr(f"{dialect.module}.arange({dim_text(shape[axis])}, dtype={dtype})")
    if len(shape) == 1:
        return counts
    places = [":" if a == axis else "None" for a in range(axis, len(shape))]
    counts = dialect.subscript(counts, places)
    return dialect.call(f"{dialect.module}.broadcast_to", counts, Expr(shape_text(shape)))


def size(site: Site, node: Node) -> Expr:
    dim, dtype = dim_expr(node.attrs["dim"]), node.type.dtype
    if dtype == "f64":
        return Expr(site.dialect.number(dim.text, dtype))
    return replace(dim, weak=dtype)


# ---------------------------------------------------------------- shape
def reshape(site: Site, node: Node, x: Expr) -> Expr:
    """`x[:, None]` and `x[..., 0]` where axes of size 1 come or go, else `x.reshape(...)`."""
    places = unit_axes(site.types[0].shape, node.type.shape)
    if places is not None:
        return site.dialect.subscript(x, places)
    dims = [dim_text(dim) for dim in node.type.shape]
    return site.dialect.method(x, "reshape", *(dims or ["()"]))


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
    return site.dialect.method(x, "transpose", *map(str, perm))


def broadcast(site: Site, node: Node, x: Expr) -> Expr:
    dialect, shape, axes = site.dialect, node.attrs["shape"], node.attrs["axes"]
    if x.weak:
        return Expr(dialect.filled(x.text, shape_text(shape), node.type.dtype), size=1)
    places = [":" if axis in axes else "None" for axis in range(min(axes, default=0), len(shape))]
    spread = dialect.subscript(x, places if axes else [])
    return dialect.call(f"{dialect.module}.broadcast_to", spread, Expr(dims_text(shape)))


def dims_text(shape: tuple[Dim, ...]) -> str:
    """A shape as a tuple of any length."""
    return tuple_text([dim_text(dim) for dim in shape]) if shape else "()"


def slices(site: Site, node: Node, x: Expr) -> Expr:
    places = []
    bounds = (node.attrs[name] for name in ("start", "stop", "step"))
    for start, stop, step, whole in zip(*bounds, site.types[0].shape, strict=True):
        end = "" if equal(stop, whole) is True else dim_text(stop)
        first = "" if start == 0 else dim_text(start)
        places.append(slice_text([first, end, *([str(step)] if step != 1 else [])]))
    return replace(site.dialect.subscript(x, places), size=sized(x))


def slice_text(bounds: list[str]) -> str:
    """`a:b`, or `a : b - 1` with spaces where a bound is more than a name or number."""
    if all(bound.isalnum() or not bound for bound in bounds):
        return ":".join(bounds)
    return " : ".join(bounds).strip().replace(":  :", "::")


def pad(site: Site, node: Node, x: Expr) -> Expr:
    low, high = node.attrs["low"], node.attrs["high"]
    widths = [f"({dim_text(a)}, {dim_text(b)})" for a, b in zip(low, high, strict=True)]
    value = site.dialect.literal(node.attrs["value"], node.type.dtype).text
    options = {} if value in ("0", "0.0", "False") else {"constant_values": value}
    return site.dialect.call(f"{site.dialect.module}.pad", x, Expr(tuple_text(widths)), **options)


def reverse(site: Site, node: Node, x: Expr) -> Expr:
    axes = node.attrs["axes"]
    places = ["::-1" if axis in axes else ":" for axis in range(node.type.rank)]
    return site.dialect.subscript(x, places)


def concat(site: Site, node: Node, *xs: Expr) -> Expr:
    parts = Expr(tuple_text([site.dialect.strong(x).text for x in xs]))
    joined = site.dialect.call(f"{site.dialect.module}.concatenate", parts, axis=node.attrs["axis"])
    return replace(joined, size=sized(*xs))


# ---------------------------------------------------------------- index and reduce
def take(site: Site, node: Node, x: Expr, index: Expr) -> Expr:
    picked = site.dialect.subscript(x, [":"] * node.attrs["axis"] + [index.text])
    return replace(picked, size=sized(x, index))


def take_along(site: Site, node: Node, x: Expr, index: Expr) -> Expr:
    name = f"{site.dialect.module}.take_along_axis"
    return site.dialect.call(name, x, index, axis=node.attrs["axis"])


def argsort(site: Site, node: Node, x: Expr) -> Expr:
    order = site.dialect.method(x, "argsort", f'axis={node.attrs["axis"]}, kind="stable"')
    return site.dialect.method(order, "astype", site.dialect.dtype("i32"))


def reduction(name: str) -> Emitter:
    """`x.sum(axis=...)`; NumPy widens sums of narrow integers unless told not to."""

    def emit(site: Site, node: Node, x: Expr) -> Expr:
        dialect, axes = site.dialect, node.attrs["axes"]
        widened = name in ("sum", "prod") and node.type.dtype in ("i32", "u16", "u32")
        dtype = [f"dtype={dialect.dtype(node.type.dtype)}"] if widened else []
        axis = f"axis={axes[0] if len(axes) == 1 else axes}"
        all_axes = [] if node.type.rank == 0 else [axis]
        kept = dialect.method(x, name, axis, *dtype, "keepdims=True").text
        return replace(dialect.method(x, name, *all_axes, *dtype), kept=(axes, kept))

    return emit


def arg_reduction(name: str) -> Emitter:
    def emit(site: Site, node: Node, x: Expr) -> Expr:
        place = site.dialect.method(x, name, f"axis={node.attrs['axis']}")
        return site.dialect.method(place, "astype", site.dialect.dtype("i32"))

    return emit


def cumsum(site: Site, node: Node, x: Expr) -> Expr:
    dialect, axis, dtype = site.dialect, node.attrs["axis"], site.dialect.dtype(node.type.dtype)
    flip = ["::-1" if a == axis else ":" for a in range(node.type.rank)]
    around = node.attrs["reverse"]
    source = dialect.subscript(x, flip) if around else x
    total = dialect.method(source, "cumsum", f"axis={axis}", f"dtype={dtype}")
    return dialect.subscript(total, flip) if around else total


# ---------------------------------------------------------------- ops copied from their definition
def copied(*attributes: str) -> Emitter:
    """A call of the function that defines the op, which goes into the file as it stands."""

    def emit(site: Site, node: Node, *xs: Expr) -> Expr:
        evaluate = OPS[node.op].evaluate
        assert evaluate is not None
        options = {name: attribute_text(node.attrs[name]) for name in attributes}
        return site.dialect.call(site.helper(evaluate), *xs, **options)

    return emit


def attribute_text(value: Any) -> str:
    """An attribute of an op as an argument."""
    return dims_text(value) if isinstance(value, tuple) else repr(value)
