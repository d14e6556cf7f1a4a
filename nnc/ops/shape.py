"""Ops that move elements to places known beforehand and compute nothing with them.

Their attributes are dims, so each works with symbolic sizes; what cannot be decided then (whether a
slice lies inside, say) is decided when the sizes are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnc.ir.dims import Dim, equal, shape_text
from nnc.ir.types import TensorType, same_shape
from nnc.ops.registry import OpError, family
from nnc.ops.rules import (
    check_scalar,
    is_negative,
    require_axes,
    require_axis,
    require_per_axis,
    require_same_dtype,
    require_same_shape,
)

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

Cotangents = tuple["Tensor | None", ...]
Shape = tuple[Dim, ...]

define = family("shape")


# ---------------------------------------------------------------- reshape, transpose, broadcast
def _infer_reshape(x: TensorType, *, shape: Shape) -> TensorType:
    result = x.with_shape(shape)
    if equal(x.size, result.size) is not True or any(map(is_negative, shape)):
        raise OpError(f"{x} has {x.size} elements and {shape_text(result.shape)} has {result.size}")
    return result


def _infer_transpose(x: TensorType, *, perm: tuple[int, ...]) -> TensorType:
    require_per_axis("transpose", "place", perm, x.rank)
    require_axes("transpose", perm, x)
    return x.with_shape(tuple(x.shape[axis] for axis in perm))


def _transpose_vjp(dy: Tensor, y: Tensor, x: Tensor, *, perm: tuple[int, ...]) -> Cotangents:
    return (dy.transpose(tuple(perm.index(axis) for axis in range(len(perm)))),)


def _infer_broadcast(x: TensorType, *, shape: Shape, axes: tuple[int, ...]) -> TensorType:
    result = x.with_shape(shape)
    require_per_axis("broadcast", "place", axes, x.rank)
    require_axes("broadcast", axes, result)
    if list(axes) != sorted(axes):
        raise OpError(f"`broadcast` keeps the order of axes: {tuple(axes)} is not ascending")
    require_same_shape(x.shape, tuple(result.shape[axis] for axis in axes))
    return result


def _broadcast(x: np.ndarray, *, shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    aligned = [1] * len(shape)
    for axis, dim in zip(axes, x.shape, strict=True):
        aligned[axis] = dim
    return np.broadcast_to(x.reshape(aligned), shape)


def _broadcast_vjp(
    dy: Tensor, y: Tensor, x: Tensor, *, shape: Shape, axes: tuple[int, ...]
) -> Cotangents:
    return (dy.sum(tuple(axis for axis in range(len(shape)) if axis not in axes)),)


# ---------------------------------------------------------------- slice, pad, reverse, concat
def _infer_slice(x: TensorType, *, start: Shape, stop: Shape, step: tuple[int, ...]) -> TensorType:
    for attribute, entries in (("start", start), ("stop", stop), ("step", step)):
        require_per_axis("slice", attribute, entries, x.rank)
    shape = []
    for dim, low, high, by in zip(x.shape, start, stop, step, strict=True):
        if by < 1:
            raise OpError(f"a slice in steps of {by}")
        if is_negative(low) or is_negative(high - low) or is_negative(dim - high):
            raise OpError(f"the slice {low}..{high} is not inside an axis of {dim}")
        shape.append((high - low + by - 1) // by)
    return x.with_shape(tuple(shape))


def _slice(
    x: np.ndarray, *, start: tuple[int, ...], stop: tuple[int, ...], step: tuple[int, ...]
) -> np.ndarray:
    return x[tuple(map(slice, start, stop, step))]


def _slice_vjp(
    dy: Tensor, y: Tensor, x: Tensor, *, start: Shape, stop: Shape, step: tuple[int, ...]
) -> Cotangents:
    if 0 in y.shape:
        return (dy.builder.full(0, x.dtype, x.shape),)
    strided = tuple(axis for axis, by in enumerate(step) if by > 1)
    if strided:
        # A strided slice is a window of size 1: fold puts its elements back at their places.
        dy = dy.reshape((*dy.shape, *(1,) * len(strided))).emit(
            "fold",
            shape=tuple(
                high - low if axis in strided else dy.shape[axis]
                for axis, (low, high) in enumerate(zip(start, stop, strict=True))
            ),
            axes=strided,
            size=(1,) * len(strided),
            stride=tuple(step[axis] for axis in strided),
            dilation=(1,) * len(strided),
        )
    high = tuple(dim - end for dim, end in zip(x.shape, stop, strict=True))
    return (dy.emit("pad", low=tuple(start), high=high, value=0),)


def _infer_pad(x: TensorType, *, low: Shape, high: Shape, value: Any) -> TensorType:
    require_per_axis("pad", "low", low, x.rank)
    require_per_axis("pad", "high", high, x.rank)
    check_scalar(value, x.dtype)
    if any(map(is_negative, (*low, *high))):
        raise OpError(f"negative padding: {shape_text(low)} before, {shape_text(high)} after")
    return x.with_shape(tuple(a + d + b for a, d, b in zip(low, x.shape, high, strict=True)))


def _pad(x: np.ndarray, *, low: tuple[int, ...], high: tuple[int, ...], value: Any) -> np.ndarray:
    return np.pad(x, tuple(zip(low, high, strict=True)), constant_values=value) if low else x


def _pad_vjp(
    dy: Tensor, y: Tensor, x: Tensor, *, low: Shape, high: Shape, value: Any
) -> Cotangents:
    stop = tuple(a + d for a, d in zip(low, x.shape, strict=True))
    return (dy.emit("slice", start=tuple(low), stop=stop, step=(1,) * x.rank),)


def _infer_reverse(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
    require_axes("reverse", axes, x)
    return x


def _infer_concat(*xs: TensorType, axis: int) -> TensorType:
    if not xs:
        raise OpError("`concat` of nothing")
    first = xs[0]
    require_axis("concat", axis, first)
    total: Dim = 0
    for x in xs:
        require_same_dtype(first, x)
        if not same_shape(_with_dim(first.shape, axis, 0), _with_dim(x.shape, axis, 0)):
            raise OpError(
                f"`concat` along axis {axis} of {first} and {x}, whose other axes are not the same"
            )
        total = total + x.shape[axis]
    return first.with_shape(_with_dim(first.shape, axis, total))


def _with_dim(shape: Shape, axis: int, dim: Dim) -> Shape:
    return (*shape[:axis], dim, *shape[axis + 1 :])


def _concat_vjp(dy: Tensor, y: Tensor, *xs: Tensor, axis: int) -> Cotangents:
    pieces = []
    start: Dim = 0
    for x in xs:
        stop = start + x.shape[axis]
        pieces.append(
            dy.emit(
                "slice",
                start=_with_dim((0,) * y.rank, axis, start),
                stop=_with_dim(y.shape, axis, stop),
                step=(1,) * y.rank,
            )
        )
        start = stop
    return tuple(pieces)


define(
    "reshape",
    infer=_infer_reshape,
    evaluate=lambda x, *, shape: x.reshape(shape),
    vjp=lambda dy, y, x, *, shape: (dy.reshape(x.shape),),
    doc="the same elements in row-major order in another shape",
)
define(
    "transpose",
    infer=_infer_transpose,
    evaluate=lambda x, *, perm: x.transpose(perm),
    vjp=_transpose_vjp,
    doc="axis i of the result is axis perm[i] of x",
)
define(
    "broadcast",
    infer=_infer_broadcast,
    evaluate=_broadcast,
    vjp=_broadcast_vjp,
    doc="x repeated along new axes; axis i of x is axis axes[i] of the result",
)
define(
    "slice",
    infer=_infer_slice,
    evaluate=_slice,
    vjp=_slice_vjp,
    doc="elements start, start + step, ... below stop, along every axis",
)
define(
    "pad",
    infer=_infer_pad,
    evaluate=_pad,
    vjp=_pad_vjp,
    doc="x with low elements of `value` before and high after, along every axis",
)
define(
    "reverse",
    infer=_infer_reverse,
    evaluate=lambda x, *, axes: np.flip(x, axes),
    vjp=lambda dy, y, x, *, axes: (dy.emit("reverse", axes=axes),),
    doc="x from last to first along these axes",
)
define(
    "concat",
    infer=_infer_concat,
    evaluate=lambda *xs, axis: np.concatenate(xs, axis),
    vjp=_concat_vjp,
    doc="the operands one after the other along an axis",
)
