"""Reading and adding at places that the data gives.

An index must lie in 0 .. dim - 1 of the axis it reads.  What a negative or too large one does is
undefined: backends differ, and checking costs; readers of data check labels before training.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from nnc.ir.types import INTEGERS, TensorType
from nnc.ops.registry import OpError, family
from nnc.ops.rules import (
    NUMBERS,
    require_axis,
    require_dtype,
    require_same_dtype,
    require_same_shape,
    without,
)

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

Cotangents = tuple["Tensor | None", ...]

define = family("index")


def _infer_take(x: TensorType, index: TensorType, *, axis: int) -> TensorType:
    require_axis("take", axis, x)
    require_dtype("take by index", index, INTEGERS)
    return x.with_shape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _infer_scatter_add(
    x: TensorType, index: TensorType, update: TensorType, *, axis: int
) -> TensorType:
    require_dtype("scatter_add", x, NUMBERS)
    require_same_dtype(x, update)
    require_same_shape(_infer_take(x, index, axis=axis).shape, update.shape)
    return x


def _infer_take_along(x: TensorType, index: TensorType, *, axis: int) -> TensorType:
    require_axis("take_along", axis, x)
    require_dtype("take_along by index", index, INTEGERS)
    if x.rank != index.rank:
        raise OpError(f"`take_along` of {x} by {index}, whose numbers of axes differ")
    require_same_shape(without(x.shape, (axis,)), without(index.shape, (axis,)))
    return x.with_shape(index.shape)


def _infer_scatter_add_along(
    x: TensorType, index: TensorType, update: TensorType, *, axis: int
) -> TensorType:
    require_dtype("scatter_add_along", x, NUMBERS)
    require_same_dtype(x, update)
    require_same_shape(_infer_take_along(x, index, axis=axis).shape, update.shape)
    return x


def _scatter_add(x: np.ndarray, index: np.ndarray, update: np.ndarray, *, axis: int) -> np.ndarray:
    result = x.copy()
    places = tuple(range(axis, axis + index.ndim))
    rows = np.moveaxis(update, places, range(index.ndim))
    np.add.at(np.moveaxis(result, axis, 0), index, rows)
    return result


def _scatter_add_along(
    x: np.ndarray, index: np.ndarray, update: np.ndarray, *, axis: int
) -> np.ndarray:
    # On one flat axis, where np.add.at is fast.
    last = np.moveaxis(x, axis, -1)
    rows = np.arange(math.prod(last.shape[:-1])).reshape(*last.shape[:-1], 1)
    places = rows * x.shape[axis] + np.moveaxis(index, axis, -1).astype(np.int64)
    flat = last.flatten()
    np.add.at(flat, places.reshape(-1), np.moveaxis(update, axis, -1).reshape(-1))
    return np.moveaxis(flat.reshape(last.shape), -1, axis)


def _infer_argsort(x: TensorType, *, axis: int) -> TensorType:
    require_axis("argsort", axis, x)
    require_dtype("argsort", x, NUMBERS)
    return x.with_dtype("i32")


def _argsort(x: np.ndarray, *, axis: int) -> np.ndarray:
    return np.argsort(x, axis, kind="stable").astype(np.int32)


def _take_vjp(dy: Tensor, y: Tensor, x: Tensor, index: Tensor, *, axis: int) -> Cotangents:
    zeros = dy.builder.full(0, x.dtype, x.shape)
    return zeros.emit("scatter_add", index, dy, axis=axis), None


def _take_along_vjp(dy: Tensor, y: Tensor, x: Tensor, index: Tensor, *, axis: int) -> Cotangents:
    zeros = dy.builder.full(0, x.dtype, x.shape)
    return zeros.emit("scatter_add_along", index, dy, axis=axis), None


define(
    "take",
    infer=_infer_take,
    evaluate=lambda x, index, *, axis: np.take(x, index, axis),
    vjp=_take_vjp,
    doc="x at these places of an axis; the axis is replaced by the axes of index",
)
define(
    "take_along",
    infer=_infer_take_along,
    evaluate=lambda x, index, *, axis: np.take_along_axis(x, index.astype(np.int64), axis),
    vjp=_take_along_vjp,
    doc="x at places of an axis that index gives for each place of the other axes",
)
define(
    "scatter_add",
    infer=_infer_scatter_add,
    evaluate=_scatter_add,
    vjp=lambda dy, y, x, index, update, *, axis: (dy, None, dy.emit("take", index, axis=axis)),
    doc="x with `update` added at these places of an axis: the adjoint of take",
)
define(
    "scatter_add_along",
    infer=_infer_scatter_add_along,
    evaluate=_scatter_add_along,
    vjp=lambda dy, y, x, index, update, *, axis: (
        dy,
        None,
        dy.emit("take_along", index, axis=axis),
    ),
    doc="x with `update` added where take_along would read: its adjoint",
)
define(
    "argsort",
    infer=_infer_argsort,
    evaluate=_argsort,
    zero_gradient=True,
    doc="the places of an axis in ascending order of x, equal ones in their order; nan last",
)
