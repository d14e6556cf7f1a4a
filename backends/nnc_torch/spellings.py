"""How ops are printed in PyTorch: node and printed operands -> expression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from nnc.emit import (
    ATOM,
    COMPARE,
    UNARY,
    Emitter,
    Expr,
    Site,
    dim_text,
    shape_text,
    sized,
    tuple_text,
)
from nnc.emit.expressions import dim_expr
from nnc.emit.spellings import dims_text, slice_text, unit_axes
from nnc.ir.dims import Dim, equal
from nnc.ir.graph import Array, Node
from nnc.ir.types import FLOATS, TensorType
from nnc_torch import kernels, runtime

CHOICE = 0  # binds less than any operator: `x if c else y`, `not x`

#: methods that convert to an element type
CONVERSIONS = {
    "f16": "half", "bf16": "bfloat16", "f32": "float", "f64": "double",
    "i32": "int", "i64": "long", "bool": "bool",
}  # fmt: skip


ZERO = Expr("0", weak="i32")


@dataclass(frozen=True)
class Wide(Expr):
    """An i32 that PyTorch gives as an i64; `plain` is the text before it is converted."""

    plain: Expr = ZERO


@dataclass(frozen=True)
class Fresh(Expr):
    """A new array full of `value`, which nothing else reads, so that it may be written to."""

    value: str = ""


# ---------------------------------------------------------------- elementwise
def operator(symbol: str, level: int) -> Emitter:
    return lambda site, node, x, y: site.dialect.binary(symbol, level, x, y)


def integer_operator(symbol: str, level: int) -> Emitter:
    """An operator that a Python number has not, or not in its element type, on the left."""
    return lambda site, node, x, y: site.dialect.binary(
        symbol, level, site.dialect.strong(x) if x.weak else x, y
    )


def comparison(symbol: str) -> Emitter:
    def emit(site: Site, node: Node, x: Expr, y: Expr) -> Expr:
        x, y = (z.plain if isinstance(z, Wide) else z for z in (x, y))
        return site.dialect.binary(symbol, COMPARE, x, y)

    return emit


def function(name: str) -> Emitter:
    """`torch.name(x)`, which takes no Python number."""

    def emit(site: Site, node: Node, *xs: Expr) -> Expr:
        return site.dialect.call(name, *xs)

    return emit


def helper(made: Any) -> Emitter:
    """A call of a function that goes into the file."""
    return lambda site, node, *xs: site.dialect.call(site.helper(made), *xs)


def sign(site: Site, node: Node, x: Expr) -> Expr:
    """Floats can be nan, which `torch.sign` makes 0."""
    name = site.helper(runtime.sign) if node.type.is_float else "torch.sign"
    return site.dialect.call(name, x)


def power(site: Site, node: Node, x: Expr, y: Expr) -> Expr:
    if x.weak and y.weak:
        x = site.dialect.strong(x)
    return Expr(f"torch.pow({x.text}, {y.text})", size=sized(x, y))


def extremum(function: str, bound: str) -> Emitter:
    """`x.clamp(min=0.0)` where one operand is a number, else `torch.maximum(x, y)`."""

    def emit(site: Site, node: Node, x: Expr, y: Expr) -> Expr:
        if is_relu(node, x, y):
            return site.dialect.call("torch.relu", y)
        if x.weak and not y.weak:
            x, y = y, x
        if y.weak and not x.weak and y.text not in ("torch.nan",):
            return replace(site.dialect.method(x, "clamp", f"{bound}={y.text}"), size=sized(x, y))
        return site.dialect.call(function, x, y)

    return emit


def is_relu(node: Node, x: Expr, y: Expr) -> bool:
    """Whether it is the larger of 0 and y, and at 0 the first of them, which takes the gradient."""
    zero = x.weak and x.text in ("0.0", "-0.0")
    return node.op == "maximum" and node.type.is_float and bool(zero) and not y.weak


def larger(site: Site, node: Node, x: Expr, y: Expr) -> Expr:
    """`maximum` where autograd goes through: of equals the first gets the whole gradient."""
    if is_relu(node, x, y):
        return site.dialect.call("torch.relu", y)
    return site.dialect.call(site.helper(runtime.maximum), x, y)


def negative(site: Site, node: Node, x: Expr) -> Expr:
    return Expr(f"-{x.at(UNARY)}", UNARY, x.weak, sized(x))


def negated(site: Site, node: Node, x: Expr) -> Expr:
    if x.weak:
        return Expr(f"not {x.text}", CHOICE, x.weak, sized(x))
    return Expr(f"~{x.at(UNARY)}", UNARY, size=sized(x))


def where(site: Site, node: Node, condition: Expr, x: Expr, y: Expr) -> Expr:
    dtype = node.type.dtype
    if condition.weak:
        weak = dtype if x.weak and y.weak else ""
        if not weak:
            x, y = site.dialect.strong(x), site.dialect.strong(y)
        text = f"{x.at(CHOICE + 1)} if {condition.at(CHOICE + 1)} else {y.text}"
        return Expr(text, CHOICE, weak, sized(condition, x, y))
    if x.weak and y.weak and dtype not in ("f32", "i64", "bool"):
        x = site.dialect.strong(x)
    parts = ", ".join(z.text for z in (condition, x, y))
    return Expr(f"torch.where({parts})", size=sized(condition, x, y))


def cast(site: Site, node: Node, x: Expr) -> Expr:
    dtype = node.attrs["dtype"]
    if x.weak:
        return weak_cast(x, dtype)
    if isinstance(x, Wide) and dtype != "i32":
        x = x.plain
        if dtype == "i64":
            return x
    return site.dialect.method(x, CONVERSIONS[dtype])


def weak_cast(x: Expr, dtype: str) -> Expr:
    """A Python number as one of another kind."""
    kinds = [0 if d == "bool" else 2 if d in FLOATS else 1 for d in (x.weak, dtype)]
    if kinds[0] == kinds[1] or kinds == [1, 2]:
        return replace(x, weak=dtype)
    name = ("bool", "int", "float")[kinds[1]]
    return Expr(f"{name}({x.text})", weak=dtype, size=sized(x))


def bitcast(site: Site, node: Node, x: Expr) -> Expr:
    return site.dialect.method(x, "view", site.dialect.dtype(node.attrs["dtype"]))


# ---------------------------------------------------------------- creation
def const(site: Site, node: Node) -> Expr:
    value = node.attrs["value"]
    if isinstance(value, Array):
        return Expr(site.dialect.array(value.data), size=9)
    return site.dialect.literal(value, node.type.dtype)


def iota(site: Site, node: Node) -> Expr:
    shape, axis = node.attrs["shape"], node.attrs["axis"]
    text = f"torch.arange({dim_text(shape[axis])}, {place_text(site, node.type.dtype, 'i64')})"
    counts = Expr(text, size=1)
    if len(shape) == 1:
        return counts
    places = [":" if a == axis else "None" for a in range(axis, len(shape))]
    return site.dialect.method(
        site.dialect.subscript(counts, places), "expand", *map(dim_text, shape)
    )


def place_text(site: Site, dtype: str, default: str) -> str:
    """The options of a function that makes an array."""
    return site.dialect.options(dtype, default)  # type: ignore[attr-defined]


def size(site: Site, node: Node) -> Expr:
    return replace(dim_expr(node.attrs["dim"]), weak=node.type.dtype)


# ---------------------------------------------------------------- shape
def reshape(site: Site, node: Node, x: Expr) -> Expr:
    """Subscripts for axes of size 1, `flatten` and `unflatten` where they do it, or `reshape`."""
    old, new = site.types[0].shape, node.type.shape
    places = unit_axes(old, new)
    if places is not None:
        return site.dialect.subscript(x, places)
    first, last = shared_ends(old, new)
    if len(new) == first + 1 + last and len(old) > len(new):
        ends = [str(first), *([str(len(old) - last - 1)] if last else [])]
        return site.dialect.method(x, "flatten", *(ends if ends != ["0"] else []))
    if len(old) == first + 1 + last and len(new) > len(old):
        split = tuple_text([dim_text(dim) for dim in new[first : len(new) - last]])
        return site.dialect.method(x, "unflatten", str(first), split)
    return site.dialect.method(x, "reshape", *([dim_text(dim) for dim in new] or ["()"]))


def shared_ends(old: tuple[Dim, ...], new: tuple[Dim, ...]) -> tuple[int, int]:
    """How many axes two shapes share at their start, and how many of the others at their end."""
    shortest = min(len(old), len(new)) - 1
    first = 0
    while first < shortest and equal(old[first], new[first]) is True:
        first += 1
    last = 0
    while last < shortest - first and equal(old[-1 - last], new[-1 - last]) is True:
        last += 1
    return first, last


def transpose(site: Site, node: Node, x: Expr) -> Expr:
    perm = node.attrs["perm"]
    if perm == (1, 0):
        return Expr(f"{x.at(ATOM)}.T", size=x.size)
    moved = [axis for axis, place in enumerate(perm) if axis != place]
    if len(moved) == 2:
        return site.dialect.method(x, "transpose", *map(str, moved))
    return site.dialect.method(x, "permute", *map(str, perm))


def broadcast(site: Site, node: Node, x: Expr) -> Expr:
    shape, axes = node.attrs["shape"], node.attrs["axes"]
    if x.weak:
        text = site.dialect.filled(x.text, shape_text(shape), node.type.dtype)
        return Fresh(text, size=1, value=x.text)
    places = [":" if axis in axes else "None" for axis in range(min(axes, default=0), len(shape))]
    spread = site.dialect.subscript(x, places if axes else [])
    return site.dialect.method(spread, "expand", *(map(dim_text, shape) if shape else ["()"]))


def slices(site: Site, node: Node, x: Expr) -> Expr:
    places = []
    bounds = (node.attrs[name] for name in ("start", "stop", "step"))
    for start, stop, step, whole in zip(*bounds, site.types[0].shape, strict=True):
        end = "" if equal(stop, whole) is True else dim_text(stop)
        first = "" if start == 0 else dim_text(start)
        places.append(slice_text([first, end, *([str(step)] if step != 1 else [])]))
    return replace(site.dialect.subscript(x, places), size=sized(x))


def pad(site: Site, node: Node, x: Expr) -> Expr:
    value = site.dialect.literal(node.attrs["value"], node.type.dtype).text
    return padded(site, x, node.attrs["low"], node.attrs["high"], value)


def padded(site: Site, x: Expr, low: tuple[Dim, ...], high: tuple[Dim, ...], value: str) -> Expr:
    """`F.pad`, which lists the last axis first and may leave out the first ones."""
    widths = [dim_text(n) for pair in zip(reversed(low), reversed(high), strict=True) for n in pair]
    while widths and widths[-2:] == ["0", "0"]:
        widths = widths[:-2]
    if not widths:
        return x
    options = {} if value in ("0", "0.0", "False") else {"value": value}
    return replace(
        site.dialect.call("F.pad", x, Expr(tuple_text(widths)), **options), size=sized(x)
    )


def reverse(site: Site, node: Node, x: Expr) -> Expr:
    axes = node.attrs["axes"]
    return site.dialect.method(x, "flip", *map(str, axes)) if axes else x


def concat(site: Site, node: Node, *xs: Expr) -> Expr:
    parts = Expr(f"[{', '.join(site.dialect.strong(x).text for x in xs)}]")
    joined = site.dialect.call("torch.cat", parts, dim=node.attrs["axis"])
    return replace(joined, size=sized(*xs))


def window(site: Site, node: Node, x: Expr) -> Expr:
    """`unfold` puts the places of each window last, axis by axis, as nnc does."""
    attrs = node.attrs
    for axis, size, stride, dilation in zip(
        attrs["axes"], attrs["size"], attrs["stride"], attrs["dilation"], strict=True
    ):
        span = (size - 1) * dilation + 1
        x = site.dialect.method(x, "unfold", str(axis), str(span), str(stride))
        if dilation > 1:
            x = site.dialect.subscript(x, ["...", f"::{dilation}"])
    return x


def fold(site: Site, node: Node, w: Expr) -> Expr:
    names = ("shape", "axes", "size", "stride", "dilation")
    options = {name: dims_text(node.attrs[name]) for name in names}
    return site.dialect.call(site.helper(runtime.fold), w, **options)


def dynamic_slice(site: Site, node: Node, x: Expr, *starts: Expr) -> Expr:
    parts = [site.dialect.strong(x).text, *(start.text for start in starts)]
    parts.append(f"size={dims_text(node.attrs['size'])}")
    return Expr(f"{site.helper(runtime.dynamic_slice)}({', '.join(parts)})", size=sized(x))


def dynamic_update(site: Site, node: Node, x: Expr, update: Expr, *starts: Expr) -> Expr:
    parts = [site.dialect.strong(z).text for z in (x, update)] + [start.text for start in starts]
    return Expr(f"{site.helper(runtime.dynamic_update)}({', '.join(parts)})", size=sized(x, update))


# ---------------------------------------------------------------- index and reduce
def take(site: Site, node: Node, x: Expr, index: Expr) -> Expr:
    axis, (table, places) = node.attrs["axis"], site.types
    index = index.plain if isinstance(index, Wide) else index
    if is_embedding(table, places, axis):
        return site.dialect.call("F.embedding", index, x)
    picked = site.dialect.subscript(x, [":"] * axis + [index.text])
    return replace(picked, size=sized(x, index))


def is_embedding(table: TensorType, places: TensorType, axis: int) -> bool:
    """Whether whole rows of a matrix of floats are read at several places."""
    return axis == 0 and table.rank == 2 and places.rank > 0 and table.is_float


def as_index(site: Site, x: Expr, dtype: str) -> Expr:
    """Places as `gather` wants them."""
    if isinstance(x, Wide):
        return x.plain
    return x if dtype == "i64" else site.dialect.method(x, "long")


def take_along(site: Site, node: Node, x: Expr, index: Expr) -> Expr:
    index = as_index(site, index, site.types[1].dtype)
    picked = site.dialect.method(x, "gather", str(node.attrs["axis"]), index.text)
    return replace(picked, size=sized(x, index))


def scatter_add(site: Site, node: Node, x: Expr, index: Expr, update: Expr) -> Expr:
    """`index_add`; into zeros it is the gradient of the `F.embedding` that `take` is."""
    (table, places, _), axis = site.types, node.attrs["axis"]
    if is_embedding(table, places, axis) and is_zero(x):
        index = index.plain if isinstance(index, Wide) else index
        count = Expr(dim_text(table.shape[0]))
        name = site.helper(kernels.embedding_grad)
        return replace(site.dialect.call(name, update, index, count), size=sized(index, update))
    return index_add(site, node, x, index, update)


def index_add(site: Site, node: Node, x: Expr, index: Expr, update: Expr) -> Expr:
    axis, rank = node.attrs["axis"], site.types[1].rank
    index = index.plain if isinstance(index, Wide) else index
    if rank == 0:
        index, update = (
            site.dialect.subscript(z, places)
            for z, places in ((index, ["None"]), (update, [":"] * axis + ["None"]))
        )
    elif rank > 1:
        end = () if axis + rank == site.types[2].rank else (str(axis + rank - 1),)
        index = site.dialect.method(index, "flatten")
        update = site.dialect.method(update, "flatten", str(axis), *end)
    return added(site, "index_add", x, str(axis), index, update)


def scatter_add_along(site: Site, node: Node, x: Expr, index: Expr, update: Expr) -> Expr:
    axis = node.attrs["axis"]
    index = as_index(site, index, site.types[1].dtype)
    is_one_each = equal(site.types[1].shape[axis], 1) is True
    if is_one_each and isinstance(update, Fresh) and is_zero(x):
        made = site.dialect.method(x, "scatter_", str(axis), index.text, update.value)
        return replace(made, size=sized(x, index))
    return added(site, "scatter_add", x, str(axis), index, update)


def is_zero(x: Expr) -> bool:
    return isinstance(x, Fresh) and x.value in ("0", "0.0")


def added(site: Site, name: str, x: Expr, axis: str, index: Expr, update: Expr) -> Expr:
    """A method that adds to x, in place where x is new."""
    name = f"{name}_" if isinstance(x, Fresh) else name
    made = site.dialect.method(x, name, axis, index.text, site.dialect.strong(update).text)
    return replace(made, size=sized(x, index, update))


def argsort(site: Site, node: Node, x: Expr) -> Expr:
    return wide(site, x, "argsort", f"dim={node.attrs['axis']}", "stable=True")


def arg_reduction(name: str) -> Emitter:
    return lambda site, node, x: wide(site, x, name, str(node.attrs["axis"]))


def wide(site: Site, x: Expr, name: str, *arguments: str) -> Expr:
    plain = site.dialect.method(x, name, *arguments)
    made = site.dialect.method(plain, "int")
    return Wide(made.text, made.level, size=plain.size, plain=plain)


def reduction(name: str) -> Emitter:
    """`x.sum(1)`; PyTorch widens sums of narrow integers unless told not to."""

    def emit(site: Site, node: Node, x: Expr) -> Expr:
        axes = node.attrs["axes"]
        if not axes:
            return x
        widened = name == "sum" and node.type.dtype == "i32"
        dtype = [f"dtype={site.dialect.dtype(node.type.dtype)}"] if widened else []
        axis = str(axes[0] if len(axes) == 1 else axes)
        kept = site.dialect.method(x, name, axis, *dtype, "keepdim=True").text
        all_axes = [] if node.type.rank == 0 else [axis]
        return replace(site.dialect.method(x, name, *all_axes, *dtype), kept=(axes, kept))

    return emit


def product(site: Site, node: Node, x: Expr) -> Expr:
    """PyTorch multiplies along one axis at a time."""
    dtype = [f"dtype={site.dialect.dtype(node.type.dtype)}"] if node.type.dtype == "i32" else []
    axes = node.attrs["axes"]
    if node.type.rank == 0 and axes:
        return site.dialect.method(x, "prod", *dtype)
    for axis in sorted(axes, reverse=True):
        x = site.dialect.method(x, "prod", str(axis), *dtype)
    return x


def first_extremum(name: str) -> Emitter:
    """`x.max(1).values`, whose gradient goes to the first of equals as `amax`'s does not."""

    def emit(site: Site, node: Node, x: Expr) -> Expr:
        axes = sorted(node.attrs["axes"])
        if not axes:
            return x
        rank = site.types[0].rank
        if len(axes) > 1:
            kept = [axis for axis in range(rank) if axis not in axes]
            if axes != list(range(len(kept), rank)):
                x = site.dialect.method(x, "permute", *map(str, [*kept, *axes]))
            x = site.dialect.method(x, "flatten", *([str(len(kept))] if kept else []))
        axis = str(axes[0] if len(axes) == 1 else rank - len(axes))
        found = site.dialect.method(x, name, axis)
        made = Expr(f"{found.text}.values", size=found.size)
        if len(axes) > 1:
            return made
        kept_text = f"{site.dialect.method(x, name, axis, 'keepdim=True').text}.values"
        return replace(made, kept=(tuple(axes), kept_text))

    return emit


def cumsum(site: Site, node: Node, x: Expr) -> Expr:
    axis, around = str(node.attrs["axis"]), node.attrs["reverse"]
    dtype = [f"dtype={site.dialect.dtype(node.type.dtype)}"] if node.type.dtype == "i32" else []
    source = site.dialect.method(x, "flip", axis) if around else x
    total = site.dialect.method(source, "cumsum", axis, *dtype)
    return site.dialect.method(total, "flip", axis) if around else total


def along(name: str) -> Emitter:
    """`torch.softmax(x, 1)`."""
    return lambda site, node, x: replace(
        site.dialect.call(name, x, Expr(str(node.attrs["axis"]))), size=sized(x)
    )


def helper_along(made: Any) -> Emitter:
    """`softmax_grad(dy, y, 1)`."""
    return lambda site, node, dy, y: replace(
        site.dialect.call(site.helper(made), dy, y, Expr(str(node.attrs["axis"]))),
        size=sized(dy, y),
    )


def softplus(site: Site, node: Node, x: Expr) -> Expr:
    """Beyond the threshold PyTorch returns x itself: at 40 that is exact, at its own 20 not."""
    return site.dialect.call("F.softplus", x, threshold=40)
