"""The spellings of `dot`: `@` wherever it is one product of matrices, else `lax.dot_general`."""

from __future__ import annotations

import jax
from jax import lax
from nnc_numpy.dot import as_left, as_right, stacked

from nnc.emit import MUL, Expr, Site
from nnc.ir.dims import Dim
from nnc.ir.graph import Node
from nnc_jax.runtime import on_cpu

#: From so many rows on turning x for `x.T @ y` pays on a CPU: 2048 rows of 256 by 1024 took 6.5 ms
#: instead of 11, and 128 rows of 784 by 400 cost a tenth of a step.
LONG = 1024


def is_long(dim: Dim) -> bool:
    return isinstance(dim, int) and dim >= LONG


def dot(site: Site, node: Node, x: Expr, y: Expr) -> Expr:
    """The result has the shared axes first, then the rest of x, then that of y, as in JAX."""
    dialect, (left, right) = site.dialect, site.types
    contract, batch = node.attrs["contract"], node.attrs["batch"]
    x, y = dialect.strong(x), dialect.strong(y)
    if len(contract[0]) == 1:
        rows = not batch[0] and right.rank == 2 and contract[0][0] == left.rank - 1
        if rows or stacked(batch, left, right):
            a = as_left(dialect, x, left.rank, contract[0][0], len(batch[0]))
            if left.rank == 2 and contract[0] == (0,) and is_long(left.shape[0]):
                a = dialect.call(site.helper(transposed), x)
            b = as_right(dialect, y, right.rank, contract[1][0], len(batch[0]))
            if a is not None and b is not None:
                return dialect.binary("@", MUL, a, b)
    if not contract[0] and not batch[0] and left.rank == right.rank == 1:
        return dialect.call("jnp.outer", x, y)
    return dialect.call("lax.dot_general", x, y, Expr(repr((contract, batch))))


def transposed(x: jax.Array) -> jax.Array:
    """`x.T` as the left factor of a product.

    On a CPU it is an array of its own: XLA's fast product is for rows, and XLA would take another.
    """
    return lax.optimization_barrier(x.T) if on_cpu() else x.T
