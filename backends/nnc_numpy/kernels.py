"""Composites as functions of their own, which work in place in what they make.

What is said of a channel is repeated along a longer row, and sums over all axes but the last are
sums of such rows first: NumPy's inner loops would else be as short as there are channels.
"""

from typing import Any, cast

import numpy as np

from nnc.ops.registry import OPS

erf = cast(Any, OPS["erf"].evaluate)

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


# ---------------------------------------------------------------- normalizations
def channel_sums(x: np.ndarray) -> np.ndarray:
    """The sum of x [..., C] over all axes but the last."""
    (rows,) = wide_rows(x)
    total: np.ndarray = np.add.reduce(rows, axis=0).reshape(-1, x.shape[-1])
    return total.sum(axis=0)


def channel_products(x: np.ndarray, y: np.ndarray, channels: int) -> np.ndarray:
    """The sum of x * y over all but the channels, for rows [N, K * channels]."""
    total: np.ndarray = np.einsum("nd,nd->d", x, y).reshape(-1, channels)
    return total.sum(axis=0)


def wide_rows(x: np.ndarray, *channels: np.ndarray) -> tuple[np.ndarray, ...]:
    """x [..., C] as rows of a thousand elements or more, and arrays [C] repeated along one."""
    count, c = 1, x.shape[-1]
    while count * c < 1024 and (x.size // c) % (2 * count) == 0:
        count *= 2
    return x.reshape(-1, count * c), *(np.tile(each, count) for each in channels)


def batch_norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, *, eps: float) -> Arrays:
    """x [..., C] normalized over all axes but the last, its means and biased variances."""
    count = x.dtype.type(x.size // x.shape[-1])
    mean = channel_sums(x) / count
    rows, means = wide_rows(x, mean)
    y = rows - means
    var = channel_products(y, y, x.shape[-1]) / count
    _, scale, shift = wide_rows(x, gain / np.sqrt(var + x.dtype.type(eps)), bias)
    y *= scale
    y += shift
    return y.reshape(x.shape), mean, var


def batch_norm_grad(
    dy: np.ndarray,
    x: np.ndarray,
    gain: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    *,
    eps: float,
) -> Arrays:
    """dx = gain * rstd * (dy - mean(dy) - z * mean(dy * z)) for z = (x - mean) * rstd."""
    count = x.dtype.type(x.size // x.shape[-1])
    rstd = 1 / np.sqrt(var + x.dtype.type(eps))
    rows, means = wide_rows(x, mean)
    dx = rows - means
    dys = dy.reshape(dx.shape)
    dgain, dbias = channel_products(dys, dx, x.shape[-1]) * rstd, channel_sums(dy)
    _, slopes, shifts, scales = wide_rows(x, rstd * dgain / count, dbias / count, gain * rstd)
    dx *= slopes
    dx += shifts
    np.subtract(dys, dx, out=dx)
    dx *= scales
    return dx.reshape(x.shape), dgain, dbias


def layer_norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, *, eps: float) -> Arrays:
    """x [..., D] normalized over the last axis, its means and reciprocal standard deviations."""
    rows = x.reshape(-1, x.shape[-1])
    count = x.dtype.type(x.shape[-1])
    mean = np.add.reduce(rows, axis=1) / count
    y = rows - mean[:, None]
    rstd = 1 / np.sqrt(np.einsum("nd,nd->n", y, y) / count + x.dtype.type(eps))
    y *= rstd[:, None]
    y *= gain
    y += bias
    return y.reshape(x.shape), mean.reshape(x.shape[:-1]), rstd.reshape(x.shape[:-1])


def layer_norm_grad(
    dy: np.ndarray, x: np.ndarray, gain: np.ndarray, mean: np.ndarray, rstd: np.ndarray
) -> Arrays:
    """dx = rstd * (g - mean(g) - z * mean(g * z)) for z = (x - mean) * rstd, g = dy * gain."""
    rows, dys = x.reshape(-1, x.shape[-1]), dy.reshape(-1, x.shape[-1])
    count, scale = x.dtype.type(x.shape[-1]), rstd.reshape(-1, 1)
    z = rows - mean.reshape(-1, 1)
    z *= scale
    dgain, dbias = np.einsum("nd,nd->d", dys, z), channel_sums(dys)
    dx = dys * gain
    along = np.einsum("nd,nd->n", dx, z) / count
    dx -= (np.add.reduce(dx, axis=1) / count)[:, None]
    z *= along[:, None]
    dx -= z
    dx *= scale
    return dx.reshape(x.shape), dgain, dbias


# ---------------------------------------------------------------- activations
def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)); 1 / infinity is right."""
    y: np.ndarray = np.negative(x, dtype=np.float32 if x.dtype == np.float16 else x.dtype)
    with np.errstate(over="ignore"):
        np.exp(y, out=y)
    y += 1
    np.divide(1, y, out=y)
    return y.astype(x.dtype, copy=False)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), in pieces that stay in the cache."""
    flat = x.reshape(-1)
    y = np.empty_like(flat)
    for start in range(0, flat.size, 32768):
        part = slice(start, start + 32768)
        small = np.abs(flat[part])
        np.negative(small, out=small)
        np.exp(small, out=small)
        np.maximum(flat[part], 0, out=y[part])
        y[part] += log_above_one(small)
    return y.reshape(x.shape)


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    """log(sigmoid(x)) = -softplus(-x)."""
    y = softplus(-x)
    return np.negative(y, out=y)


def log_above_one(x: np.ndarray) -> np.ndarray:
    """log(1 + x) for x in [0, 1], in the place of x.

    NumPy's `log1p` of float32 goes element by element.  With u = 1 + x as it rounds, the logarithm
    of u lacks (x - (u - 1)) / u, as in the log1p of fdlibm (Sun Microsystems 1993).
    """
    if x.dtype != np.float32:
        return np.log1p(x, out=x)
    u = x + 1
    x -= u - 1
    x /= u
    x += np.log(u, out=u)
    return x


def gelu(x: np.ndarray) -> np.ndarray:
    """x P(x), P the distribution function of a standard normal."""
    return gelu_with_slope(x)[0]


def gelu_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dy times the derivative of a gelu at x."""
    return dy * gelu_with_slope(x)[1]


def gelu_with_slope(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x P(x) and its derivative P(x) + x p(x), in pieces that stay in the cache."""
    flat = x.reshape(-1)
    y, slope = np.empty_like(flat), np.empty_like(flat)
    for start in range(0, flat.size, 32768):
        part = slice(start, start + 32768)
        v, density, share = flat[part], slope[part], y[part]
        np.multiply(v, v, out=density)
        density *= -0.5
        np.exp(density, out=density)
        normal_share(v, density, out=share)
        density *= 0.3989422804014327  # (2 pi)^-1/2
        density *= v
        density += share
        share *= v
    return y.reshape(x.shape), slope.reshape(x.shape)


def normal_share(x: np.ndarray, bell: np.ndarray, out: np.ndarray) -> None:
    """P(x), where `bell` is exp(-x^2 / 2).

    In float32 by the formula 7.1.26 of Abramowitz & Stegun, which is right to 0.8e-7.
    """
    if x.dtype == np.float64:
        np.multiply(x, 0.7071067811865476, out=out)
        out[:] = (erf(out) + 1) * 0.5
        return
    t = np.abs(x)
    t *= 0.3275911 * 0.7071067811865476
    t += 1
    np.divide(1, t, out=t)
    np.multiply(t, 1.061405429, out=out)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        out += factor
        out *= t
    out *= bell
    out -= 1
    out *= -0.5  # P(0 < Z < |x|)
    np.copysign(out, x, out=out)
    out += 0.5
