"""Reading and replacing a part of fixed size at a place that is computed.

A place where the part would stick out is moved until it lies inside, the same for both ops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnc.ir.dims import Dim, shape_text
from nnc.ir.types import TensorType
from nnc.ops.registry import OpError, family
from nnc.ops.rules import is_negative, require_per_axis, require_same_dtype

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

Cotangents = tuple["Tensor | None", ...]
Shape = tuple[Dim, ...]

define = family("shape")


def _require_starts(op: str, x: TensorType, starts: tuple[TensorType, ...]) -> None:
    require_per_axis(op, "start", starts, x.rank)
    for start in starts:
        if start != TensorType("i32"):
            raise OpError(f"`{op}` starts at i32 scalars, not at {start}")


def _require_inside(op: str, size: Shape, x: TensorType) -> None:
    require_per_axis(op, "size", size, x.rank)
    for count, dim in zip(size, x.shape, strict=True):
        if is_negative(count) or is_negative(dim - count):
            raise OpError(f"`{op}` of {shape_text(size)} does not fit into {x}")


def _infer_dynamic_slice(x: TensorType, *starts: TensorType, size: Shape) -> TensorType:
    _require_starts("dynamic_slice", x, starts)
    _require_inside("dynamic_slice", size, x)
    return x.with_shape(size)


def _infer_dynamic_update(x: TensorType, update: TensorType, *starts: TensorType) -> TensorType:
    require_same_dtype(x, update)
    _require_starts("dynamic_update", x, starts)
    _require_inside("dynamic_update", update.shape, x)
    return x


def _place(
    shape: tuple[int, ...], size: tuple[int, ...], starts: tuple[np.ndarray, ...]
) -> tuple[slice, ...]:
    """The slice of `size` at `starts`, moved to lie inside `shape`."""
    firsts = (
        min(max(int(start), 0), dim - count)
        for start, dim, count in zip(starts, shape, size, strict=True)
    )
    return tuple(slice(first, first + count) for first, count in zip(firsts, size, strict=True))


def _dynamic_slice(x: np.ndarray, *starts: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    return x[_place(x.shape, size, starts)]


def _dynamic_update(x: np.ndarray, update: np.ndarray, *starts: np.ndarray) -> np.ndarray:
    result = x.copy()
    result[_place(x.shape, update.shape, starts)] = update
    return result


def _dynamic_slice_vjp(
    dy: Tensor, y: Tensor, x: Tensor, *starts: Tensor, size: Shape
) -> Cotangents:
    zeros = dy.builder.full(0, x.dtype, x.shape)
    return (zeros.emit("dynamic_update", dy, *starts), *(None for _ in starts))


def _dynamic_update_vjp(
    dy: Tensor, y: Tensor, x: Tensor, update: Tensor, *starts: Tensor
) -> Cotangents:
    zeros = dy.builder.full(0, x.dtype, update.shape)
    return (
        dy.emit("dynamic_update", zeros, *starts),
        dy.emit("dynamic_slice", *starts, size=update.shape),
        *(None for _ in starts),
    )


define(
    "dynamic_slice",
    infer=_infer_dynamic_slice,
    evaluate=_dynamic_slice,
    vjp=_dynamic_slice_vjp,
    doc="a slice of fixed size that starts at i32 scalars, moved to lie inside x",
)
define(
    "dynamic_update",
    infer=_infer_dynamic_update,
    evaluate=_dynamic_update,
    vjp=_dynamic_update_vjp,
    doc="x with a part replaced, at the place that dynamic_slice would read",
)
