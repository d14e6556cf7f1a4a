"""Convolution with 3 x 3 filters in tiles, F(2 x 2, 3 x 3) (Lavin & Gray 2016, section 4.1).

Four outputs that lie together take 16 products in the place of 36: of sums of a tile of 4 x 4
inputs with sums of the filter.  In NumPy these are 16 matrix products over all tiles and channels,
which pays where there are many channels.  It rounds no more than the products that it saves.

Copied into emitted files as it stands, so it depends on NumPy and Python alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def filter_sums(w: np.ndarray) -> np.ndarray:
    """w [3, 3, C, O] as the factors of the sums of tiles, [16, C, O]."""
    return _along_both(_filter_matrix(w.dtype), w)


def filter_of_sums(products: np.ndarray) -> np.ndarray:
    """The adjoint of `filter_sums`: [16, C, O] as [3, 3, C, O]."""
    each = products.reshape((4, 4, *products.shape[1:]))
    return _along_both(_filter_matrix(products.dtype).T, each).reshape((3, 3, *each.shape[2:]))


def _filter_matrix(dtype: np.dtype[np.generic]) -> np.ndarray:
    return np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], dtype)


def _along_both(matrix: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The matrix times each of the first two axes of w, which become one."""
    rows = np.tensordot(matrix, w, ((1,), (0,)))
    both = np.tensordot(matrix, rows, ((1,), (1,))).swapaxes(0, 1)
    return both.reshape((-1, *w.shape[2:]))


def input_sums(x: np.ndarray) -> np.ndarray:
    """Sums of the tiles of padded x [N, H + 2, W + 2, C]: [16, N * H / 2 * W / 2, C]."""
    n, height, width, c = x.shape
    split = x.reshape(n, height, width // 2, 2, c).transpose(3, 0, 1, 2, 4)
    even, odd = np.ascontiguousarray(split)  # columns
    across = np.empty((4, n, height, width // 2 - 1, c), x.dtype)
    _tile_sums((even[:, :, :-1], odd[:, :, :-1], even[:, :, 1:], odd[:, :, 1:]), across)
    both = np.empty((4, 4, n, height // 2 - 1, *across.shape[3:]), x.dtype)
    even, odd = across[:, :, 0::2], across[:, :, 1::2]  # rows
    _tile_sums((even[:, :, :-1], odd[:, :, :-1], even[:, :, 1:], odd[:, :, 1:]), both)
    return both.reshape(16, -1, c)


def _tile_sums(tile: tuple[np.ndarray, ...], out: np.ndarray) -> None:
    first, second, third, fourth = tile
    np.subtract(first, third, out=out[0])
    np.add(second, third, out=out[1])
    np.subtract(third, second, out=out[2])
    np.subtract(second, fourth, out=out[3])


def times_sums(sums: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """[16, N, C] @ [16, C, O] in products that OpenBLAS computes in one thread."""
    products = np.empty((*sums.shape[:2], factors.shape[-1]), sums.dtype)
    for rows in short_slices(sums.shape[1], factors.shape[1] * factors.shape[2]):
        np.matmul(sums[:, rows], factors, out=products[:, rows])
    return products


def correlated_sums(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[16, N, C]^T @ [16, N, O] in such products."""
    total = np.zeros((len(x), x.shape[-1], y.shape[-1]), x.dtype)
    for rows in short_slices(x.shape[1], x.shape[-1] * y.shape[-1]):
        total += x[:, rows].swapaxes(-1, -2) @ y[:, rows]
    return total


def short_slices(rows: int, terms: int) -> Iterator[slice]:
    """All rows, as many at a time as have 2^18 terms in a product that has `terms` for each."""
    count = 1 << (max(1, 2**18 // terms).bit_length() - 1)
    return (slice(start, start + count) for start in range(0, rows, count))


def output_of_sums(products: np.ndarray, y: np.ndarray) -> None:
    """Writes what the products [16, N * H / 2 * W / 2, O] of sums add up to into y [N, H, W, O]."""
    n, height, width, features = y.shape
    each = products.reshape(4, 4, n, height // 2, width // 2, features)
    upper = each[0] + each[1]
    upper += each[2]
    lower = each[1] - each[2]
    lower -= each[3]
    for row, (first, second, third, fourth) in enumerate((upper, lower)):
        first += second
        np.add(first, third, out=y[:, row::2, 0::2])
        second -= third
        np.subtract(second, fourth, out=y[:, row::2, 1::2])


def output_sums(dy: np.ndarray) -> np.ndarray:
    """The adjoint of `output_of_sums`: dy [N, H, W, O] as [16, N * H / 2 * W / 2, O]."""
    n, height, width, features = dy.shape
    across = np.empty((4, n, height, width // 2, features), dy.dtype)
    _pair_sums(dy[:, :, 0::2], dy[:, :, 1::2], across)
    both = np.empty((4, 4, n, height // 2, width // 2, features), dy.dtype)
    _pair_sums(across[:, :, 0::2], across[:, :, 1::2], both)
    return both.reshape(16, -1, features)


def _pair_sums(first: np.ndarray, second: np.ndarray, out: np.ndarray) -> None:
    out[0] = first
    np.add(first, second, out=out[1])
    np.subtract(first, second, out=out[2])
    np.negative(second, out=out[3])
