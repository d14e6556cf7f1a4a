"""Functions that emitted files contain where they use them.

They know JAX and the streams of nnc, and nothing of graphs.  `DEVICE` is a constant of the file.
"""

import functools
import math
from collections.abc import Callable
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nnc.backend import random_streams

DEVICE: str | None = None

Ints = tuple[int, ...]

stream_tag = random_streams.tag


# ---------------------------------------------------------------- the file's own decorator, borders
def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit` with 64-bit types and products in full precision, whatever JAX is set to."""
    run = jax.jit(function, **options)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            return run(*arguments, **named)

    return call


def from_numpy(arrays: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Copies of NumPy arrays, in their own element types, on DEVICE or JAX's own choice."""
    device = jax.devices(DEVICE)[0] if DEVICE else None
    with jax.enable_x64(True):
        return jax.device_put(arrays, device, may_alias=False)


def to_numpy(arrays: dict[str, jax.Array]) -> dict[str, np.ndarray]:
    """Copies of JAX arrays, which outlive their being consumed by a step."""
    return {name: np.array(value) for name, value in jax.device_get(arrays).items()}


# ---------------------------------------------------------------- random streams
def multiply(a: jax.Array, b: np.uint64) -> tuple[jax.Array, jax.Array]:
    """The high and the low 64 bits of a product."""
    half, low = jnp.uint64(32), jnp.uint64(0xFFFFFFFF)
    a_high, a_low, b_high, b_low = a >> half, a & low, b >> half, b & low
    middle = a_high * b_low + ((a_low * b_low) >> half)
    carry = a_low * b_high + (middle & low)
    return a_high * b_high + (middle >> half) + (carry >> half), a * b


def philox(counter: list[jax.Array], key: list[jax.Array]) -> list[jax.Array]:
    """Ten rounds of Philox4x64 (Salmon et al., SC 2011) on words u64[N] of a counter and key."""
    factors = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
    bumps = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)

    def turn(_: Any, words: tuple[list[jax.Array], list[jax.Array]]) -> Any:
        (c0, c1, c2, c3), (k0, k1) = words
        high0, low0 = multiply(c0, factors[0])
        high1, low1 = multiply(c2, factors[1])
        return [high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0], [k0 + bumps[0], k1 + bumps[1]]

    # A loop, because XLA computes unrolled rounds again for each of the four words it needs.
    return lax.fori_loop(0, 10, turn, (counter, key))[0]


def random_bits(
    shape: Ints,
    seed: Any,
    path: str,
    ordinal: Any = 0,
    step: Any = 0,
    iteration: Any = 0,
    offset: Any = 0,
) -> jax.Array:
    """Random words of 32 bits in `shape`: those of NumPy's Philox, from the stream so named.

    A block has four words of 64 bits, the low half of each first; NumPy counts before it draws.
    """
    count = math.prod(shape)
    skip = jnp.uint64(offset) % 8
    blocks = (count + 7) // 8 + (0 if isinstance(offset, int) and offset % 8 == 0 else 1)
    first = jnp.uint64(offset) // 8 + 1
    words = [jnp.uint64(word) for word in (0, iteration, ordinal, step)]
    counter = [jnp.broadcast_to(word, blocks) for word in words]
    counter[0] = first + jnp.arange(blocks, dtype=jnp.uint64)
    key = [jnp.uint64(seed), jnp.uint64(np.uint64(stream_tag(path)))]
    drawn = jnp.stack(philox(counter, key), axis=1)
    halves = jnp.stack([drawn, drawn >> 32], axis=2).astype(jnp.uint32)
    return lax.dynamic_slice(halves.reshape(-1), (skip,), (count,)).reshape(shape)


# ---------------------------------------------------------------- windows
def taps(size: Ints, counts: Ints, stride: Ints, dilation: Ints) -> list[tuple[slice, ...]]:
    """For each place of a window the slices of the axes that it sees, `counts` windows each."""

    def along(place: int, count: int, by: int, apart: int) -> slice:
        return slice(place * apart, place * apart + (count - 1) * by + 1, by)

    places = product(*map(range, size))
    return [tuple(map(along, place, counts, stride, dilation)) for place in places]


def windows_at(
    shape: Ints, axes: Ints, size: Ints, stride: Ints, dilation: Ints
) -> list[tuple[slice, ...]]:
    """`taps` as places in a whole array of `shape`."""
    spans = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    counts = [(shape[a] - span) // s + 1 for a, span, s in zip(axes, spans, stride, strict=True)]
    places = []
    for tap in taps(size, tuple(counts), stride, dilation):
        along = dict(zip(axes, tap, strict=True))
        places.append(tuple(along.get(axis, slice(None)) for axis in range(len(shape))))
    return places


def window(x: jax.Array, *, axes: Ints, size: Ints, stride: Ints, dilation: Ints) -> jax.Array:
    """All windows of x: their number stays at each axis, their places are appended as axes."""
    places = windows_at(x.shape, axes, size, stride, dilation)
    stacked = jnp.stack([x[place] for place in places], axis=-1)
    return stacked.reshape(*stacked.shape[:-1], *size)


def fold(
    w: jax.Array, *, shape: Ints, axes: Ints, size: Ints, stride: Ints, dilation: Ints
) -> jax.Array:
    """Windows added up at the places they came from: the adjoint of `window`."""
    places = windows_at(shape, axes, size, stride, dilation)
    flat = w.reshape(*w.shape[: len(shape)], -1)
    result = jnp.zeros(shape, w.dtype)
    for number, place in enumerate(places):
        result = result.at[place].add(flat[..., number])
    return result


# ---------------------------------------------------------------- convolution
def layout(rank: int) -> lax.ConvDimensionNumbers:
    """x [N, *S, C], w [*K, C, O], y [N, *S, O]."""
    spatial = tuple(range(1, rank - 1))
    channels_last = (0, rank - 1, *spatial)
    return lax.ConvDimensionNumbers(
        channels_last, (rank - 1, rank - 2, *range(rank - 2)), channels_last
    )


def conv_input_grad(
    dy: jax.Array,
    w: jax.Array,
    *,
    shape: Ints,
    stride: Ints,
    dilation: Ints,
    low: Ints,
    high: Ints,
    groups: int,
) -> jax.Array:
    """The gradient of a convolution in its input: one of `dy`, spread by the stride, with flipped w."""
    size, (per_group, features) = w.shape[:-2], w.shape[-2:]
    pads = []
    for length, out, k, s, d, before in zip(
        shape[1:-1], dy.shape[1:-1], size, stride, dilation, low, strict=True
    ):
        reach = (k - 1) * d
        spread = (out - 1) * s + 1
        pads.append((reach - before, length + before - spread))
    flipped = jnp.flip(w, range(len(size)))
    grouped = flipped.reshape(*size, per_group, groups, features // groups)
    turned = grouped.swapaxes(-3, -1).reshape(*size, features // groups, groups * per_group)
    return lax.conv_general_dilated(
        dy,
        turned,
        (1,) * len(size),
        pads,
        lhs_dilation=stride,
        rhs_dilation=dilation,
        dimension_numbers=layout(dy.ndim),
        feature_group_count=groups,
    )


def conv_filter_grad(
    x: jax.Array,
    dy: jax.Array,
    *,
    shape: Ints,
    stride: Ints,
    dilation: Ints,
    low: Ints,
    high: Ints,
    groups: int,
) -> jax.Array:
    """The gradient of a convolution in its filter: one of x with `dy`, samples as channels."""
    pads = []
    for length, out, k, s, d, before in zip(
        x.shape[1:-1], dy.shape[1:-1], shape, stride, dilation, low, strict=False
    ):
        pads.append((before, (out - 1) * s + (k - 1) * d + 1 - length - before))
    rank = x.ndim
    spatial = tuple(range(1, rank - 1))
    numbers = lax.ConvDimensionNumbers(
        (rank - 1, 0, *spatial), (rank - 1, 0, *spatial), (rank - 2, rank - 1, *range(rank - 2))
    )
    return lax.conv_general_dilated(
        x,
        dy,
        dilation,
        pads,
        rhs_dilation=stride,
        dimension_numbers=numbers,
        batch_group_count=groups,
    )


# ---------------------------------------------------------------- pooling
def pooled_views(
    x: jax.Array, size: Ints, stride: Ints, low: Ints, high: Ints, fill: float
) -> list[jax.Array]:
    """For each place of the window what all windows of x [N, *S, C] see there."""
    pads = [(0, 0, 0), *((lo, hi, 0) for lo, hi in zip(low, high, strict=True)), (0, 0, 0)]
    padded = lax.pad(x, jnp.asarray(fill, x.dtype), pads)
    axes = tuple(range(1, x.ndim - 1))
    return [padded[p] for p in windows_at(padded.shape, axes, size, stride, (1,) * len(size))]


def max_pool(
    x: jax.Array, *, size: Ints, stride: Ints, low: Ints, high: Ints
) -> tuple[jax.Array, jax.Array]:
    """The largest of each window of x [N, *S, C], and the place of the first such in it, i32."""
    views = pooled_views(x, size, stride, low, high, -math.inf)
    y, index = views[0], jnp.zeros(views[0].shape, jnp.int32)
    for number, view in enumerate(views[1:], 1):
        index = jnp.where(view > y, jnp.int32(number), index)
        y = jnp.maximum(y, view)
    return y, index


def sum_pool(x: jax.Array, *, size: Ints, stride: Ints, low: Ints, high: Ints) -> jax.Array:
    """The sum of each window of x [N, *S, C]."""
    return sum(pooled_views(x, size, stride, low, high, 0.0))


def unpooled(
    parts: list[jax.Array], *, shape: Ints, size: Ints, stride: Ints, low: Ints, high: Ints
) -> jax.Array:
    """Arrays for each place of the window, added up where they came from."""
    inner = (length + lo + hi for length, lo, hi in zip(shape[1:-1], low, high, strict=True))
    padded = jnp.zeros((shape[0], *inner, shape[-1]), parts[0].dtype)
    axes = tuple(range(1, len(shape) - 1))
    places = windows_at(padded.shape, axes, size, stride, (1,) * len(size))
    for place, part in zip(places, parts, strict=True):
        padded = padded.at[place].add(part)
    whole = [slice(lo, lo + length) for lo, length in zip(low, shape[1:-1], strict=True)]
    return padded[:, *whole]


def max_pool_grad(
    dy: jax.Array, index: jax.Array, *, shape: Ints, size: Ints, stride: Ints, low: Ints, high: Ints
) -> jax.Array:
    """`dy` at the winner of each window."""
    parts = [jnp.where(index == number, dy, 0) for number in range(math.prod(size))]
    return unpooled(parts, shape=shape, size=size, stride=stride, low=low, high=high)


def sum_pool_grad(
    dy: jax.Array, *, shape: Ints, size: Ints, stride: Ints, low: Ints, high: Ints
) -> jax.Array:
    """`dy` at every place of each window."""
    parts = [dy] * math.prod(size)
    return unpooled(parts, shape=shape, size=size, stride=stride, low=low, high=high)
