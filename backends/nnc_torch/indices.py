"""How PyTorch picks by index, adds to what is picked, sorts and reduces."""

from __future__ import annotations

from dataclasses import replace

from nnc.emit import (
    Emitter,
    Expr,
    Site,
    dim_text,
    sized,
)
from nnc.ir.dims import equal
from nnc.ir.graph import Node
from nnc.ir.types import TensorType
from nnc_torch import kernels
from nnc_torch.spellings import Fresh, Wide


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
