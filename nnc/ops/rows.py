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
from typing import Any, NamedTuple

import numpy as np

from nnc.ops.blocks import in_threads, short_rows

Ints = tuple[int, ...]


class Windows(NamedTuple):
    """Which windows of images [*S] a convolution sees, and how their pixels lie in rows.

    Output p sees pixels p * stride + tap * dilation - low along each axis; what lies beyond the
    image is 0.  Where the pixels of a window do not lie together along the last axis, a window is
    one pixel, and taps of that axis are taps like those of the others.
    """

    size: tuple[int, ...]
    out: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    low: tuple[int, ...]
    width: int  # pixels of a row of an image

    @property
    def has_runs(self) -> bool:
        return self.size[-1] > 1 and self.dilation[-1] == 1

    @property
    def is_tiled(self) -> bool:
        """Whether two rows of outputs are had at a time."""
        if len(self.size) != 2 or self.size[0] != 3 or not self.has_runs:
            return False
        return self.stride[0] == self.dilation[0] == 1 and self.out[0] % 2 == 0

    @property
    def run(self) -> int:
        """Pixels of a window."""
        return self.size[-1] if self.has_runs else 1

    @property
    def step(self) -> int:
        """Pixels from window to window."""
        return self.stride[-1] if self.has_runs else 1

    @property
    def taps(self) -> int:
        """How many matrices of windows there are."""
        return 4 if self.is_tiled else prod(self.size[:-1] if self.has_runs else self.size)

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows of an image that each tap sees."""
        return (self.out[0] // 2,) if self.is_tiled else self.out[:-1]

    @property
    def seen(self) -> int:
        """Pixels of such a row."""
        return self.width if self.has_runs else self.out[-1]

    @property
    def pitch(self) -> int:
        """Pixels from row to row, with the zeros between."""
        if not self.has_runs:
            return self.out[-1]
        reach = (self.out[-1] - 1) * self.step + self.run - self.low[-1]
        zeros = max(self.low[-1], reach - self.width)
        return max(-(-(self.width + zeros) // self.step), self.out[-1]) * self.step

    @property
    def start(self) -> int:
        """Zeros before the first row."""
        return self.low[-1] if self.has_runs else 0

    def lines(self, samples: int) -> tuple[int, ...]:
        """The shape of all windows of so many samples, by tap, sample and row."""
        return self.taps, samples, *self.rows, self.pitch // self.step

    def parts(self, samples: int, pixel: int) -> list[slice]:
        """All samples, a quarter at a time: in calls so long that threads seldom wait for each
        other.

        Parts are of 256 KiB at least and of 8 MiB at most, where what is kept for a pixel takes
        `pixel` bytes.  Sums over parts are the same on any number of cores.
        """
        each = max(1, self.taps * prod(self.rows) * self.pitch * pixel)
        count = max(1, min(max(-(-samples // 4), 2**18 // each), 2**23 // each))
        return [slice(start, start + count) for start in range(0, samples, count)]


def convolve_rows(x: np.ndarray, w: np.ndarray, windows: Windows) -> np.ndarray:
    """x [N, *S, C] with w [*K, C, O]: [N, *out, O]."""
    channels, features = w.shape[-2:]
    factors = w.reshape(-1, windows.run * channels, features)
    if windows.is_tiled:
        factors = np.tensordot(tile_factors(w.dtype), factors, 1)
    y = np.empty((x.shape[0], *windows.out, features), x.dtype)
    terms = windows.run * channels * features

    def convolve(part: slice) -> None:
        seen, blocks = seen_rows(x[part], windows, terms)
        products = times_windows(seen, factors, windows.run, windows.step, blocks)
        lines = windows.lines(len(x[part]))
        each = products[:, : prod(lines[1:])].reshape(*lines, -1)[..., : windows.out[-1], :]
        (add_tiles if windows.is_tiled else add_taps)(each, y[part])

    pixel = (channels + features // windows.step) * x.itemsize
    over_samples(convolve, windows.parts(len(x), pixel), terms)
    return y


def correlate_rows(x: np.ndarray, dy: np.ndarray, windows: Windows) -> np.ndarray:
    """The cotangent of w, [*K, C, O], where `convolve_rows` gives dy that of y."""
    channels, features = x.shape[-1], dy.shape[-1]
    terms = windows.run * channels * features
    pixel = (channels + features // windows.step) * x.itemsize
    parts = windows.parts(len(x), pixel)
    dws = np.empty((len(parts), windows.taps, windows.run * channels, features), x.dtype)

    def correlate(number: int) -> None:
        part = parts[number]
        seen, blocks = seen_rows(x[part], windows, terms)
        lines = windows.lines(len(x[part]))[1:]
        dys = np.empty((4 if windows.is_tiled else 1, prod(blocks), features), x.dtype)
        dys[:, prod(lines) :] = 0
        each = dys[:, : prod(lines)].reshape(len(dys), *lines, features)
        each[..., windows.out[-1] :, :] = 0
        if windows.is_tiled:
            spread_tiles(dy[part], each[..., : windows.out[-1], :])
        else:
            each[0, ..., : windows.out[-1], :] = dy[part]
        dws[number] = windows_times(seen, dys, windows.run, windows.step, blocks)

    over_samples(correlate, range(len(parts)), terms)
    dw = np.add.reduce(dws)
    if windows.is_tiled:
        dw = np.tensordot(tile_factors(x.dtype).T, dw, 1)
    return dw.reshape(*windows.size, channels, features)


def spread_rows(dy: np.ndarray, w: np.ndarray, shape: Ints, windows: Windows) -> np.ndarray:
    """The cotangent of x, of `shape`, where `convolve_rows` gives dy that of y; along each axis the
    stride or the dilation is 1."""
    stride = windows.stride
    if set(stride) == {1}:
        return spread_phase(dy, w, shape, windows, (0,) * len(stride[:-1]))[1]
    dx = np.zeros(shape, dy.dtype)
    for phase in indices(*map(range, stride[:-1])):
        places, pixels = spread_phase(dy, w, shape, windows, phase)
        dx[(slice(None), *places)] = pixels
    return dx


def spread_phase(
    dy: np.ndarray, w: np.ndarray, shape: Ints, windows: Windows, phase: Ints
) -> tuple[list[slice], Any]:
    """The rows of `spread_rows` which every `stride`-th tap from `phase` on sees, and where.

    They are a convolution of dy without strides, one of whose outputs holds the pixels of a stride.
    """
    _, _, stride, dilation, low, columns = windows
    step, first = stride[-1], low[-1] // stride[-1]
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
    padded = (*before, max(0, left))
    seen = Windows(turned.shape[:-2], out, ones, dilation, padded, given.shape[-2])
    skipped = low[-1] - first * step
    pixels = convolve_rows(given, turned, seen).reshape(len(dy), *out[:-1], count * step, -1)
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
def over_samples(work: Callable[..., object], parts: Iterable[Any], terms: int) -> None:
    """`work` of each part on all cores, where a row has `terms` in a product; else these are long,
    and OpenBLAS has the cores itself."""
    if short_rows(terms) >= 32:
        in_threads(work, parts)
    else:
        for part in parts:
            work(part)


def seen_rows(x: np.ndarray, windows: Windows, terms: int) -> tuple[np.ndarray, Ints]:
    """Rows of x as the taps see them, [T, L, C], and how many matrices of how many windows, of
    which every how manieth is in one, these are; a row has `terms` in a product."""
    lines, start, step = windows.lines(len(x)), windows.start, windows.step
    total, views = prod(lines[1:]), -(-windows.run // step)
    count, height = short_blocks(-(-total // views), terms)
    length = max(start, (views - 1) * step) + count * height * views * step
    seen = np.empty((windows.taps, length, x.shape[-1]), x.dtype)
    end = start + total * step
    seen[:, :start] = 0
    seen[:, end:] = 0
    images = seen[:, start:end].reshape(*lines[:-1], windows.pitch, -1)
    images[..., windows.seen :, :] = 0
    if windows.is_tiled:
        sum_tiles(x, windows.low[0], images[..., : windows.seen, :])
    else:
        size = windows.size[:-1] if windows.has_runs else windows.size
        see_taps(x, windows._replace(size=size), images[..., : windows.seen, :])
    return seen, (count, height, views)


def short_blocks(rows: int, terms: int) -> tuple[int, int]:
    """Into how many blocks of how many rows to cut a matrix for products with `terms` a row, that
    each is short; they have a few rows more together.  One block, where rows are too long."""
    limit = short_rows(terms)
    count = -(-rows // limit) if limit >= 32 else 1
    return count, -(-rows // count)


def see_taps(x: np.ndarray, windows: Windows, seen: np.ndarray) -> None:
    """Write what each tap of the axes that `size` has sees of x [N, *S, C] into seen [T, N, *out,
    ..., C]."""
    for number, tap in enumerate(indices(*map(range, windows.size))):
        target, source = seen[number], x
        geometry = zip(
            tap, windows.out, windows.stride, windows.dilation, windows.low, strict=False
        )
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
    see_taps(x, Windows((1,), (height,), (1,), (1,), (low,), x.shape[-2]), padded[None])
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
