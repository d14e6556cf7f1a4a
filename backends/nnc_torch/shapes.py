"""How ops that change shapes are printed in PyTorch."""

from __future__ import annotations

from dataclasses import replace

from nnc.emit import (
    ATOM,
    Expr,
    Site,
    dim_text,
    shape_text,
    sized,
    tuple_text,
)
from nnc.emit.spellings import dims_text, unit_axes
from nnc.ir.dims import Dim, equal
from nnc.ir.graph import Node
from nnc_torch import runtime
from nnc_torch.spellings import Fresh


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
