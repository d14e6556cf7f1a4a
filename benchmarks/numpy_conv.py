"""Convolution and batch norm by hand: patches of a few samples at a time, then a matrix product."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

Array = np.ndarray
Arrays = dict[str, Array]
PATCHES = 1 << 20  # elements of patches at a time: they stay in the cache between copy and product


class ConvNorm:
    """A convolution without bias, padded by k // 2, and batch norm; images are [N, H, W, C].

    `forward` gives an array that the caller may change until the next `forward`; `backward` takes
    the gradient of that and gives that of the input.
    """

    def __init__(
        self, name: str, w: Arrays, g: Arrays, buffers: Arrays, stride: int, needs_dx: bool
    ):
        norm = f"{name}.batch_norm_0"
        self.w, self.dw = w[f"{name}.conv_0.w"], g[f"{name}.conv_0.w"]
        self.gain, self.bias = w[f"{norm}.gain"], w[f"{norm}.bias"]
        self.d_gain, self.d_bias = g[f"{norm}.gain"], g[f"{norm}.bias"]
        self.mean, self.var = buffers[f"{norm}.mean"], buffers[f"{norm}.var"]
        self.k, self.stride, self.needs_dx = self.w.shape[0], stride, needs_dx
        self.pad = self.k // 2
        self.rooms: Arrays = {}

    def room(self, name: str, *shape: int) -> Array:
        if name not in self.rooms:
            self.rooms[name] = np.zeros(shape, np.float32)
        return self.rooms[name]

    # ------------------------------------------------------------ forward
    def forward(self, x: Array) -> Array:
        n, h, w, _ = x.shape
        out = self.w.shape[3]
        self.padded = self.inside("padded", x)
        y = self.room("y", n, h // self.stride, w // self.stride, out)
        self.convolve(self.padded, self.stride, self.w.reshape(-1, out), y)
        return self.normalize(y)

    def inside(self, name: str, x: Array) -> Array:
        """x with its border of zeros, which stay from call to call."""
        n, h, w, c = x.shape
        if not self.pad:
            return x
        padded = self.room(name, n, h + 2 * self.pad, w + 2 * self.pad, c)
        padded[:, self.pad : -self.pad, self.pad : -self.pad] = x
        return padded

    def patches(self, padded: Array, stride: int, like: Array) -> Array:
        """[N H' W', k k C]: the runs of k pixels of a row lie together already."""
        n, h, w = like.shape[:3]
        c = padded.shape[3]
        a, b, d, e = padded.strides
        runs = as_strided(padded, (n, h, w, self.k, self.k * c), (a, b * stride, d * stride, b, e))
        cols = self.room(f"patches {c} {n}", *runs.shape)
        np.copyto(cols, runs)
        return cols.reshape(n * h * w, -1)

    def convolve(self, padded: Array, stride: int, w: Array, y: Array) -> None:
        for part in self.parts(y, len(w)):
            cols = self.patches(padded[part], stride, y[part])
            np.matmul(cols, w, out=y[part].reshape(len(cols), -1))

    def parts(self, y: Array, columns: int) -> list[slice]:
        many = max(1, PATCHES // (y.shape[1] * y.shape[2] * columns))
        return [slice(i, min(i + many, len(y))) for i in range(0, len(y), many)]

    def normalize(self, y: Array) -> Array:
        """Batch norm; keeps the normalized values in `z`."""
        z, count = y, y.size // y.shape[3]
        mean = sums(z) / np.float32(count)
        self.along(np.subtract, z, mean, z)
        self.out = self.room("out", *y.shape)
        np.multiply(z, z, out=self.out)
        var = sums(self.out) / np.float32(count)
        self.scale = 1 / np.sqrt(var + np.float32(1e-5))
        self.along(np.multiply, z, self.scale, z)
        for buffer, now in ((self.mean, mean), (self.var, var)):
            buffer *= 0.9
            buffer += np.float32(0.1) * now
        self.z = z
        self.along(np.multiply, z, self.gain, self.out)
        self.along(np.add, self.out, self.bias, self.out)
        return self.out

    def along(self, function: np.ufunc, x: Array, channels: Array, out: Array) -> None:
        """`function(x, channels, out=out)`, on whole rows of an image: NumPy's loops are longer."""
        n, h, w, c = x.shape
        function(x.reshape(n * h, w * c), np.tile(channels, w), out=out.reshape(n * h, w * c))

    # ------------------------------------------------------------ backward
    def backward(self, dy: Array) -> Array:
        d = self.norm_back(dy)
        self.filter_back(d)
        return self.input_back(d) if self.needs_dx else d

    def norm_back(self, dy: Array) -> Array:
        """(dy - mean(dy) - z mean(dy z)) gain / std."""
        z, count = self.z, np.float32(dy.size // dy.shape[3])
        d = np.multiply(dy, z, out=self.room("d", *dy.shape))
        self.d_gain[...] = sums(d)
        self.d_bias[...] = sums(dy)
        self.along(np.multiply, z, self.d_gain / count, z)
        np.subtract(dy, z, out=d)
        self.along(np.subtract, d, self.d_bias / count, d)
        self.along(np.multiply, d, self.gain * self.scale, d)
        return d

    def filter_back(self, d: Array) -> None:
        dw = self.dw.reshape(-1, d.shape[3])
        dw.fill(0)
        for part in self.parts(d, len(dw)):
            cols = self.patches(self.padded[part], self.stride, d[part])
            dw += cols.T @ d[part].reshape(len(cols), -1)

    def input_back(self, d: Array) -> Array:
        n, h, w, c = self.padded.shape
        dx = self.room("dx", n, h - 2 * self.pad, w - 2 * self.pad, c)
        if self.stride == 1:
            flipped = self.w[::-1, ::-1].swapaxes(2, 3).reshape(-1, c)
            self.convolve(self.inside("d padded", d), 1, flipped, dx)
            return dx
        # Each tap of the filter adds to every second pixel of a padded gradient.
        wide = self.room("wide", n, h, w, c)
        wide.fill(0)
        flat, s = d.reshape(-1, d.shape[3]), self.stride
        for i in range(self.k):
            for j in range(self.k):
                tap = (flat @ self.w[i, j].T).reshape(*d.shape[:3], c)
                wide[:, i : i + s * d.shape[1] : s, j : j + s * d.shape[2] : s] += tap
        dx[...] = wide[:, self.pad : h - self.pad, self.pad : w - self.pad]
        return dx


def sums(x: Array) -> Array:
    """The sum over all axes but the last, as a matrix product: rows of a few channels are short."""
    flat = x.reshape(-1, x.shape[3])
    total: Array = np.ones(len(flat), np.float32) @ flat
    return total
