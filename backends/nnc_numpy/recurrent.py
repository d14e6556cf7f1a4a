"""An LSTM and its gradient (`nnc/ops/recurrent.py` says what they compute).

A step works on [features, samples]: each gate is one piece of memory then, OpenBLAS multiplies
fastest that way, and what the step reads, h, x and 1, stands below each other, so that one product
gives the gates' sums.  Samples do not depend on each other, so each core goes through a part of
them, in products so small that OpenBLAS computes them on that core alone.

sigmoid(z) = 1 / (1 + exp(-z)): the sign is that of the weights.
"""

import numpy as np

from nnc.ops.blocks import cores, in_threads

Arrays = tuple[np.ndarray, ...]


def lstm(x: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Arrays]:
    """All h [N, T, H] of an LSTM from zero over x [N, T, D], and what `lstm_grad` uses up."""
    (count, length, width), hidden = x.shape, len(u)
    parts = sample_parts(count)
    size = count // parts
    signs = np.repeat(np.array([-1, -1, 1, -1], x.dtype), hidden)
    weights = np.empty((4 * hidden, hidden + width + 1), x.dtype)
    np.multiply(np.concatenate((u, w, b[None])).T, signs[:, None], out=weights)
    blocks = row_blocks(weights, size, parts)
    y = np.empty((count, length, hidden), x.dtype)
    gates = np.empty((parts, length, 4, hidden, size), x.dtype)
    cells = np.empty((parts, length, hidden, size), x.dtype)

    def run(part: int) -> None:
        own = slice(part * size, (part + 1) * size)
        lstm_steps(x[own], blocks, y[own], gates[part], cells[part])

    in_threads(run, range(parts), least=1)
    return y, (x, w, u, y, gates, cells)


def sample_parts(count: int) -> int:
    """Into how many equal parts to divide `count` samples: those of a part must pay for a thread."""
    several = (n for n in range(min(cores(), count // 8), 1, -1) if count % n == 0)
    return next(several, 1)


def row_blocks(x: np.ndarray, columns: int, parts: int) -> np.ndarray:
    """x [M, K] as [B, M / B, K] for products with `columns` columns that one core computes.

    OpenBLAS uses a second one from 2^19 terms on.
    """
    rows, depth = x.shape
    count = 1
    while parts > 1 and rows * depth * columns >= count << 19 and rows % (2 * count) == 0:
        count *= 2
    return x.reshape(count, -1, depth)


def lstm_steps(
    x: np.ndarray, weights: np.ndarray, y: np.ndarray, gates: np.ndarray, cells: np.ndarray
) -> None:
    """Fill y [N, T, H], the gates i, f, g, o [T, 4, H, N], and the cells [T, H, N]."""
    count, length, hidden = y.shape
    column = np.zeros((weights.shape[-1], count), x.dtype)
    h, inputs, column[-1] = column[:hidden], column[hidden:-1], 1
    c, scratch = np.zeros_like(h), np.empty_like(h)
    for t in range(length):
        inputs[...] = x[:, t].T
        np.matmul(weights, column, out=gates[t].reshape(len(weights), -1, count))
        i, f, g, o = gates[t]
        with np.errstate(over="ignore"):  # 1 / infinity is right
            for part in (gates[t, :2], o):
                np.exp(part, out=part)
                part += 1
                np.divide(1, part, out=part)
        np.tanh(g, out=g)
        np.multiply(f, c, out=scratch)
        c = np.multiply(i, g, out=cells[t])
        c += scratch
        np.multiply(o, np.tanh(c, out=scratch), out=h)
        y[:, t] = h.T


def lstm_grad(dy: np.ndarray, kept: Arrays) -> Arrays:
    """The cotangents of x, w, u and b of an `lstm`, in part in the arrays of `kept`."""
    x, w, u, y, gates, cells = kept
    parts, length, _, hidden, size = gates.shape
    blocks = row_blocks(u, size, parts)

    def run(part: int) -> None:
        own = slice(part * size, (part + 1) * size)
        lstm_steps_back(dy[own], blocks, y[own], gates[part], cells[part])

    in_threads(run, range(parts), least=1)
    # What was the gates and the cells is now, step by step, [N, 4 H] and [N, H].
    d, before = gates.reshape(-1, 4 * hidden), cells.reshape(-1, hidden)
    inputs = x.reshape(parts, size, length, -1).swapaxes(1, 2).reshape(len(d), -1)
    dx = (d @ w.T).reshape(parts, length, size, -1).swapaxes(1, 2).reshape(x.shape)
    return dx, inputs.T @ d, before.T @ d, np.add.reduce(d, axis=0)


def lstm_steps_back(
    dy: np.ndarray, u: np.ndarray, y: np.ndarray, gates: np.ndarray, cells: np.ndarray
) -> None:
    """Put the cotangents of the gates' sums in the place of the gates, and of cells the h before.

    tanh(c) is h / o, or whatever where o is 0: it is multiplied with o then.
    """
    count, length, hidden = y.shape
    dh, dc, zero = np.zeros((3, hidden, count), y.dtype)
    tanh, scratch = np.empty_like(dh), np.empty_like(dh)
    d, slope = np.empty_like(gates[0]), np.empty_like(gates[0])
    for t in reversed(range(length)):
        i, f, g, o = gates[t]
        dh += dy[:, t].T
        np.maximum(o, np.finfo(y.dtype).tiny, out=scratch)
        np.divide(y[:, t].T, scratch, out=tanh)
        np.multiply(dh, tanh, out=d[3])
        # (1 - tanh^2) o dh goes on into the cell
        tanh *= tanh
        np.subtract(1, tanh, out=tanh)
        tanh *= o
        tanh *= dh
        dc += tanh
        np.multiply(dc, g, out=d[0])
        np.multiply(dc, cells[t - 1] if t else zero, out=d[1])
        np.multiply(dc, i, out=d[2])
        dc *= f
        # sigmoid' = y (1 - y), tanh' = 1 - y^2 = (1 + y) (1 - y)
        np.subtract(1, gates[t], out=slope)
        g += 1
        d *= gates[t]
        d *= slope
        np.matmul(u, d.reshape(4 * hidden, count), out=dh.reshape(len(u), -1, count))
        gates[t].reshape(count, -1)[...] = d.reshape(-1, count).T
        cells[t].reshape(count, -1)[...] = y[:, t - 1] if t else 0
