"""The spellings of `dot`: `@` with transposes wherever one GEMM does it, else the general form."""

from __future__ import annotations

from dataclasses import replace

from nnc.emit import ATOM, MUL, Dialect, Expr, Site
from nnc.ir.graph import Node
from nnc.ir.types import TensorType
from nnc.ops.registry import OPS

Axes = tuple[int, ...]

#: up to this size of all axes a product takes a microsecond or two
LITTLE = 64


def dot(site: Site, node: Node, x: Expr, y: Expr) -> Expr:
    """`x @ y` for matrices, vectors and stacks of matrices; `_dot(...)` for all else."""
    dialect, (left, right) = site.dialect, site.types
    contract, batch = node.attrs["contract"], node.attrs["batch"]
    x, y = dialect.strong(x), dialect.strong(y)
    if len(contract[0]) == 1 and stacked(batch, left, right):
        a = as_left(dialect, x, left.rank, contract[0][0], len(batch[0]))
        b = as_right(dialect, y, right.rank, contract[1][0], len(batch[0]))
        if a is not None and b is not None and is_little(left, right):
            return replace(dialect.method(a, "dot", b.text), size=a.size + b.size + 1)
        if a is not None and b is not None:
            return dialect.binary("@", MUL, a, b)
    if not batch[0] and len(contract[0]) == 1 and contract[0][0] == left.rank - 1:
        b = as_right(dialect, y, right.rank, contract[1][0], 0)
        if b is not None and right.rank == 2:
            return _rows(dialect, x, b)
    if not contract[0] and not batch[0] and left.rank == right.rank == 1:
        return dialect.call("np.outer", x, y)
    evaluate = OPS["dot"].evaluate
    assert evaluate is not None
    return dialect.call(site.helper(evaluate), x, y, contract=contract, batch=batch)


def is_little(left: TensorType, right: TensorType) -> bool:
    """Whether `@`, which sees to stacks of matrices too, costs as much as to multiply."""
    dims = [dim for dim in (*left.shape, *right.shape) if isinstance(dim, int)]
    return left.rank == right.rank == 2 and len(dims) == 4 and max(dims) <= LITTLE


def stacked(batch: tuple[Axes, Axes], left: TensorType, right: TensorType) -> bool:
    """Whether the batch axes are the first of both, in order, and the operands matrices below."""
    count = len(batch[0])
    if batch != (tuple(range(count)),) * 2:
        return False
    ranks = {left.rank - count, right.rank - count}
    return ranks == {2} or (count == 0 and ranks <= {1, 2})


def as_left(dialect: Dialect, x: Expr, rank: int, summed: int, lead: int) -> Expr | None:
    """`x` with the summed axis last."""
    if summed == rank - 1:
        return x
    return _flipped(dialect, x, rank) if summed == lead and rank == lead + 2 else None


def as_right(dialect: Dialect, y: Expr, rank: int, summed: int, lead: int) -> Expr | None:
    """`y` with the summed axis first of the last two."""
    if summed == max(rank - 2, 0):
        return y
    return _flipped(dialect, y, rank) if summed == rank - 1 and rank == lead + 2 else None


def _flipped(dialect: Dialect, x: Expr, rank: int) -> Expr:
    if rank == 2:
        return Expr(f"{x.at(ATOM)}.T", size=x.size)
    return dialect.method(x, "swapaxes", "-1", "-2")


def _rows(dialect: Dialect, x: Expr, y: Expr) -> Expr:
    """x [..., K] @ y [K, M]: `matmul` would do one small product for each leading index."""
    return replace(dialect.call("np.tensordot", x, y, axes=1), size=x.size + y.size + 1)
