"""The random streams: every draw of every backend is a slice of one of these.

A draw is named, not ordered: (seed, path, ordinal, step, iteration, offset) picks words of the raw
stream of Philox4x64-10 as NumPy counts it (Salmon et al., "Parallel random numbers: as easy as 1,
2, 3", SC 2011), so it does not depend on what else was drawn, in what order or in what chunks.

The functions are copied as they stand into emitted programs, so they may use `functools`,
`hashlib` and NumPy (as `np`) and each other, and nothing else.
"""

import functools
import hashlib

import numpy as np


@functools.cache
def tag(path: str) -> int:
    """The second key word of the stream of `path`: 8 bytes of its SHA-256, little-endian."""
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "little")


def stream_tags(path: str, sizes: tuple[int, ...]) -> np.ndarray:
    """u64[sizes]: the tags of the streams of `path` whose stars are numbers below `sizes`."""
    named = [path]
    for size in sizes:
        named = [one.replace("*", str(number), 1) for one in named for number in range(size)]
    return np.array([tag(one) for one in named], np.uint64).reshape(sizes)


def bits64(
    seed: int,
    path: str | int,
    ordinal: int = 0,
    step: int = 0,
    iteration: int = 0,
    offset: int = 0,
    *,
    count: int,
) -> np.ndarray:
    """`count` words of 64 bits of a stream, after skipping `offset` words of 64 bits.

    `path` names the stream, or is its tag.  ValueError where a number does not fit 64 bits without
    sign.
    """
    numbers = {"seed": seed, "ordinal": ordinal, "step": step, "iteration": iteration}
    for name, value in {**numbers, "offset": offset, "count": count}.items():
        if not 0 <= value < 2**64:
            raise ValueError(f"{name} must be at least 0 and below 2^64, not {value}")
    place = tag(path) if isinstance(path, str) else path
    stream = np.random.Philox(
        key=np.array([seed, place], np.uint64),
        counter=np.array([offset // 4, iteration, ordinal, step], np.uint64),
    )
    skip = offset % 4
    return stream.random_raw(skip + count)[skip:]


def draw_bits(
    seed: int,
    path: str | int,
    ordinal: int = 0,
    step: int = 0,
    iteration: int = 0,
    offset: int = 0,
    *,
    count: int,
    width: int = 32,
) -> np.ndarray:
    """`count` words of `width` bits, 16 or 32, after skipping `offset` of them.

    They are parts of words of 64 bits, of which the low one comes first.
    """
    parts = 64 // width
    skip = offset % parts
    whole = (skip + count + parts - 1) // parts if count >= 0 else count
    words = bits64(seed, path, ordinal, step, iteration, offset // parts, count=whole)
    return words.astype("<u8", copy=False).view(f"<u{width // 8}")[skip : skip + count]


def permutation(seed: int, path: str, epoch: int, n: int) -> np.ndarray:
    """An order of `range(n)`, int64: the stable argsort of `n` words of 64 bits at step `epoch`."""
    return np.argsort(bits64(seed, path, step=epoch, count=n), kind="stable")
