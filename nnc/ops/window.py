"""Windows that slide over axes, and their adjoint: what convolution and pooling are made of."""

from __future__ import annotations

from itertools import product as combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from nnc.ir.dims import Dim, shape_text
from nnc.ir.types import TensorType, same_shape
from nnc.ops.registry import OpError, family
from nnc.ops.rules import is_negative, require_axes, require_per_axis

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

Cotangents = tuple["Tensor | None", ...]
Shape = tuple[Dim, ...]

define = family("shape")


def _infer_window(
    x: TensorType,
    *,
    axes: tuple[int, ...],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> TensorType:
    require_axes("window", axes, x)
    shape = list(x.shape)
    for attribute, entries in (("size", size), ("stride", stride), ("dilation", dilation)):
        require_per_axis("window", attribute, entries, len(axes))
        if any(entry < 1 for entry in entries):
            raise OpError(f"a window has a {attribute} of at least 1, not {tuple(entries)}")
    for axis, count, by, apart in zip(axes, size, stride, dilation, strict=True):
        span = (count - 1) * apart + 1
        if is_negative(shape[axis] - span):
            raise OpError(f"a window of {span} does not fit into an axis of {shape[axis]}")
        shape[axis] = (shape[axis] - span) // by + 1
    return x.with_shape((*shape, *size))


def _window(
    x: np.ndarray,
    *,
    axes: tuple[int, ...],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> np.ndarray:
    spans = tuple((count - 1) * apart + 1 for count, apart in zip(size, dilation, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(x, spans, axes) if axes else x
    steps = [1] * x.ndim
    for axis, by in zip(axes, stride, strict=True):
        steps[axis] = by
    return windows[tuple(slice(None, None, by) for by in (*steps, *dilation))]


def _infer_fold(
    w: TensorType,
    *,
    shape: Shape,
    axes: tuple[int, ...],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> TensorType:
    result = w.with_shape(shape)
    windows = _infer_window(result, axes=axes, size=size, stride=stride, dilation=dilation)
    if not same_shape(windows.shape, w.shape):
        raise OpError(f"{result} has windows {shape_text(windows.shape)}, not {w}")
    return result


def _fold(
    w: np.ndarray,
    *,
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> np.ndarray:
    result = np.zeros(shape, w.dtype)
    for offset in combinations(*map(range, size)):
        places = [slice(None)] * len(shape)
        for axis, at, by, apart in zip(axes, offset, stride, dilation, strict=True):
            first = at * apart
            places[axis] = slice(first, first + (w.shape[axis] - 1) * by + 1, by)
        inside: tuple[Any, ...] = (..., *offset)
        result[tuple(places)] += w[inside]
    return result


def _window_vjp(dy: Tensor, y: Tensor, x: Tensor, **attrs: Any) -> Cotangents:
    return (dy.emit("fold", shape=x.shape, **attrs),)


def _fold_vjp(dy: Tensor, y: Tensor, w: Tensor, *, shape: Shape, **attrs: Any) -> Cotangents:
    return (dy.emit("window", **attrs),)


define(
    "window",
    infer=_infer_window,
    evaluate=_window,
    vjp=_window_vjp,
    doc="all windows of x: their number stays at each axis, their places are appended as axes",
)
define(
    "fold",
    infer=_infer_fold,
    evaluate=_fold,
    vjp=_fold_vjp,
    doc="windows added up at the places they came from: the adjoint of window",
)
