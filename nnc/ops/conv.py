"""Convolution as a closed triple: `conv`, its input gradient and its filter gradient.

Each is bilinear and its two partial derivatives are the other two, so gradients of any order stay
in the family and a backend spells three ops.  Layouts: x [N, *S, C], w [*K, C // groups, O],
y [N, *out, O], with any number of spatial axes; `low` and `high` are explicit zero pads.

In NumPy all three are matrix products over windows along the last spatial axis
(`nnc/ops/rows.py`).  Depthwise filters, which have no matrix to multiply with, go tap by tap.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from nnc.ir.dims import equal
from nnc.ir.types import TensorType, same_shape
from nnc.ops.registry import OpError, family
from nnc.ops.rows import Windows, convolve_rows, correlate_rows, spread_rows
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


def _windows(x: np.ndarray, out: Ints, size: Ints, stride: Ints, dilation: Ints) -> np.ndarray:
    """The view [N, *out, *size, C] of x [N, *S, C]."""
    n, *along, c = x.strides
    steps = [a * s for a, s in zip(along, stride, strict=True)]
    taps = [a * d for a, d in zip(along, dilation, strict=True)]
    shape = (x.shape[0], *out, *size, x.shape[-1])
    return as_strided(x, shape, (n, *steps, *taps, c), writeable=False)


# ------------------------------------------------------------------------------------ type rules
def _conv_infer(
    x: TensorType,
    w: TensorType,
    *,
    stride: Ints,
    dilation: Ints,
    low: Ints,
    high: Ints,
    groups: int,
) -> TensorType:
    if x.dtype != w.dtype or not x.is_float:
        raise OpError(f"a convolution needs two floats of one type, not {x} and {w}")
    if w.rank != x.rank:
        raise OpError(f"the filter of {x} needs {x.rank} axes [size..., C / groups, O]; it is {w}")
    channels, per_group, features = x.shape[-1], *w.shape[-2:]
    if equal(per_group * groups, channels) is not True:
        raise OpError(
            f"a filter {w} in {groups} group(s) reads {per_group * groups} channels; "
            f"{x} has {channels}"
        )
    if features % groups != 0:
        raise OpError(f"{features} output channels do not divide into {groups} groups")
    out = check_geometry("a convolution", x, w.shape[:-2], stride, dilation, low, high)
    return TensorType(x.dtype, (x.shape[0], *out, features))


def _input_grad_infer(dy: TensorType, w: TensorType, *, shape: Dims, **attrs: Any) -> TensorType:
    x = TensorType(dy.dtype, tuple(shape))
    _check_cotangent(dy, _conv_infer(x, w, **attrs))
    return x


def _filter_grad_infer(x: TensorType, dy: TensorType, *, shape: Dims, **attrs: Any) -> TensorType:
    w = TensorType(x.dtype, tuple(shape))
    _check_cotangent(dy, _conv_infer(x, w, **attrs))
    return w


def _check_cotangent(dy: TensorType, y: TensorType) -> None:
    if dy.dtype != y.dtype or not same_shape(dy.shape, y.shape):
        raise OpError(f"this convolution gives {y}; its gradient cannot take {dy}")


# ------------------------------------------------------------------------------------ evaluation
def _conv(
    x: np.ndarray,
    w: np.ndarray,
    *,
    stride: Ints,
    dilation: Ints,
    low: Ints,
    high: Ints,
    groups: int,
) -> np.ndarray:
    size, (per_group, features) = w.shape[:-2], w.shape[-2:]
    shape = padded_shape(x.shape, low, high)
    out = _conv_lengths(shape, size, stride, dilation)
    if groups > 1:
        x = pad_array(x, low, high)
    if per_group == 1 and groups > 1:
        y = np.zeros((x.shape[0], *out, groups, features // groups), x.dtype)
        for tap, view in tap_views(x, out, size, stride, dilation):
            y += view[..., None] * w[tap].reshape(groups, -1)
        return y.reshape((*y.shape[:-2], features))
    if groups > 1:
        columns = _columns(_windows(x, out, size, stride, dilation), groups)
        return _join_groups(columns @ _matrix(w, groups), (x.shape[0], *out))
    return convolve_rows(x, w, Windows(size, out, stride, dilation, low, x.shape[-2]))


def _conv_input_grad(
    dy: np.ndarray,
    w: np.ndarray,
    *,
    shape: Ints,
    stride: Ints,
    dilation: Ints,
    low: Ints,
    high: Ints,
    groups: int,
) -> np.ndarray:
    size, (per_group, features) = w.shape[:-2], w.shape[-2:]
    out = dy.shape[1:-1]
    if groups == 1 and all(1 in pair for pair in zip(stride, dilation, strict=True)):
        windows = Windows(size, out, stride, dilation, low, shape[-2])
        return spread_rows(dy, w, shape, windows)
    dx = np.zeros(padded_shape(shape, low, high), dy.dtype)
    if groups == 1:
        for tap, view in tap_views(dx, out, size, stride, dilation):
            view += dy @ w[tap].T
    elif per_group == 1:
        dy = dy.reshape((*dy.shape[:-1], groups, features // groups))
        for tap, view in tap_views(dx, out, size, stride, dilation):
            view += np.einsum("...gm,gm->...g", dy, w[tap].reshape(groups, -1))
    else:
        split = _split_groups(dy, groups)
        for tap, view in tap_views(dx, out, size, stride, dilation):
            columns = split @ np.swapaxes(_matrix(w[tap], groups), -1, -2)
            view += _join_groups(columns, dy.shape[:-1])
    return dx[unpadded(shape, low)]


def _conv_filter_grad(
    x: np.ndarray,
    dy: np.ndarray,
    *,
    shape: Ints,
    stride: Ints,
    dilation: Ints,
    low: Ints,
    high: Ints,
    groups: int,
) -> np.ndarray:
    size, (per_group, features) = shape[:-2], shape[-2:]
    out = dy.shape[1:-1]
    if groups > 1:
        x = pad_array(x, low, high)
    if per_group == 1 and groups > 1:
        dw = np.empty((*size, groups, features // groups), x.dtype)
        dy = dy.reshape((-1, groups, features // groups))
        for tap, view in tap_views(x, out, size, stride, dilation):
            dw[tap] = np.einsum("pg,pgm->gm", view.reshape(-1, groups), dy)
        return dw.reshape(shape)
    if groups > 1:
        columns = _columns(_windows(x, out, size, stride, dilation), groups)
        split = np.swapaxes(columns, -1, -2) @ _split_groups(dy, groups)
        return np.moveaxis(split, 0, -2).reshape(shape)  # from [G, K * C / G, O / G]
    return correlate_rows(x, dy, Windows(size, out, stride, dilation, low, x.shape[-2]))


def _conv_lengths(shape: Ints, size: Ints, stride: Ints, dilation: Ints) -> Ints:
    lengths = zip(shape[1:-1], size, stride, dilation, strict=True)
    return tuple((length - (k - 1) * d - 1) // s + 1 for length, k, s, d in lengths)


def _columns(windows: np.ndarray, groups: int) -> np.ndarray:
    """Windows [N, *out, *K, C] as a matrix [N * out, K * C], or [G, N * out, K * C / G]."""
    spatial = (windows.ndim - 2) // 2
    depth = prod(windows.shape[1 + spatial :])
    if groups == 1:
        return windows.reshape(-1, depth)
    split = windows.reshape((*windows.shape[:-1], groups, -1))
    return np.moveaxis(split, -2, 0).reshape(groups, -1, depth // groups)


def _matrix(w: np.ndarray, groups: int) -> np.ndarray:
    """The filter [*K, C / G, O] as [K * C, O], or [G, K * C / G, O / G]."""
    if groups == 1:
        return w.reshape(-1, w.shape[-1])
    split = w.reshape((prod(w.shape[:-1]), groups, -1))
    return np.ascontiguousarray(split.transpose(1, 0, 2))


def _split_groups(y: np.ndarray, groups: int) -> np.ndarray:
    """y [N, *out, O] as [N * out, O], or [G, N * out, O / G]."""
    if groups == 1:
        return y.reshape(-1, y.shape[-1])
    split = y.reshape((prod(y.shape[:-1]), groups, -1))
    return np.ascontiguousarray(split.transpose(1, 0, 2))


def _join_groups(y: np.ndarray, lead: Ints) -> np.ndarray:
    """The inverse of `_split_groups`; `lead` is (N, *out)."""
    return (y if y.ndim == 2 else y.transpose(1, 0, 2)).reshape((*lead, -1))


# ------------------------------------------------------------------------------------- gradients
def _conv_vjp(dy: Tensor, y: Tensor, x: Tensor, w: Tensor, **attrs: Any) -> tuple[Tensor, Tensor]:
    return (
        dy.emit("conv_input_grad", w, shape=x.shape, **attrs),
        x.emit("conv_filter_grad", dy, shape=w.shape, **attrs),
    )


def _input_grad_vjp(
    g: Tensor, dx: Tensor, dy: Tensor, w: Tensor, *, shape: Dims, **attrs: Any
) -> tuple[Tensor, Tensor]:
    return g.emit("conv", w, **attrs), g.emit("conv_filter_grad", dy, shape=w.shape, **attrs)


def _filter_grad_vjp(
    g: Tensor, dw: Tensor, x: Tensor, dy: Tensor, *, shape: Dims, **attrs: Any
) -> tuple[Tensor, Tensor]:
    return dy.emit("conv_input_grad", g, shape=x.shape, **attrs), x.emit("conv", g, **attrs)


# -------------------------------------------------------------------------------- decompositions
def _lead(groups: int) -> Ints:
    return (groups,) if groups > 1 else ()


def _grouped_windows(
    x: Tensor, size: Ints, groups: int, stride: Ints, dilation: Ints, low: Ints, high: Ints
) -> Tensor:
    """x [N, *S, C] as windows [N, *out, *G, C / G, *K]; *G is absent for one group."""
    x = pad_spatial(x, low, high)
    windows: Tensor = x.emit(
        "window", axes=spatial_axes(x), size=size, stride=stride, dilation=dilation
    )
    lead = windows.shape[: x.rank - 1]
    return windows.reshape((*lead, *_lead(groups), x.shape[-1] // groups, *size))


def _grouped_filter(w: Tensor, groups: int) -> Tensor:
    """w as [*K, C / G, *G, O / G]."""
    return w.reshape((*w.shape[:-1], *_lead(groups), w.shape[-1] // groups))


def _to_front(rank: int, axis: int) -> Ints:
    return (axis, *(a for a in range(rank) if a != axis))


def _from_front(rank: int, axis: int) -> Ints:
    return (*range(1, axis + 1), 0, *range(axis + 1, rank))


def _conv_decompose(
    x: Tensor, w: Tensor, *, stride: Ints, dilation: Ints, low: Ints, high: Ints, groups: int
) -> Tensor:
    n, size = x.rank - 2, w.shape[:-2]
    windows = _grouped_windows(x, size, groups, stride, dilation, low, high)  # type: ignore[arg-type]
    g = len(_lead(groups))
    taps = tuple(range(n + 1 + g, windows.rank))
    y: Tensor = windows.emit(
        "dot",
        _grouped_filter(w, groups),
        contract=(taps, (n, *range(n))),
        batch=((n + 1,) * g, (n + 1,) * g),
    )
    if g:
        y = y.transpose(_from_front(y.rank, n + 1))
    return y.reshape((*y.shape[: n + 1], w.shape[-1]))


def _input_grad_decompose(
    dy: Tensor,
    w: Tensor,
    *,
    shape: Dims,
    stride: Ints,
    dilation: Ints,
    low: Ints,
    high: Ints,
    groups: int,
) -> Tensor:
    n, size, g = dy.rank - 2, w.shape[:-2], len(_lead(groups))
    split = dy.reshape((*dy.shape[:-1], *_lead(groups), dy.shape[-1] // groups))
    windows: Tensor = split.emit(
        "dot",
        _grouped_filter(w, groups),
        contract=((n + 1 + g,), (n + 1 + g,)),
        batch=((n + 1,) * g, (n + 1,) * g),
    )  # [*G, N, *out, *K, C / G]
    lead, taps = tuple(range(g, g + n + 1)), tuple(range(g + n + 1, g + 2 * n + 1))
    windows = windows.transpose((*lead, *range(g), windows.rank - 1, *taps))
    windows = windows.reshape((*dy.shape[:-1], shape[-1], *size))
    padded = padded_shape(tuple(shape), low, high)
    dx: Tensor = windows.emit(
        "fold",
        shape=padded,
        axes=spatial_axes(dy),
        size=size,
        stride=stride,
        dilation=dilation,
    )
    return unpad_spatial(dx, tuple(shape), low)


def _filter_grad_decompose(
    x: Tensor,
    dy: Tensor,
    *,
    shape: Dims,
    stride: Ints,
    dilation: Ints,
    low: Ints,
    high: Ints,
    groups: int,
) -> Tensor:
    n, size, g = x.rank - 2, shape[:-2], len(_lead(groups))
    windows = _grouped_windows(x, size, groups, stride, dilation, low, high)  # type: ignore[arg-type]
    split = dy.reshape((*dy.shape[:-1], *_lead(groups), dy.shape[-1] // groups))
    places = tuple(range(n + 1))
    dw: Tensor = windows.emit(
        "dot", split, contract=(places, places), batch=((n + 1,) * g, (n + 1,) * g)
    )  # [*G, C / G, *K, O / G]
    taps = tuple(range(g + 1, g + 1 + n))
    return dw.transpose((*taps, g, *range(g), dw.rank - 1)).reshape(tuple(shape))


define(
    "conv",
    infer=_conv_infer,
    evaluate=_conv,
    vjp=_conv_vjp,
    decompose=_conv_decompose,
    doc="Correlation of x [N, *S, C] with the filter w [*K, C // groups, O].",
)
define(
    "conv_input_grad",
    infer=_input_grad_infer,
    evaluate=_conv_input_grad,
    vjp=_input_grad_vjp,
    decompose=_input_grad_decompose,
    doc="Cotangent of the x (of `shape`) of a conv, from dy and w: a transposed convolution.",
)
define(
    "conv_filter_grad",
    infer=_filter_grad_infer,
    evaluate=_conv_filter_grad,
    vjp=_filter_grad_vjp,
    decompose=_filter_grad_decompose,
    doc="Cotangent of the w (of `shape`) of a conv, from x and dy.",
)
