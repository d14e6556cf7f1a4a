"""Functions that emitted files contain where they use them.

They know PyTorch and nothing of graphs.  Arrays lie channels last, as nnc has them: x [N, *S, C],
filters [*K, C // groups, O].  PyTorch's kernels want channels first, which `movedim` shows them
without a copy; given these strides they compute, and answer, in channels last.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

DEVICE = "cpu"  # a constant of the emitted file

Ints = tuple[int, ...]


# ---------------------------------------------------------------- memory
def keep_memory() -> None:
    """Let glibc keep what arrays leave for those of the next step.

    It would give large ones back to the system and get them again as new pages, which takes longer
    than many a kernel.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 1 << 30)


# ---------------------------------------------------------------- NumPy and back
def from_numpy(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Copies as tensors on DEVICE; unsigned integers stay NumPy's, which computes with them."""
    return {
        name: array if array.dtype.kind == "u" else torch.tensor(array, device=DEVICE)
        for name, array in arrays.items()
    }


def to_numpy(values: dict[str, Any]) -> dict[str, np.ndarray]:
    """Copies as NumPy arrays."""
    return {
        name: value.numpy(force=True).copy() if torch.is_tensor(value) else np.array(value)
        for name, value in values.items()
    }


# ---------------------------------------------------------------- elementwise
def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1; nan stays nan."""
    return torch.where(x.isnan(), x, x.sign())


# ---------------------------------------------------------------- gradients at kinks
def sqrt(x: Tensor) -> Tensor:
    """The square root, with gradient 0 at 0."""
    zero = x == 0
    return torch.where(zero, 0, torch.sqrt(torch.where(zero, 1, x)))


def maximum(x: Tensor, y: Tensor) -> Tensor:
    """The larger; of equals x, which gets the whole gradient; nan if either is."""
    return torch.where((x >= y) | x.isnan(), x, y)


def minimum(x: Tensor, y: Tensor) -> Tensor:
    """The smaller; of equals x, which gets the whole gradient; nan if either is."""
    return torch.where((x <= y) | x.isnan(), x, y)


# ---------------------------------------------------------------- gradients of the program's own
def with_gradient(value: Tensor, via: Tensor) -> Tensor:
    """`value`, whose gradient goes to `via` alone."""
    return value.detach() + (via - via.detach())


def on_gradient(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """x, whose gradient passes through `change`."""
    if x.requires_grad:
        x = x.view_as(x)
        x.register_hook(change)
    return x


# ---------------------------------------------------------------- convolution
def conv(
    x: Tensor,
    w: Tensor,
    *,
    stride: int | Ints = 1,
    padding: int | Ints = 0,
    dilation: int | Ints = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution of x [N, *S, C] with w [*K, C // groups, O]; no copies."""
    function = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.ndim]
    filters = w.movedim((-1, -2), (0, 1))
    return function(x.movedim(-1, 1), filters, None, stride, padding, dilation, groups).movedim(
        1, -1
    )


def conv_input_grad(
    dy: Tensor,
    w: Tensor,
    *,
    shape: Ints,
    stride: int | Ints = 1,
    padding: int | Ints = 0,
    dilation: int | Ints = 1,
    groups: int = 1,
) -> Tensor:
    """The cotangent of the x, of `shape`, of a `conv`."""
    x = dy.new_empty(shape)  # only its layout is read
    geometry = stride, padding, dilation, groups
    return conv_grad(x, w, dy, *geometry, wanted=0).movedim(1, -1)


def conv_filter_grad(
    x: Tensor,
    dy: Tensor,
    *,
    shape: Ints,
    stride: int | Ints = 1,
    padding: int | Ints = 0,
    dilation: int | Ints = 1,
    groups: int = 1,
) -> Tensor:
    """The cotangent of the w, of `shape`, of a `conv`."""
    w = x.new_empty(shape)  # only its layout is read
    geometry = stride, padding, dilation, groups
    return conv_grad(x, w, dy, *geometry, wanted=1).movedim((0, 1), (-1, -2))


def conv_grad(
    x: Tensor,
    w: Tensor,
    dy: Tensor,
    stride: int | Ints,
    padding: int | Ints,
    dilation: int | Ints,
    groups: int,
    *,
    wanted: int,
) -> Tensor:
    """The cotangent of x (`wanted` = 0) or of w (1), channels first."""
    axes = x.ndim - 2
    operands = dy.movedim(-1, 1), x.movedim(-1, 1), w.movedim((-1, -2), (0, 1))
    per_axis = ([n] * axes if isinstance(n, int) else list(n) for n in (stride, padding, dilation))
    mask = [wanted == 0, wanted == 1, False]
    backward = torch.ops.aten.convolution_backward
    found = backward(*operands, None, *per_axis, False, [0] * axes, groups, mask)
    return found[wanted]


# ---------------------------------------------------------------- pooling
def max_pool(
    x: Tensor, size: int | Ints, stride: int | Ints | None = None, padding: int | Ints = 0
) -> Tensor:
    """The largest of each window of x [N, *S, C]; of equals the first gets the gradient."""
    function = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}[x.ndim]
    return function(x.movedim(-1, 1), size, stride, padding).movedim(1, -1)


def max_pool_index(
    x: Tensor, size: int | Ints, stride: int | Ints | None = None, padding: int | Ints = 0
) -> tuple[Tensor, Tensor]:
    """The largest of each window of x [N, *S, C], and where in S it stands: of equals the first."""
    function = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}[x.ndim]
    y, index = function(x.movedim(-1, 1), size, stride, padding, return_indices=True)
    return y.movedim(1, -1), index.movedim(1, -1)


def max_pool_grad(
    dy: Tensor,
    index: Tensor,
    shape: Ints,
    size: int | Ints,
    stride: int | Ints | None = None,
    padding: int | Ints = 0,
) -> Tensor:
    """The cotangent of the x, of `shape`, of a `max_pool_index`."""
    axes = dy.ndim - 2
    geometry = [
        [n] * axes if isinstance(n, int) else list(n) for n in (size, stride or size, padding)
    ]
    if axes == 1:  # as images of one row, since there is no kernel for lines
        geometry = [[1, *geometry[0]], [1, *geometry[1]], [0, *geometry[2]]]
        image = (shape[0], 1, *shape[1:])
        return max_pool_grad(dy[:, None], index[:, None], image, *map(tuple, geometry))[:, 0]
    x = dy.new_empty(shape).movedim(-1, 1)  # only its layout is read
    backward = getattr(torch.ops.aten, f"max_pool{axes}d_with_indices_backward")
    operands = dy.movedim(-1, 1), x
    dx = backward(*operands, *geometry, [1] * axes, False, index.movedim(-1, 1))
    return dx.movedim(1, -1)


def max_pool_places(x: Tensor, size: Ints, stride: Ints) -> tuple[Tensor, Tensor]:
    """The largest of each window of x [N, *S, C], and its place inside the window."""
    for axis, (length, step) in enumerate(zip(size, stride, strict=True), 1):
        x = x.unfold(axis, length, step)
    y, place = x.flatten(-len(size)).max(-1)
    return y, place.int()


def max_pool_places_grad(
    dy: Tensor, place: Tensor, shape: Ints, size: Ints, stride: Ints
) -> Tensor:
    """The cotangent of the x, of `shape`, of a `max_pool_places`."""
    dx = dy.new_zeros(shape)
    for number, tap in enumerate(taps(dx, dy, size, stride)):
        tap += torch.where(place == number, dy, 0)
    return dx


def sum_pool(
    x: Tensor, size: int | Ints, stride: int | Ints | None = None, padding: int | Ints = 0
) -> Tensor:
    """The sum of each window of x [N, *S, C]."""
    stride = stride or size
    if x.ndim == 3:  # as images of one row, since the kernel for lines only averages
        geometry = [(n,) if isinstance(n, int) else n for n in (size, stride, padding)]
        size, stride, padding = ((one, *n) for one, n in zip((1, 1, 0), geometry, strict=True))
        return sum_pool(x[:, None], size, stride, padding)[:, 0]
    function = {4: F.avg_pool2d, 5: F.avg_pool3d}[x.ndim]
    y = function(x.movedim(-1, 1), size, stride, padding, divisor_override=1)
    return y.movedim(1, -1)


def sum_pool_grad(dy: Tensor, shape: Ints, size: Ints, stride: Ints) -> Tensor:
    """The cotangent of the x, of `shape`, of a `sum_pool`."""
    dx = dy.new_zeros(shape)
    for tap in taps(dx, dy, size, stride):
        tap += dy
    return dx


def taps(dx: Tensor, dy: Tensor, size: Ints, stride: Ints) -> list[Tensor]:
    """For each place inside a window the view of dx [N, *S, C] that all windows have there."""
    lengths = dy.shape[1:-1]
    return [
        dx[
            (
                slice(None),
                *(
                    slice(first, first + (count - 1) * step + 1, step)
                    for first, count, step in zip(place, lengths, stride, strict=True)
                ),
            )
        ]
        for place in itertools.product(*map(range, size))
    ]


# ---------------------------------------------------------------- windows and parts
def fold(w: Tensor, *, shape: Ints, axes: Ints, size: Ints, stride: Ints, dilation: Ints) -> Tensor:
    """Windows added up, in an array of `shape`, at the places that `unfold` read them from."""
    result = w.new_zeros(shape)
    for offset in itertools.product(*map(range, size)):
        places: list[Any] = [slice(None)] * len(shape)
        for axis, at, by, apart in zip(axes, offset, stride, dilation, strict=True):
            first = at * apart
            places[axis] = slice(first, first + (w.shape[axis] - 1) * by + 1, by)
        inside: tuple[Any, ...] = (..., *offset)
        result[tuple(places)] += w[inside]
    return result


def place(shape: Ints, size: Ints, starts: tuple[Any, ...]) -> tuple[slice, ...]:
    """The slice of `size` at `starts`, moved to lie inside `shape`."""
    firsts = (
        min(max(int(start), 0), dim - count)
        for start, dim, count in zip(starts, shape, size, strict=True)
    )
    return tuple(slice(first, first + count) for first, count in zip(firsts, size, strict=True))


def dynamic_slice(x: Tensor, *starts: Any, size: Ints) -> Tensor:
    """The part of `size` at `starts`, moved to lie inside x."""
    return x[place(x.shape, size, starts)]


def dynamic_update(x: Tensor, update: Tensor, *starts: Any) -> Tensor:
    """x with `update` in the place of the part that `dynamic_slice` would read."""
    result = x.clone()
    result[place(x.shape, update.shape, starts)] = update
    return result
