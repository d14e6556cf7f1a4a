"""The random streams of nnc (`nnc.random`) in XLA, for emitted files that draw.

They need 64-bit integers, which `compiled` switches on.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nnc.backend import random_streams

tag, stream_tags = random_streams.tag, random_streams.stream_tags


def _multiply(a: jax.Array, b: np.uint64) -> tuple[jax.Array, jax.Array]:
    """The high and the low 64 bits of a product."""
    half, low = jnp.uint64(32), jnp.uint64(0xFFFFFFFF)
    a_high, a_low, b_high, b_low = a >> half, a & low, b >> half, b & low
    middle = a_high * b_low + ((a_low * b_low) >> half)
    carry = a_low * b_high + (middle & low)
    return a_high * b_high + (middle >> half) + (carry >> half), a * b


def _philox(counter: list[jax.Array], key: list[jax.Array]) -> list[jax.Array]:
    """Ten rounds of Philox4x64 (Salmon et al., SC 2011) on words u64[N] of a counter and key."""
    factors = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
    bumps = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)

    def round(words: tuple[list[jax.Array], list[jax.Array]]) -> Any:
        (c0, c1, c2, c3), (k0, k1) = words
        high0, low0 = _multiply(c0, factors[0])
        high1, low1 = _multiply(c2, factors[1])
        return [high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0], [k0 + bumps[0], k1 + bumps[1]]

    # A loop, because XLA computes unrolled rounds again for each of the four words it needs; of
    # two rounds, which swap the words back to where they were and so need no copies.
    return lax.fori_loop(0, 5, lambda _, words: round(round(words)), (counter, key))[0]


def random_words(
    shape: tuple[int, ...],
    seed: Any,
    path: Any,
    ordinal: Any = 0,
    step: Any = 0,
    iteration: Any = 0,
    offset: Any = 0,
    width: int = 32,
) -> jax.Array:
    """Random words of `width` bits in `shape`: those of NumPy's Philox, from the stream so named.

    `path` names the stream, or is its tag.  A block has four words of 64 bits, the low part of each
    first; NumPy counts before it draws.
    """
    count, share = math.prod(shape), 256 // width
    is_whole = isinstance(offset, int) and offset % share == 0  # blocks begin where words do
    blocks = -(-count // share) if is_whole else -(-(share - 1 + count) // share)
    offset = jnp.uint64(offset)
    places = [jnp.uint64(word) for word in (0, iteration, ordinal, step)]
    counter = [jnp.broadcast_to(place, blocks) for place in places]
    counter[0] = offset // share + 1 + jnp.arange(blocks, dtype=jnp.uint64)
    place = np.uint64(tag(path)) if isinstance(path, str) else path
    key = [jnp.uint64(seed), jnp.uint64(place)]
    words = jnp.stack(_philox(counter, key), axis=1)
    parts = [(words >> shift).astype(f"uint{width}") for shift in range(0, 64, width)]
    start = 0 if is_whole else offset % share
    drawn = jnp.stack(parts, axis=2).reshape(-1)
    return lax.dynamic_slice(drawn, (start,), (count,)).reshape(shape)
