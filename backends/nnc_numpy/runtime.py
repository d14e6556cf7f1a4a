"""Functions that emitted files contain where they use them, beside those copied from nnc's ops."""

import numpy as np

from nnc.backend import random_streams

bits32 = random_streams.bits32


def random_bits(
    shape: tuple[int, ...],
    seed: int,
    path: str,
    ordinal: int = 0,
    step: int = 0,
    iteration: int = 0,
    offset: int = 0,
) -> np.ndarray:
    """Random words of 32 bits in `shape`, from the stream that the other arguments name."""
    count = int(np.prod(shape))
    return bits32(seed, path, ordinal, step, iteration, offset, count=count).reshape(shape)
