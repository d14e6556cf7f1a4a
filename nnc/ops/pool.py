"""Pooling over windows of the spatial axes of x [N, *S, C].

`max_pool` returns the place of each winner, so its gradient needs neither x nor y.  `sum_pool` and
its gradient are each other's adjoint; an average is a `sum_pool` over a count, which is where it is
decided whether padding counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnc.ir.dims import Dim, product
from nnc.ir.types import TensorType, same_shape
from nnc.ops.registry import OpError, family
from nnc.ops.spatial import (
    Dims,
    Ints,
    check_geometry,
    pad_array,
    pad_spatial,
    padded_shape,
    spatial_axes,
    tap_views,
    unpad_spatial,
    unpadded,
)

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

define = family("nn")


def _pooled(x: TensorType, size: Ints, stride: Ints, low: Ints, high: Ints) -> TensorType:
    if not x.is_float:
        raise OpError(f"pooling needs floats, not {x}")
    out = check_geometry("pooling", x, size, stride, (1,) * len(size), low, high)
    return x.with_shape((x.shape[0], *out, x.shape[-1]))


def _max_pool_infer(
    x: TensorType, *, size: Ints, stride: Ints, low: Ints, high: Ints
) -> tuple[TensorType, TensorType]:
    y = _pooled(x, size, stride, low, high)
    if any(max(lo, hi) >= k for k, lo, hi in zip(size, low, high, strict=True)):
        raise OpError(f"pads {low} and {high} leave windows {size} with nothing but padding")
    return y, y.with_dtype("i32")


def _max_pool_grad_infer(
    dy: TensorType,
    index: TensorType,
    *,
    shape: Dims,
    size: Ints,
    stride: Ints,
    low: Ints,
    high: Ints,
) -> TensorType:
    if index.dtype != "i32" or not same_shape(index.shape, dy.shape):
        raise OpError(f"the winners of a pooling of {dy} cannot be {index}")
    return _sum_pool_grad_infer(dy, shape=shape, size=size, stride=stride, low=low, high=high)


def _sum_pool_grad_infer(
    dy: TensorType, *, shape: Dims, size: Ints, stride: Ints, low: Ints, high: Ints
) -> TensorType:
    x = dy.with_shape(tuple(shape))
    y = _pooled(x, size, stride, low, high)
    if not same_shape(dy.shape, y.shape):
        raise OpError(f"pooling {x} gives {y}; its gradient cannot take {dy}")
    return x


# ------------------------------------------------------------------------------------ evaluation
def _max_pool(
    x: np.ndarray, *, size: Ints, stride: Ints, low: Ints, high: Ints
) -> tuple[np.ndarray, np.ndarray]:
    padded = pad_array(x, low, high, -np.inf)
    views = tap_views(padded, _pooled_lengths(padded, size, stride), size, stride, (1,) * len(size))
    _, first = next(views)
    y, index = first.copy(), np.zeros(first.shape, np.int32)
    for number, (_, view) in enumerate(views, 1):
        np.copyto(index, number, where=view > y)
        np.maximum(y, view, out=y)
    return y, index


def _max_pool_grad(
    dy: np.ndarray,
    index: np.ndarray,
    *,
    shape: Ints,
    size: Ints,
    stride: Ints,
    low: Ints,
    high: Ints,
) -> np.ndarray:
    dx = np.zeros(padded_shape(shape, low, high), dy.dtype)
    views = tap_views(dx, dy.shape[1:-1], size, stride, (1,) * len(size))
    for number, (_, view) in enumerate(views):
        np.add(view, dy, out=view, where=index == number)
    return dx[unpadded(shape, low)]


def _sum_pool(x: np.ndarray, *, size: Ints, stride: Ints, low: Ints, high: Ints) -> np.ndarray:
    padded = pad_array(x, low, high)
    views = tap_views(padded, _pooled_lengths(padded, size, stride), size, stride, (1,) * len(size))
    y: np.ndarray = next(views)[1].copy()
    for _, view in views:
        y += view
    return y


def _sum_pool_grad(
    dy: np.ndarray, *, shape: Ints, size: Ints, stride: Ints, low: Ints, high: Ints
) -> np.ndarray:
    dx = np.zeros(padded_shape(shape, low, high), dy.dtype)
    for _, view in tap_views(dx, dy.shape[1:-1], size, stride, (1,) * len(size)):
        view += dy
    return dx[unpadded(shape, low)]


def _pooled_lengths(x: np.ndarray, size: Ints, stride: Ints) -> Ints:
    lengths = zip(x.shape[1:-1], size, stride, strict=True)
    return tuple((length - k) // s + 1 for length, k, s in lengths)


# --------------------------------------------------------------------- decompositions, gradients
def _windows(
    x: Tensor, size: Ints, stride: Ints, low: Ints, high: Ints, pad: float = 0.0
) -> Tensor:
    """x [N, *S, C] as flat windows [N, *out, C, taps]."""
    x = pad_spatial(x, low, high, pad)
    windows: Tensor = x.emit(
        "window", axes=spatial_axes(x), size=size, stride=stride, dilation=(1,) * len(size)
    )
    return windows.reshape((*windows.shape[: x.rank], product(size)))


def _fold(
    windows: Tensor, *, shape: Dims, size: Ints, stride: Ints, low: Ints, high: Ints
) -> Tensor:
    """The adjoint of `_windows` for an x of `shape`."""
    windows = windows.reshape((*windows.shape[:-1], *size))
    dx: Tensor = windows.emit(
        "fold",
        shape=padded_shape(tuple(shape), low, high),
        axes=tuple(range(1, len(size) + 1)),
        size=size,
        stride=stride,
        dilation=(1,) * len(size),
    )
    return unpad_spatial(dx, tuple(shape), low)


def _max_pool_decompose(
    x: Tensor, *, size: Ints, stride: Ints, low: Ints, high: Ints
) -> tuple[Tensor, Tensor]:
    windows = _windows(x, size, stride, low, high, float("-inf"))
    return windows.max((x.rank,)), windows.emit("argmax", axis=x.rank)


def _max_pool_vjp(
    dys: tuple[Tensor | None, None],
    ys: tuple[Tensor, Tensor],
    x: Tensor,
    *,
    size: Ints,
    stride: Ints,
    low: Ints,
    high: Ints,
) -> tuple[Tensor | None]:
    dy, (_, index) = dys[0], ys
    if dy is None:
        return (None,)
    attrs = {"size": size, "stride": stride, "low": low, "high": high}
    return (dy.emit("max_pool_grad", index, shape=x.shape, **attrs),)


def _max_pool_grad_decompose(
    dy: Tensor, index: Tensor, *, shape: Dims, size: Ints, stride: Ints, low: Ints, high: Ints
) -> Tensor:
    taps: tuple[Dim, ...] = (*dy.shape, product(size))
    places = dy.builder.emit("iota", shape=taps, axis=dy.rank, dtype="i32")
    own = tuple(range(dy.rank))
    winners: Tensor = places.equals(index.broadcast(taps, own))
    windows = winners.where(dy.broadcast(taps, own), 0.0)
    return _fold(windows, shape=shape, size=size, stride=stride, low=low, high=high)


def _max_pool_grad_vjp(
    g: Tensor,
    dx: Tensor,
    dy: Tensor,
    index: Tensor,
    *,
    shape: Dims,
    size: Ints,
    stride: Ints,
    low: Ints,
    high: Ints,
) -> tuple[Tensor, None]:
    """The gradient is linear in dy: its adjoint reads g where each window's winner stood."""
    windows = _windows(g, size, stride, low, high)
    place = index.reshape((*index.shape, 1))
    return windows.emit("take_along", place, axis=g.rank).reshape(dy.shape), None


def _sum_pool_decompose(x: Tensor, *, size: Ints, stride: Ints, low: Ints, high: Ints) -> Tensor:
    return _windows(x, size, stride, low, high).sum((x.rank,))


def _sum_pool_vjp(
    dy: Tensor, y: Tensor, x: Tensor, *, size: Ints, stride: Ints, low: Ints, high: Ints
) -> tuple[Tensor]:
    attrs = {"size": size, "stride": stride, "low": low, "high": high}
    return (dy.emit("sum_pool_grad", shape=x.shape, **attrs),)


def _sum_pool_grad_decompose(
    dy: Tensor, *, shape: Dims, size: Ints, stride: Ints, low: Ints, high: Ints
) -> Tensor:
    windows = dy.broadcast((*dy.shape, product(size)), tuple(range(dy.rank)))
    return _fold(windows, shape=shape, size=size, stride=stride, low=low, high=high)


def _sum_pool_grad_vjp(
    g: Tensor,
    dx: Tensor,
    dy: Tensor,
    *,
    shape: Dims,
    size: Ints,
    stride: Ints,
    low: Ints,
    high: Ints,
) -> tuple[Tensor]:
    return (g.emit("sum_pool", size=size, stride=stride, low=low, high=high),)


define(
    "max_pool",
    infer=_max_pool_infer,
    evaluate=_max_pool,
    vjp=_max_pool_vjp,
    decompose=_max_pool_decompose,
    doc="The largest of each window and its place inside the window, row by row; the first wins. "
    "Pads never win.",
)
define(
    "max_pool_grad",
    infer=_max_pool_grad_infer,
    evaluate=_max_pool_grad,
    vjp=_max_pool_grad_vjp,
    decompose=_max_pool_grad_decompose,
    doc="Cotangent of the x (of `shape`) of a max_pool, from dy and the places of the winners.",
)
define(
    "sum_pool",
    infer=_pooled,
    evaluate=_sum_pool,
    vjp=_sum_pool_vjp,
    decompose=_sum_pool_decompose,
    doc="The sum of each window; pads are zero.",
)
define(
    "sum_pool_grad",
    infer=_sum_pool_grad_infer,
    evaluate=_sum_pool_grad,
    vjp=_sum_pool_grad_vjp,
    decompose=_sum_pool_grad_decompose,
    doc="Cotangent of the x (of `shape`) of a sum_pool: each dy goes to its whole window.",
)
