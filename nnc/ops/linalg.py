"""Contractions: the one op that every matrix product, einsum and convolution comes down to.

`dot` is `dot_general` of XLA: it says which axes are summed in pairs and which go in step, so that
transposes of operands never have to stand in the graph.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from nnc.ir.dims import Dim, equal
from nnc.ir.types import TensorType
from nnc.ops.registry import OpError, family

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

define = family("linalg")

Axes = tuple[int, ...]
AxisPairs = tuple[Axes, Axes]


def _rest(rank: int, *used: Axes) -> Axes:
    taken = {axis for axes in used for axis in axes}
    return tuple(axis for axis in range(rank) if axis not in taken)


# ------------------------------------------------------------------------------------------- dot
def _dot_infer(
    x: TensorType, y: TensorType, *, contract: AxisPairs, batch: AxisPairs
) -> TensorType:
    if x.dtype != y.dtype:
        raise OpError(f"cannot multiply {x} with {y}: the element types differ")
    if x.dtype == "bool":
        raise OpError("a product of bool tensors has no meaning; cast them first")
    _check_axes(x, contract[0], batch[0])
    _check_axes(y, contract[1], batch[1])
    for pairs, verb in ((contract, "sum over"), (batch, "go together along")):
        if len(pairs[0]) != len(pairs[1]):
            raise OpError(f"axes come in pairs: {pairs[0]} and {pairs[1]}")
        for i, j in zip(*pairs, strict=True):
            if equal(x.shape[i], y.shape[j]) is not True:
                raise OpError(
                    f"cannot {verb} axis {i} of {x} and axis {j} of {y}: "
                    f"{_relation(x.shape[i], y.shape[j])}"
                )
    return TensorType(
        x.dtype,
        tuple(x.shape[axis] for axis in (*batch[0], *_rest(x.rank, contract[0], batch[0])))
        + tuple(y.shape[axis] for axis in _rest(y.rank, contract[1], batch[1])),
    )


def _check_axes(type: TensorType, contract: Axes, batch: Axes) -> None:
    axes = contract + batch
    if len(set(axes)) != len(axes) or any(not 0 <= axis < type.rank for axis in axes):
        raise OpError(f"{type} has not the distinct axes {axes}")


def _relation(a: Dim, b: Dim) -> str:
    return f"{a} is not {b}" if equal(a, b) is False else f"{a} and {b} may differ"


def _dot(x: np.ndarray, y: np.ndarray, *, contract: AxisPairs, batch: AxisPairs) -> np.ndarray:
    """One `matmul`; an operand is copied only where its axes cannot be merged as they lie."""
    larger, side = (x, 0) if x.size >= y.size else (y, 1)
    pairs = sorted(zip(*contract, strict=True), key=lambda pair: -abs(larger.strides[pair[side]]))
    inner_x, inner_y = tuple(i for i, _ in pairs), tuple(j for _, j in pairs)
    outer_x, outer_y = (
        _rest(a.ndim, c, b) for a, c, b in zip((x, y), contract, batch, strict=True)
    )
    lead = tuple(x.shape[axis] for axis in batch[0])
    rows = tuple(x.shape[axis] for axis in outer_x)
    columns = tuple(y.shape[axis] for axis in outer_y)
    depth = prod(x.shape[axis] for axis in inner_x)
    left = x.transpose(batch[0] + outer_x + inner_x).reshape((*lead, prod(rows), depth))
    right = y.transpose(batch[1] + inner_y + outer_y).reshape((*lead, depth, prod(columns)))
    return np.matmul(_blas_ready(left), _blas_ready(right)).reshape(lead + rows + columns)


def _blas_ready(a: np.ndarray) -> np.ndarray:
    """`a`, copied if its matrices are not rows or columns in memory (`matmul` would go slowly)."""
    (rows, columns), (down, along) = a.shape[-2:], a.strides[-2:]
    size = a.itemsize
    if (along == size and down >= columns * size) or (down == size and along >= rows * size):
        return a
    return np.ascontiguousarray(a)


def _dot_vjp(
    dy: Tensor, y: Tensor, x: Tensor, w: Tensor, *, contract: AxisPairs, batch: AxisPairs
) -> tuple[Tensor, Tensor]:
    first = len(batch[0])
    split = first + len(_rest(x.rank, contract[0], batch[0]))
    of_x, of_w = tuple(range(first, split)), tuple(range(split, dy.rank))
    return (
        _operand_cotangent(dy, w, of_w, of_x, contract, batch),
        _operand_cotangent(dy, x, of_x, of_w, contract[::-1], batch[::-1]),
    )


def _operand_cotangent(
    dy: Tensor, other: Tensor, summed: Axes, kept: Axes, contract: AxisPairs, batch: AxisPairs
) -> Tensor:
    """The cotangent of one operand: `dy` with `other`, over the axes that `dy` has from `other`.

    `contract` and `batch` name this operand's axes first, `other`'s second.  Of the two orders of
    the factors the one is taken whose result already lies as the operand does.
    """
    mine, theirs = contract
    own_rest = _rest(len(mine) + len(batch[0]) + len(kept), mine, batch[0])
    from_other = tuple(axis for _, axis in sorted(zip(theirs, mine, strict=True)))
    lead = tuple(range(len(batch[0])))
    other_rest = _rest(other.rank, theirs, batch[1])
    straight = np.argsort((*batch[0], *own_rest, *from_other)).tolist()
    swapped = np.argsort((*batch[0], *from_other, *own_rest)).tolist()
    if straight != sorted(straight) and swapped == sorted(swapped):
        return other.emit("dot", dy, contract=(other_rest, summed), batch=(batch[1], lead))
    product: Tensor = dy.emit("dot", other, contract=(summed, other_rest), batch=(lead, batch[1]))
    return product.transpose(tuple(straight))


define(
    "dot",
    infer=_dot_infer,
    evaluate=_dot,
    vjp=_dot_vjp,
    doc="Product of x and y, summed over the pairs of axes in `contract`, in step over `batch`.",
)


# ------------------------------------------------------------------------------------ orthogonal
def _orthogonal_infer(x: TensorType) -> TensorType:
    if x.rank != 2 or not x.is_float:
        raise OpError(f"an orthogonal matrix is made from a float matrix, not from {x}")
    return x


def _orthogonal(x: np.ndarray) -> np.ndarray:
    tall = x if x.shape[0] >= x.shape[1] else x.T
    q, r = np.linalg.qr(tall.astype(np.float64))
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return np.ascontiguousarray(q if tall is x else q.T, dtype=x.dtype)


define(
    "orthogonal",
    infer=_orthogonal_infer,
    evaluate=_orthogonal,
    doc="Orthonormal columns (rows, of a wide matrix): Q of the QR of a normal matrix, with the "
    "signs that make diag(R) positive, so that Q is uniform (Mezzadri 2007).  Host only.",
)
