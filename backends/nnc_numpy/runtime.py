"""Functions that emitted files contain where they use them, beside those copied from nnc's ops."""

from collections.abc import Iterator

import numpy as np

from nnc.backend import random_streams

bits32 = random_streams.bits32
stream_tags = random_streams.stream_tags

#: elements of an array that `pieces` takes at a time
PIECE = 1 << 15


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
    for start in range(0, flat[0].size, 32768):
        yield tuple(array[start : start + 32768] for array in flat)


def zeroed(x: np.ndarray, where: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """`x` with 0 where `where` holds, by its bits: `np.where` takes a branch for each element."""
    word = f"u{x.itemsize}"
    bits = np.multiply(x.view(word), ~where, out=None if out is None else out.view(word))
    return bits.view(x.dtype)


def runs(index: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How to add up what belongs to one of `rows` rows: (order, rows found, where each begins).

    In `order` the places of `index` lie sorted, those of one row side by side.
    """
    index = index.reshape(-1) % rows
    if rows <= 65536:
        index = index.astype(np.uint16)  # sorted by its digits
    order = np.argsort(index, kind="stable")
    index = index[order]
    starts = np.flatnonzero(np.concatenate(([True], index[1:] != index[:-1])))
    return order, index[starts], starts


def row_sums(
    shape: tuple[int, ...],
    update: np.ndarray,
    order: np.ndarray,
    found: np.ndarray,
    starts: np.ndarray,
) -> np.ndarray:
    """Zeros of `shape` to which the rows of `update` were added, as `runs` says."""
    total = np.zeros(shape, update.dtype)
    rows = update.reshape(-1, *shape[1:])
    total[found] = np.add.reduceat(rows[order], starts, axis=0)
    return total
