"""An LSTM and its gradient (`nnc/ops/recurrent.py` says what they compute).

A step works on [features, samples]: each gate is one piece of memory then, and OpenBLAS multiplies
fastest that way.  What a step reads, h, x and 1, stands below each other in one array, so that one
product gives the gates' sums.  sigmoid(z) = 1 / (1 + exp(-z)), and that sign is put into weights.
"""

import numpy as np

Arrays = tuple[np.ndarray, ...]


def lstm(x: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Arrays]:
    """All h [N, T, H] of an LSTM from zero over x [N, T, D], and what `lstm_grad` uses up."""
    (count, length, width), hidden = x.shape, len(u)
    weights = np.empty((4 * hidden, hidden + width + 1), x.dtype)
    weights[:, :hidden], weights[:, hidden:-1], weights[:, -1] = u.T, w.T, b
    weights *= np.repeat(np.array([-1, -1, 1, -1], x.dtype), hidden)[:, None]
    column = np.zeros((hidden + width + 1, count), x.dtype)
    h, inputs, column[-1] = column[:hidden], column[hidden:-1], 1
    y = np.empty((count, length, hidden), x.dtype)
    gates = np.empty((length, 4, hidden, count), x.dtype)
    cells, tanhs = np.empty((2, length, hidden, count), x.dtype)
    c, scratch = np.zeros((2, hidden, count), x.dtype)
    for t in range(length):
        inputs[...] = x[:, t].T
        np.matmul(weights, column, out=gates[t].reshape(4 * hidden, count))
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
        np.multiply(o, np.tanh(c, out=tanhs[t]), out=h)
        y[:, t] = h.T
    return y, (x, w, u, y, gates, cells, tanhs)


def lstm_grad(dy: np.ndarray, kept: Arrays) -> Arrays:
    """The cotangents of x, w, u and b of an `lstm`, in the arrays of `kept`.

    For y = sigmoid(z) dz is y (1 - y) dy, and (1 - y^2) dy for y = tanh(z).
    """
    x, w, u, y, gates, cells, tanhs = kept
    length, _, hidden, count = gates.shape
    dh, dc, zero, scratch = np.zeros((4, hidden, count), y.dtype)
    d, rows = np.empty_like(gates[0]), np.empty((count, hidden), y.dtype)
    for t in reversed(range(length)):
        (i, f, g, o), tanh = gates[t], tanhs[t]
        rows[...] = dy[:, t]
        dh += rows.T
        dh *= o
        np.multiply(dh, tanh, out=d[3])
        dc += dh
        tanh *= d[3]
        dc -= tanh
        np.multiply(dc, i, out=d[2])
        np.multiply(d[2], g, out=d[0])
        d[2] -= np.multiply(d[0], g, out=scratch)
        dc *= f
        np.multiply(dc, cells[t - 1] if t else zero, out=d[1])
        for part, own in ((gates[t, :2], d[:2]), (o, d[3])):
            np.subtract(1, part, out=part)
            own *= part
        sums = d.reshape(4 * hidden, count)
        np.matmul(u, sums, out=dh)
        # The gates and the cell of this step are read: their places take rows for the products.
        gates[t].reshape(count, -1)[...] = sums.T
        cells[t].reshape(count, -1)[...] = y[:, t - 1] if t else 0
    sums, before = gates.reshape(-1, 4 * hidden), cells.reshape(-1, hidden)
    dx = (sums @ w.T).reshape(length, count, -1).swapaxes(0, 1)
    inputs = x.swapaxes(0, 1).reshape(len(sums), -1)
    return dx, inputs.T @ sums, before.T @ sums, np.add.reduce(sums, axis=0)
