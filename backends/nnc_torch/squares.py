"""The sum of squares, as one kernel where that rounds as little."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nnc.emit import MUL, Expr, Site
from nnc.ir.dims import product as size_of
from nnc.ir.graph import Node
from nnc_torch import kernels
from nnc_torch.indices import reduction

SUM = reduction("sum")

#: elements up to which a product of vectors, which adds them up in a row, rounds as little as a sum
SHORT = 1 << 17


@dataclass(frozen=True)
class Square(Expr):
    """`x * x`; `root` is the text of x."""

    root: str = ""


def times(site: Site, node: Node, x: Expr, y: Expr) -> Expr:
    made = site.dialect.binary("*", MUL, x, y)
    if node.operands[0] != node.operands[1] or made.weak:
        return made
    return Square(made.text, made.level, size=made.size, root=x.text)


def total(site: Site, node: Node, x: Expr) -> Expr:
    """`x.sum(1)`; the whole sum of the squares of a few floats is one kernel."""
    type = site.types[0]
    count = size_of(type.shape)
    is_short = isinstance(count, int) and count <= SHORT and type.dtype in ("f32", "f64")
    if not isinstance(x, Square) or node.type.rank or not is_short:
        return SUM(site, node, x)
    return replace(site.dialect.call(site.helper(kernels.square_sum), Expr(x.root)), size=x.size)
