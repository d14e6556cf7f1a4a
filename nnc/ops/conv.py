"""Convolution as a closed triple: `conv`, its input gradient and its filter gradient.

Each is bilinear and its two partial derivatives are the other two, so gradients of any order stay
in the family and a backend spells three ops.  Layouts: x [N, *S, C], w [*K, C // groups, O],
y [N, *out, O], with any number of spatial axes; `low` and `high` are explicit zero pads.

In NumPy a convolution and its filter gradient are matrix products over windows along the last
spatial axis, one for each tap of the others, a few samples at a time, so that these stay in the
cache.  With many channels a filter of 3 x 3 goes by tiles (`nnc/ops/winograd.py`).  An input
gradient without strides is a convolution itself, any other a product for each tap.  Depthwise
filters, which have no matrix to multiply with, go tap by tap throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product as indices
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from nnc.ir.dims import equal
from nnc.ir.types import TensorType, same_shape
from nnc.ops.blocks import cores, in_threads, narrow_times_narrow, times_narrow
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
from nnc.ops.winograd import (
    correlated_sums,
    filter_of_sums,
    filter_sums,
    input_sums,
    output_of_sums,
    output_sums,
    times_sums,
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


def _parts(samples: int, size: int) -> Iterator[slice]:
    """All samples, as many at a time as have windows of `size` bytes each that fit the cache, and
    at most so many that each core gets two parts.

    That is a power of two, so that `short_runs` finds a divisor.
    """
    most = min(2**20 // max(size, 1), samples // (2 * cores()))
    count = 1 << (max(1, most).bit_length() - 1)
    return (slice(start, start + count) for start in range(0, samples, count))


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
    y = np.empty((x.shape[0], *out, features), x.dtype)
    if _has_tiles(w.shape, out, stride, dilation):
        sums = filter_sums(w)

        def convolve_tiles(part: slice) -> None:
            products = times_sums(input_sums(pad_array(x[part], low, high)), sums)
            output_of_sums(products, y[part])

        in_threads(
            convolve_tiles, _parts(x.shape[0], 4 * prod(out) * (per_group + features) * x.itemsize)
        )
        return y

    def convolve(part: slice) -> None:
        runs = _runs(pad_array(x[part], low, high), out, size, stride, dilation)
        total = y[part].reshape(len(runs), -1, features)
        for number, (tap, rows) in enumerate(_rows(runs, out, size, stride, dilation)):
            matrix = w[tap].reshape(-1, features)
            if number:
                total += times_narrow(rows, matrix)
            else:
                total[...] = times_narrow(rows, matrix)

    in_threads(convolve, _parts(x.shape[0], prod(out) * prod(w.shape[-3:-1]) * x.itemsize))
    return y


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
    reach = [(k - 1) * d for k, d in zip(size, dilation, strict=True)]
    before = tuple(r - lo for r, lo in zip(reach, low, strict=True))
    after = tuple(d + lo - o for d, lo, o in zip(shape[1:-1], low, out, strict=True))
    if groups == 1 and set(stride) == {1} and min(*before, *after) >= 0:
        turned = np.ascontiguousarray(np.flip(w, tuple(range(len(size)))).swapaxes(-1, -2))
        return _conv(dy, turned, stride=stride, dilation=dilation, low=before, high=after, groups=1)
    dx = np.zeros(padded_shape(shape, low, high), dy.dtype)
    if groups == 1:  # a product for each tap is faster than one and a pass over all its windows
        turned = np.ascontiguousarray(w.swapaxes(-1, -2))

        def spread(part: slice) -> None:
            rows = dy[part].reshape(len(dy[part]), -1, features)
            for tap, view in tap_views(dx[part], out, size, stride, dilation):
                view += times_narrow(rows, turned[tap]).reshape(view.shape)

        in_threads(spread, _parts(dy.shape[0], prod(out) * (per_group + features) * dy.itemsize))
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
    if _has_tiles(shape, out, stride, dilation):
        parts = list(_parts(x.shape[0], 4 * prod(out) * (per_group + features) * x.itemsize))
        products = np.zeros((len(parts), 16, *shape[-2:]), x.dtype)

        def correlate_tiles(number: int) -> None:
            part = parts[number]
            left = input_sums(pad_array(x[part], low, high))
            products[number] = correlated_sums(left, output_sums(dy[part]))

        in_threads(correlate_tiles, range(len(parts)))
        return filter_of_sums(np.add.reduce(products))
    parts = list(_parts(x.shape[0], prod(out) * prod(shape[-3:-1]) * x.itemsize))
    dws = np.zeros((len(parts), *shape), x.dtype)

    def correlate(number: int) -> None:
        part = parts[number]
        runs = _runs(pad_array(x[part], low, high), out, size, stride, dilation)
        dys = dy[part].reshape(len(runs), -1, features)
        for tap, rows in _rows(runs, out, size, stride, dilation):
            dws[number][tap] = narrow_times_narrow(rows, dys).reshape(shape[-3:])

    in_threads(correlate, range(len(parts)))
    total: np.ndarray = np.add.reduce(dws)
    return total


def _has_tiles(filter: Ints, out: Ints, stride: Ints, dilation: Ints) -> bool:
    """Whether tiles of 2 x 2 outputs take fewer products, of channels so many that it pays, and so
    few that the products are still of a good size in one thread."""
    is_plain = filter[:-2] == (3, 3) and set(stride) == set(dilation) == {1}
    is_much = min(filter[-2:]) >= 64 and prod(filter[-2:]) <= 8192
    return is_plain and is_much and not any(count % 2 for count in out)


def _runs(x: np.ndarray, out: Ints, size: Ints, stride: Ints, dilation: Ints) -> np.ndarray:
    """Windows of x [N, *S, C] along its last spatial axis, [N, *S without it, out, size * C]."""
    *lead, along, c = x.strides
    shape = (*x.shape[:-2], out[-1], size[-1], x.shape[-1])
    steps = (*lead, along * stride[-1], along * dilation[-1], c)
    windows = as_strided(x, shape, steps, writeable=False).reshape((*shape[:-2], -1))
    return np.ascontiguousarray(windows)


def _rows(
    runs: np.ndarray, out: Ints, size: Ints, stride: Ints, dilation: Ints
) -> Iterator[tuple[Ints, np.ndarray]]:
    """For each tap of the other spatial axes what it sees of `runs`, [N, prod(out), size * C]."""
    for tap in indices(*map(range, size[:-1])):
        places = (
            slice(t * d, t * d + (count - 1) * s + 1, s)
            for t, d, count, s in zip(tap, dilation, out, stride, strict=False)
        )
        yield tap, runs[(slice(None), *places)].reshape(len(runs), -1, runs.shape[-1])


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
