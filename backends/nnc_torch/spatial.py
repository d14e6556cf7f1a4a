"""The spellings of convolutions and poolings: calls of functions that go into the file.

Pads that differ at the two ends of an axis, and those wider than PyTorch's pooling takes, are made
beforehand with `F.pad`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nnc.emit import Expr, Printer, Site, sized
from nnc.emit.spellings import dims_text, slice_text
from nnc.ir.dims import Dim
from nnc.ir.graph import Node, Value
from nnc_torch import runtime
from nnc_torch.shapes import padded

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Pads:
    """Pads of the spatial axes: `inner` as the kernel's option, the others made beforehand."""

    low: Ints
    high: Ints
    inner: Ints | None

    @staticmethod
    def of(node: Node, limit: Sequence[int] | None = None) -> Pads:
        low, high = node.attrs["low"], node.attrs["high"]
        fits = limit is None or all(n <= most for n, most in zip(low, limit, strict=True))
        return Pads(low, high, low if low == high and fits else None)

    def before(self, site: Site, x: Expr, value: str = "0.0") -> Expr:
        """x with the pads that the kernel does not make."""
        if self.inner is not None:
            return x
        return padded(site, x, (0, *self.low, 0), (0, *self.high, 0), value)

    def shape(self, shape: tuple[Dim, ...]) -> tuple[Dim, ...]:
        """`shape` [N, *S, C] with these pads."""
        if self.inner is not None:
            return shape
        sides = zip(shape[1:-1], self.low, self.high, strict=True)
        return (shape[0], *(dim + low + high for dim, low, high in sides), shape[-1])

    def after(self, site: Site, dx: Expr, shape: tuple[Dim, ...]) -> Expr:
        """dx without these pads."""
        if self.inner is not None:
            return dx
        bounds = [
            slice_text([str(low) if low else "", str(low + dim)])
            for low, dim in zip(self.low, shape[1:-1], strict=True)
        ]
        return replace(site.dialect.subscript(dx, [":", *bounds]), size=sized(dx))


def geometry(node: Node, pads: Pads) -> dict[str, str]:
    """The options of a convolution that differ from their defaults."""
    options: dict[str, Any] = {}
    for name, values, default in (
        ("stride", node.attrs["stride"], 1),
        ("padding", pads.inner or (0,), 0),
        ("dilation", node.attrs["dilation"], 1),
        ("groups", (node.attrs["groups"],), 1),
    ):
        if set(values) != {default}:
            options[name] = per_axis(values)
    return options


def per_axis(values: Ints) -> str:
    """One number where it is the same for all axes."""
    return str(values[0]) if len(set(values)) == 1 else str(values)


def conv(site: Site, node: Node, x: Expr, w: Expr) -> Expr:
    pads = Pads.of(node)
    options = geometry(node, pads)
    return site.dialect.call(site.helper(runtime.conv), pads.before(site, x), w, **options)


def conv_input_grad(site: Site, node: Node, dy: Expr, w: Expr) -> Expr:
    pads, shape = Pads.of(node), node.type.shape
    options = {"shape": dims_text(pads.shape(shape)), **geometry(node, pads)}
    dx = site.dialect.call(site.helper(runtime.conv_input_grad), dy, w, **options)
    return pads.after(site, dx, shape)


def conv_filter_grad(site: Site, node: Node, x: Expr, dy: Expr) -> Expr:
    pads = Pads.of(node)
    options = {"shape": dims_text(node.type.shape), **geometry(node, pads)}
    x = pads.before(site, x)
    return site.dialect.call(site.helper(runtime.conv_filter_grad), x, dy, **options)


# ---------------------------------------------------------------- pooling
def pooling(node: Node, pads: Pads) -> list[Expr]:
    """Size, stride and padding as arguments, without defaults at the end."""
    size, stride = node.attrs["size"], node.attrs["stride"]
    arguments = [per_axis(size)]
    if stride != size or any(pads.inner or ()):
        arguments.append(per_axis(stride))
    if any(pads.inner or ()):
        assert pads.inner is not None
        arguments.append(per_axis(pads.inner))
    return [Expr(text) for text in arguments]


def halves(node: Node) -> list[int]:
    return [size // 2 for size in node.attrs["size"]]


def print_max_pool(printer: Printer, node: Node) -> None:
    """Where the winners stand is PyTorch's number where only `max_pool_grad` reads it."""
    site = Site(printer.dialect, (printer.graph.type(node.operands[0]),), printer.helper)
    pads = Pads.of(node, halves(node))
    x = printer.read(node.operands[0])
    x = pads.before(site, x, "-torch.inf")
    index = Value(node.id, 1)
    if not printer.uses[index]:
        made = printer.dialect.call(site.helper(runtime.max_pool), x, *pooling(node, pads))
        settle(printer, node, made)
        return
    if has_torch_index(printer, node):
        made = printer.dialect.call(site.helper(runtime.max_pool_index), x, *pooling(node, pads))
    else:
        pads = Pads(pads.low, pads.high, None)
        x = pads.before(site, printer.read(node.operands[0]), "-torch.inf")
        sizes = [Expr(str(node.attrs[name])) for name in ("size", "stride")]
        made = printer.dialect.call(site.helper(runtime.max_pool_places), x, *sizes)
    printer.unpack(node, made)


def settle(printer: Printer, node: Node, made: Expr) -> None:
    """The first result where it is read, or under a name."""
    if printer.stays_inside(node, made):
        printer.bind(Value(node.id), made)
    else:
        printer.assign(Value(node.id), made)


def has_torch_index(printer: Printer, node: Node) -> bool:
    """Whether the gradients of a `max_pool` alone read where its winners stand."""
    index = Value(node.id, 1)
    users = [user for user, _ in printer.graph.users(index)]
    return index not in printer.graph.outputs.values() and all(
        user.op == "max_pool_grad" and user.operands[1] == index and is_of(user, node)
        for user in users
    )


def is_of(grad: Node, pool: Node) -> bool:
    """Whether `grad` has the geometry of `pool`."""
    names = ("size", "stride", "low", "high")
    return all(grad.attrs[name] == pool.attrs[name] for name in names)


def print_max_pool_grad(printer: Printer, node: Node) -> None:
    site = Site(printer.dialect, tuple(map(printer.graph.type, node.operands)), printer.helper)
    dy, index = map(printer.read, node.operands)
    pool = printer.graph.producer(node.operands[1])
    shape = node.type.shape
    if pool.op == "max_pool" and has_torch_index(printer, pool):
        pads = Pads.of(node, halves(node))
        where = Expr(dims_text(pads.shape(shape)))
        arguments = [where, *pooling(node, pads)]
        name = site.helper(runtime.max_pool_grad)
    else:
        pads = Pads(node.attrs["low"], node.attrs["high"], None)
        where = Expr(dims_text(pads.shape(shape)))
        arguments = [where, *(Expr(str(node.attrs[name])) for name in ("size", "stride"))]
        name = site.helper(runtime.max_pool_places_grad)
    made = printer.dialect.call(name, dy, index, *arguments)
    settle(printer, node, pads.after(site, made, shape))


def sum_pool(site: Site, node: Node, x: Expr) -> Expr:
    pads = Pads.of(node, halves(node))
    x = pads.before(site, x)
    return site.dialect.call(site.helper(runtime.sum_pool), x, *pooling(node, pads))


def sum_pool_grad(site: Site, node: Node, dy: Expr) -> Expr:
    pads = Pads(node.attrs["low"], node.attrs["high"], None)
    where = Expr(dims_text(pads.shape(node.type.shape)))
    sizes = [Expr(str(node.attrs[name])) for name in ("size", "stride")]
    made = site.dialect.call(site.helper(runtime.sum_pool_grad), dy, where, *sizes)
    return pads.after(site, made, node.type.shape)
