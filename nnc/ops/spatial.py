"""Windows over the spatial axes of x [N, *S, C]: their geometry, and arrays seen through them.

Convolution and pooling share it, in evaluation (views of arrays) and in decomposition (graph code).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product as indices
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from nnc.ir.dims import Dim
from nnc.ir.types import TensorType, same_shape
from nnc.ops.registry import OpError

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

Ints = tuple[int, ...]
Dims = tuple[Dim, ...]
Size = TypeVar("Size", int, Dim)


def windows_along(length: Dim, size: int, stride: int, dilation: int) -> Dim:
    """How many windows of `size` taps fit into an axis of `length`."""
    return (length - (size - 1) * dilation - 1) // stride + 1


def padded_shape(shape: tuple[Size, ...], low: Ints, high: Ints) -> tuple[Size, ...]:
    """`shape` [N, *S, C] after the pads."""
    pads = (0, *(lo + hi for lo, hi in zip(low, high, strict=True)), 0)
    return tuple(d + pad for d, pad in zip(shape, pads, strict=True))


def check_geometry(
    what: str, x: TensorType, size: Dims, stride: Ints, dilation: Ints, low: Ints, high: Ints
) -> Dims:
    """The number of windows along each spatial axis of x [N, *S, C]; `OpError` where none fits."""
    spatial = x.rank - 2
    if spatial < 1:
        raise OpError(f"{what} needs [N, spatial..., C]; this is {x}")
    for setting, values in (
        ("size", size), ("stride", stride), ("dilation", dilation), ("low", low), ("high", high)
    ):  # fmt: skip
        least = 0 if setting in ("low", "high") else 1
        if len(values) != spatial or any(not isinstance(v, int) or v < least for v in values):
            raise OpError(
                f"{what}: {setting} = {values} for {spatial} spatial axes of {x}; "
                f"it takes one number of at least {least} for each"
            )
    counts = []
    padded = padded_shape(x.shape, low, high)[1:-1]
    for length, k, s, d in zip(padded, size, stride, dilation, strict=True):
        assert isinstance(k, int)
        count = windows_along(length, k, s, d)
        if isinstance(count, int) and count < 1:
            raise OpError(
                f"{what}: a window of {(k - 1) * d + 1} does not fit into {length} of {x}"
            )
        counts.append(count)
    return tuple(counts)


def tap_views(
    x: np.ndarray, out: Ints, size: Ints, stride: Ints, dilation: Ints
) -> Iterator[tuple[Ints, np.ndarray]]:
    """For each tap of the window the view of x [N, *S, C] that it sees, [N, *out, C]."""
    for tap in indices(*map(range, size)):
        starts = (t * d for t, d in zip(tap, dilation, strict=True))
        spatial = (
            slice(start, start + (count - 1) * s + 1, s)
            for start, count, s in zip(starts, out, stride, strict=True)
        )
        yield tap, x[(slice(None), *spatial)]


def pad_array(x: np.ndarray, low: Ints, high: Ints, value: float = 0) -> np.ndarray:
    """x [N, *S, C] with pads of `value`; x itself where there are none."""
    if not any(low) and not any(high):
        return x
    padded = np.full(padded_shape(x.shape, low, high), value, x.dtype)
    padded[unpadded(x.shape, low)] = x
    return padded


def unpadded(shape: Ints, low: Ints) -> tuple[slice, ...]:
    """Where x of `shape` [N, *S, C] lies in its padded copy."""
    spatial = (slice(lo, lo + d) for lo, d in zip(low, shape[1:-1], strict=True))
    return (slice(None), *spatial)


def pad_spatial(x: Tensor, low: Ints, high: Ints, value: float = 0.0) -> Tensor:
    """x [N, *S, C] with pads on its spatial axes."""
    if not any(low) and not any(high):
        return x
    padded: Tensor = x.emit("pad", low=(0, *low, 0), high=(0, *high, 0), value=value)
    return padded


def unpad_spatial(x: Tensor, shape: Dims, low: Ints) -> Tensor:
    """The part of `shape` that lies behind the low pads."""
    if same_shape(x.shape, shape):
        return x
    start = (0, *low, 0)
    stop = tuple(lo + d for lo, d in zip(start, shape, strict=True))
    part: Tensor = x.emit("slice", start=start, stop=stop, step=(1,) * x.rank)
    return part


def spatial_axes(x: Tensor) -> Ints:
    return tuple(range(1, x.rank - 1))
