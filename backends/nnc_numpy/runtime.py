"""Functions that emitted files contain where they use them, beside those copied from nnc's ops."""

import functools
from collections.abc import Iterator

import numpy as np

from nnc.backend import random_streams

draw_bits = random_streams.draw_bits
stream_tags = random_streams.stream_tags
Runs = list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]

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
    width: int = 32,
) -> np.ndarray:
    """Random words of `width` bits in `shape`, from the stream that the other arguments name."""
    places, count = (ordinal, step, iteration, offset), int(np.prod(shape))
    return draw_bits(seed, path, *places, count=count, width=width).reshape(shape)


def updated(
    state: dict[str, np.ndarray], gradients: dict[str, np.ndarray], *prefixes: str
) -> Iterator[tuple[np.ndarray, ...]]:
    """Flat pieces of the parameters, of what the optimizer keeps under `prefixes`, and gradients.

    Small parameters come together, since a call of NumPy takes longer than computing on them.
    """
    small = tuple(path for path, grad in gradients.items() if grad.size <= 32768)
    if small:
        kinds = (packed(state, tuple([prefix + path for path in small])) for prefix in prefixes)
        flat = np.concatenate([gradients[path].reshape(-1) for path in small])
        yield from pieces(packed(state, small), *kinds, flat)
    for path, grad in gradients.items():
        if grad.size > 32768:
            yield from pieces(state[path], *(state[prefix + path] for prefix in prefixes), grad)


def pieces(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Flat views of arrays of one shape, cut into pieces that stay in the processor's cache."""
    if not all(array.flags.c_contiguous for array in arrays):
        yield arrays
        return
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, 32768):
        yield tuple([array[start : start + 32768] for array in flat])


def packed(state: dict[str, np.ndarray], paths: tuple[str, ...]) -> np.ndarray:
    """The entries `paths` of `state` side by side in one flat array, of which they become views.

    They stay that from step to step, unless the caller puts others in their place.
    """
    flat, views = packs().get(paths, (None, {}))
    if flat is None or any(state[path] is not view for path, view in views.items()):
        flat = np.concatenate([state[path].reshape(-1) for path in paths])
        ends = np.cumsum([state[path].size for path in paths])
        parts = np.split(flat, ends[:-1])
        views = {
            path: part.reshape(state[path].shape) for path, part in zip(paths, parts, strict=True)
        }
        state.update(views)
        packs()[paths] = flat, views
    return flat


@functools.cache
def packs() -> dict[tuple[str, ...], tuple[np.ndarray, dict[str, np.ndarray]]]:
    """What `packed` made last, by paths."""
    return {}


def zeroed(x: np.ndarray, where: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """`x` with 0 where `where` holds, by its bits: `np.where` takes a branch for each element.

    `out` is x itself, where its array may be written.
    """
    bits = x.view(np.uint32 if x.itemsize == 4 else f"u{x.itemsize}")
    return np.multiply(bits, ~where, out=None if out is None else bits).view(x.dtype)


def runs(index: np.ndarray, rows: int) -> Runs:
    """How `row_sums` adds up what belongs to one of `rows` rows: a list of (rows, places, starts).

    `places` are those of `index` that belong to these rows: one each, or several side by side, and
    then `starts` says where those of each row begin.
    """
    index = index.reshape(-1) % rows
    if rows <= 65536:
        index = index.astype(np.uint16)  # sorted by its digits
    order = index.argsort(kind="stable")
    index = index[order]
    starts = np.flatnonzero(np.concatenate(([True], index[1:] != index[:-1])))
    counts = np.diff(starts, append=len(index))
    most = counts.max(initial=0)
    if most > 8:
        return [(index[starts], order, starts)]
    firsts = (starts[counts > number] for number in range(most))
    return [(index[each], order[each + number], None) for number, each in enumerate(firsts)]


def row_sums(
    shape: tuple[int, ...],
    update: np.ndarray,
    runs: Runs,
) -> np.ndarray:
    """Zeros of `shape` to which the rows of `update` were added, as `runs` says."""
    total = np.zeros(shape, update.dtype)
    update = update.reshape(-1, *shape[1:])
    for rows, places, starts in runs:
        part = update.take(places, axis=0)
        total[rows] += part if starts is None else np.add.reduceat(part, starts, axis=0)
    return total


def column_blocks(y: np.ndarray, count: int) -> np.ndarray:
    """y [K, M] as `count` matrices [K, M / count], each in one piece."""
    return np.ascontiguousarray(y.reshape(len(y), count, -1).swapaxes(0, 1))


def times_blocks(x: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """x @ y for y as `column_blocks` gave it: products that OpenBLAS computes without packing."""
    count, _, width = blocks.shape
    product = np.empty((len(x), count, width), x.dtype)
    np.matmul(x, blocks, out=product.swapaxes(0, 1))
    return product.reshape(len(x), -1)
