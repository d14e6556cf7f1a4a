"""Convolution as products of runs of pixels with the filter, without a copy of every window.

A window of k pixels along the last axis is a run of numbers in a row.  Every k-th of them begins
where the one before it ends, so these are the rows of a matrix that lies in the image already: k
views hold all windows.  To that end rows lie one after another with zeros between them, once for
each tap of the other axes.

Filters that are 3 high take sums of rows in the place of taps, 4 for two rows of outputs instead of
6: F(2, 3) along that axis (Lavin & Gray 2016, section 4.1).  That rounds no more than the products
which it saves.

Copied into emitted files as it stands, so it depends on NumPy and Python alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product as indices
from math import prod
from typing import Any

import numpy as np

from nnc.ops.blocks import in_threads, short_rows

Ints = tuple[int, ...]


def convolve_rows(
    x: np.ndarray, w: np.ndarray, out: Ints, stride: Ints, dilation: Ints, low: Ints
) -> np.ndarray:
    """x [N, *S, C] with w [*K, C, O]: [N, *out, O].  What lies beyond x is 0."""
    tiled = has_row_tiles(w.shape[:-2], out, stride, dilation)
    taps, rows, run, step, pitch, _ = row_layout(x.shape, w.shape, out, stride, dilation, low)
    factors = w.reshape(-1, run * w.shape[-2], w.shape[-1])
    if tiled:
        factors = np.tensordot(tile_factors(w.dtype), factors, 1)
    y = np.empty((x.shape[0], *out, w.shape[-1]), x.dtype)

    def convolve(part: slice) -> None:
        windows, blocks = windows_seen(x[part], w.shape, out, stride, dilation, low)
        products = times_windows(windows, factors, run, step, blocks)
        lines = (taps, len(x[part]), *rows, pitch // step)
        each = products[:, : prod(lines[1:])].reshape(*lines, -1)[..., : out[-1], :]
        (add_tiles if tiled else add_taps)(each, y[part])

    size = taps * prod(rows) * pitch * (x.shape[-1] + w.shape[-1] // step) * x.itemsize
    over_samples(convolve, sample_parts(len(x), size), run * prod(w.shape[-2:]))
    return y


def correlate_rows(
    x: np.ndarray, dy: np.ndarray, shape: Ints, stride: Ints, dilation: Ints, low: Ints
) -> np.ndarray:
    """The cotangent of w, of `shape`, where `convolve_rows` gives dy that of y."""
    out, features = dy.shape[1:-1], dy.shape[-1]
    tiled = has_row_tiles(shape[:-2], out, stride, dilation)
    taps, rows, run, step, pitch, _ = row_layout(x.shape, shape, out, stride, dilation, low)
    size = taps * prod(rows) * pitch * (x.shape[-1] + features // step) * x.itemsize
    parts = sample_parts(len(x), size)
    dws = np.empty((len(parts), taps, run * shape[-2], features), x.dtype)

    def correlate(number: int) -> None:
        part = parts[number]
        windows, blocks = windows_seen(x[part], shape, out, stride, dilation, low)
        dys = np.empty((4 if tiled else 1, prod(blocks), features), x.dtype)
        lines = (len(dys), len(dy[part]), *rows, pitch // step)
        dys[:, prod(lines[1:]) :] = 0
        each = dys[:, : prod(lines[1:])].reshape(*lines, features)
        each[..., out[-1] :, :] = 0
        if tiled:
            spread_tiles(dy[part], each[..., : out[-1], :])
        else:
            each[0, ..., : out[-1], :] = dy[part]
        dws[number] = windows_times(windows, dys, run, step, blocks)

    over_samples(correlate, range(len(parts)), run * prod(shape[-2:]))
    dw = np.add.reduce(dws)
    return (np.tensordot(tile_factors(x.dtype).T, dw, 1) if tiled else dw).reshape(shape)


def spread_rows(
    dy: np.ndarray, w: np.ndarray, shape: Ints, stride: Ints, dilation: Ints, low: Ints
) -> np.ndarray:
    """The cotangent of x, of `shape`, where `convolve_rows` gives dy that of y; along each axis the
    stride or the dilation is 1."""
    if set(stride) == {1}:
        return spread_phase(dy, w, shape, stride, dilation, low, (0,) * len(low[:-1]))[1]
    dx = np.zeros(shape, dy.dtype)
    for phase in indices(*map(range, stride[:-1])):
        places, pixels = spread_phase(dy, w, shape, stride, dilation, low, phase)
        dx[(slice(None), *places)] = pixels
    return dx


def spread_phase(
    dy: np.ndarray,
    w: np.ndarray,
    shape: Ints,
    stride: Ints,
    dilation: Ints,
    low: Ints,
    phase: Ints,
) -> tuple[list[slice], Any]:
    """The rows of `spread_rows` which every `stride`-th tap from `phase` on sees, and where.

    They are a convolution of dy without strides, one of whose outputs holds the pixels of a stride.
    """
    columns, step, first = shape[-2], stride[-1], low[-1] // stride[-1]
    count = -(-(low[-1] + columns) // step) - first
    taps = tuple(slice(place, None, s) for place, s in zip(phase, stride, strict=False))
    turned = turned_filter(w[taps], step)
    axes = zip(shape[1:-2], stride, phase, low, strict=False)
    rows = [inside_of(length, length + lo, s, place - lo) for length, s, place, lo in axes]
    places = [place for _, place in rows]
    out = (*(inside.stop - inside.start for inside, _ in rows), count)
    if 0 in out or 0 in turned.shape:
        return places, 0
    starts = (*(inside.start for inside, _ in rows), first)
    reach = ((k - 1) * d for k, d in zip(turned.shape, dilation, strict=False))
    *before, left = (far - start for far, start in zip(reach, starts, strict=True))
    given, ones = dy[..., max(0, -left) :, :], (1,) * len(out)
    part = convolve_rows(given, turned, out, ones, dilation, (*before, max(0, left)))
    skipped = low[-1] - first * step
    pixels = part.reshape(len(dy), *out[:-1], count * step, -1)
    return places, pixels[..., skipped : skipped + columns, :]


def turned_filter(w: np.ndarray, step: int) -> np.ndarray:
    """w [*K, C, O] as the filter [*K without step, O, step * C] of a cotangent, back to front."""
    *size, run, c, features = w.shape
    count = -(-run // step)
    padded = np.zeros((*size, count * step, c, features), w.dtype)
    padded[..., :run, :, :] = w
    split = padded.reshape(*size, count, step * c, features).swapaxes(-1, -2)
    return np.ascontiguousarray(np.flip(split, tuple(range(len(size) + 1))))


# ---------------------------------------------------------------- layout
def row_layout(
    x: Ints, w: Ints, out: Ints, stride: Ints, dilation: Ints, low: Ints
) -> tuple[int, Ints, int, int, int, int]:
    """How rows lie for x and w of these shapes: the number of taps, the rows of an image that each
    sees, pixels of a window, from window to window, of a row with its zeros, and before the first.

    Where pixels of a window do not lie together, all axes have taps and a window is one pixel.
    """
    *size, _, _ = w
    if not has_runs(w, dilation):
        return prod(size), out[:-1], 1, 1, out[-1], 0
    run, step, width = size[-1], stride[-1], x[-2]
    zeros = max(low[-1], (out[-1] - 1) * step + run - width - low[-1])
    pitch = max(-(-(width + zeros) // step), out[-1]) * step
    if has_row_tiles(w[:-2], out, stride, dilation):
        return 4, (out[0] // 2,), run, step, pitch, low[-1]
    return prod(size[:-1]), out[:-1], run, step, pitch, low[-1]


def has_runs(w: Ints, dilation: Ints) -> bool:
    return w[-3] > 1 and dilation[-1] == 1


def has_row_tiles(size: Ints, out: Ints, stride: Ints, dilation: Ints) -> bool:
    """Whether two rows of outputs can be had at a time."""
    is_plain = len(size) == 2 and size[0] == 3 and stride[0] == 1 and set(dilation) == {1}
    return is_plain and size[1] > 1 and out[0] % 2 == 0


def sample_parts(samples: int, size: int) -> list[slice]:
    """All samples, a quarter at a time: in calls so long that threads seldom wait for each other.

    Parts are of 256 KiB at least and of 8 MiB at most, where a sample takes `size` bytes.  Sums
    over parts are the same on any number of cores.
    """
    count = max(1, min(max(-(-samples // 4), 2**18 // max(size, 1)), 2**23 // max(size, 1)))
    return [slice(start, start + count) for start in range(0, samples, count)]


def over_samples(work: Callable[..., object], parts: Iterable[Any], terms: int) -> None:
    """`work` of each part on all cores, where a row has `terms` in a product; else these are long,
    and OpenBLAS has the cores itself."""
    if short_rows(terms) >= 32:
        in_threads(work, parts)
    else:
        for part in parts:
            work(part)


def windows_seen(
    x: np.ndarray, w: Ints, out: Ints, stride: Ints, dilation: Ints, low: Ints
) -> tuple[np.ndarray, Ints]:
    """Rows of x as the taps of w see them, [T, L, C], and how many matrices of how many windows,
    of which every how manieth is in one, these are."""
    taps, rows, run, step, pitch, start = row_layout(x.shape, w, out, stride, dilation, low)
    lines = (taps, len(x), *rows)
    windows, views = prod(lines[1:]) * pitch // step, -(-run // step)
    count, height = short_blocks(-(-windows // views), run * prod(w[-2:]))
    length = max(start, (views - 1) * step) + count * height * views * step
    seen = np.empty((taps, length, x.shape[-1]), x.dtype)
    end, width = start + windows * step, x.shape[-2] if has_runs(w, dilation) else out[-1]
    seen[:, :start] = 0
    seen[:, end:] = 0
    images = seen[:, start:end].reshape(*lines, pitch, -1)
    images[..., width:, :] = 0
    if has_row_tiles(w[:-2], out, stride, dilation):
        sum_tiles(x, low[0], images[..., :width, :])
    else:
        size = w[:-3] if has_runs(w, dilation) else w[:-2]
        see_taps(x, size, out, stride, dilation, low, images[..., :width, :])
    return seen, (count, height, views)


def short_blocks(rows: int, terms: int) -> tuple[int, int]:
    """Into how many blocks of how many rows to cut a matrix for products with `terms` a row, that
    each is short; they have a few rows more together.  One block, where rows are too long."""
    limit = short_rows(terms)
    count = -(-rows // limit) if limit >= 32 else 1
    return count, -(-rows // count)


def see_taps(
    x: np.ndarray, size: Ints, out: Ints, stride: Ints, dilation: Ints, low: Ints, seen: np.ndarray
) -> None:
    """Write what each tap of the first axes sees of x [N, *S, C] into seen [T, N, *out, ..., C]."""
    for number, tap in enumerate(indices(*map(range, size))):
        target, source = seen[number], x
        geometry = zip(tap, out, stride, dilation, low, strict=False)
        for axis, (place, count, step, apart, before) in enumerate(geometry, 1):
            inside, places = inside_of(source.shape[axis], count, step, place * apart - before)
            lead = (slice(None),) * axis
            target[(*lead, slice(inside.start))] = 0
            target[(*lead, slice(inside.stop, None))] = 0
            target, source = target[(*lead, inside)], source[(*lead, places)]
        target[...] = source


def inside_of(length: int, count: int, step: int, first: int) -> tuple[slice, slice]:
    """Which of `count` places `first`, `first + step`, ... are below `length` and not below 0, and
    these places."""
    low = min(count, max(0, -(first // step)))
    high = max(low, min(count, -((first - length) // step)))
    start = low * step + first
    return slice(low, high), slice(start, start + (high - low) * step, step)


# ---------------------------------------------------------------- products
def views_of(
    seen: np.ndarray, run: int, step: int, blocks: Ints
) -> Iterator[tuple[int, np.ndarray]]:
    """Windows of rows [T, L, C] as matrices [T, count, height, run * C], every `views`-th in
    one."""
    count, height, views = blocks
    for number in range(views):
        part = seen[:, number * step : (number + count * height * views) * step]
        yield number, part.reshape(len(seen), count, height, -1)[..., : run * seen.shape[-1]]


def times_windows(
    seen: np.ndarray, factors: np.ndarray, run: int, step: int, blocks: Ints
) -> np.ndarray:
    """All windows times factors [T, run * C, O]: [T, windows, O]."""
    products = np.empty((len(seen), prod(blocks), factors.shape[-1]), seen.dtype)
    split = products.reshape(len(seen), *blocks, -1)
    for number, windows in views_of(seen, run, step, blocks):
        np.matmul(windows, factors[:, None], out=split[:, :, :, number])
    return products


def windows_times(
    seen: np.ndarray, dys: np.ndarray, run: int, step: int, blocks: Ints
) -> np.ndarray:
    """The sum over all windows of each times what dys [T or 1, windows, O] has for it, [T, run * C,
    O]."""
    split = dys.reshape(len(dys), *blocks, -1)
    total = np.zeros((len(seen), run * seen.shape[-1], dys.shape[-1]), seen.dtype)
    for number, windows in views_of(seen, run, step, blocks):
        total += np.add.reduce(windows.swapaxes(-1, -2) @ split[:, :, :, number], axis=1)
    return total


def add_taps(products: np.ndarray, y: np.ndarray) -> None:
    """Write the sum of products [T, *shape of y] into y."""
    *others, last = products
    if not others:
        y[...] = last
        return
    total = others[0]
    for other in others[1:]:
        total += other
    np.add(total, last, out=y)


# ---------------------------------------------------------------- tiles of two rows
def tile_factors(dtype: np.dtype[np.generic]) -> np.ndarray:
    """The sums of the 3 taps of a column that are multiplied with sums of 4 rows."""
    return np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], dtype)


def sum_tiles(x: np.ndarray, low: int, sums: np.ndarray) -> None:
    """Write the sums of 4 rows of x [N, H, W, C] that two rows of outputs see into sums [4, N,
    out / 2, W, C]."""
    height = 2 * sums.shape[2] + 2
    padded = np.empty((len(x), height, *x.shape[2:]), x.dtype)
    see_taps(x, (1,), (height,), (1,), (1,), (low,), padded[None])
    first, second, third, fourth = (padded[:, t : t + height - 3 : 2] for t in range(4))
    np.subtract(first, third, out=sums[0])
    np.add(second, third, out=sums[1])
    np.subtract(third, second, out=sums[2])
    np.subtract(second, fourth, out=sums[3])


def add_tiles(products: np.ndarray, y: np.ndarray) -> None:
    """Write what products [4, N, H / 2, W, O] of sums add up to into y [N, H, W, O]."""
    first, second, third, fourth = products
    first += second
    np.add(first, third, out=y[:, 0::2])
    second -= third
    np.subtract(second, fourth, out=y[:, 1::2])


def spread_tiles(dy: np.ndarray, spread: np.ndarray) -> None:
    """The adjoint of `add_tiles`."""
    upper, lower = dy[:, 0::2], dy[:, 1::2]
    spread[0] = upper
    np.add(upper, lower, out=spread[1])
    np.subtract(upper, lower, out=spread[2])
    np.negative(lower, out=spread[3])
