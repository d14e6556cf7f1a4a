"""Functions that emitted files contain where they use them, beside those copied from nnc's ops."""

from collections.abc import Iterator

import numpy as np

from nnc.backend import random_streams

bits32 = random_streams.bits32
stream_tags = random_streams.stream_tags

#: elements of an array that `pieces` takes at a time
PIECE = 8192


def random_bits(
    shape: tuple[int, ...],
    seed: int,
    path: str | int,
    ordinal: int = 0,
    step: int = 0,
    iteration: int = 0,
    offset: int = 0,
) -> np.ndarray:
    """Random words of 32 bits in `shape`, from the stream that the other arguments name."""
    count = int(np.prod(shape))
    return bits32(seed, path, ordinal, step, iteration, offset, count=count).reshape(shape)


def pieces(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Flat views of arrays of one shape, cut into pieces that stay in the processor's cache."""
    if not all(array.flags.c_contiguous for array in arrays):
        yield arrays
        return
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, 8192):
        yield tuple(array[start : start + 8192] for array in flat)
