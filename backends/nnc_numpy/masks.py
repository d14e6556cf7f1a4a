"""`where` with zeros: what a condition lets through.

`np.where` takes a branch for each element, so that a random mask costs ten times the arithmetic.
"""

from __future__ import annotations

from nnc.backend import splat
from nnc.emit import UNARY, Expr, Site
from nnc.emit.spellings import where
from nnc.ir.graph import Graph, Node, Value
from nnc_numpy import runtime
from nnc_numpy.sizes import elements

#: elements up to which `np.where` is the faster
SMALL = 1 << 8


def choice(site: Site, node: Node, condition: Expr, x: Expr, y: Expr) -> Expr:
    """`zeroed(x, condition)` where one side is 0 and the other an array, else `np.where(...)`."""
    count = elements(node.type.shape)
    is_small = count is not None and count < SMALL
    if is_small or not node.type.is_float or condition.weak or bool(x.weak) == bool(y.weak):
        return where(site, node, condition, x, y)
    zero, kept = (x, y) if x.weak else (y, x)
    if zero.text != "0.0":
        return where(site, node, condition, x, y)
    if zero is y:
        condition = Expr(f"~{condition.at(UNARY)}", UNARY, size=condition.size)
    return site.dialect.call(site.helper(runtime.zeroed), kept, condition)


def kept_branch(graph: Graph, node: Node) -> int | None:
    """Which operand of the `where` `node` is not 0; None where both may be other numbers."""
    if node.op != "where":
        return None
    zeros = [is_zero(graph, value) for value in node.operands[1:]]
    return zeros.index(False) + 1 if sum(zeros) == 1 else None


def is_zero(graph: Graph, value: Value) -> bool:
    number = splat(graph, value)
    return number is not None and number == 0
