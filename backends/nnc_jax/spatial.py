"""Windows, convolution gradients and pooling in JAX, for emitted files that use them.

Layouts are those of nnc's ops: x [N, *S, C], w [*K, C // groups, O].  What slides is one
strided slice for each place of the window, and its adjoint one padding, which XLA fuses; scatters
and gathers, which it does not, appear nowhere.
"""

import math
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax

from nnc_jax.runtime import on_cpu

Ints = tuple[int, ...]


# ---------------------------------------------------------------- windows
def _seen(
    x: jax.Array, axes: Ints, tap: Ints, size: Ints, stride: Ints, dilation: Ints
) -> jax.Array:
    """What all windows over `axes` of x see at their place `tap`."""
    places = [slice(None)] * x.ndim
    for axis, at, k, by, apart in zip(axes, tap, size, stride, dilation, strict=True):
        last = x.shape[axis] - (k - 1) * apart
        places[axis] = slice(at * apart, at * apart + last, by)
    return x[tuple(places)]


def _spread(
    part: jax.Array, shape: Ints, axes: Ints, tap: Ints, stride: Ints, dilation: Ints, low: Ints
) -> jax.Array:
    """The adjoint of `_seen` for an array of `shape`, before which `low` were padded."""
    pads = [(0, 0, 0)] * len(shape)
    for axis, at, by, apart, before in zip(axes, tap, stride, dilation, low, strict=True):
        first = at * apart - before
        reach = (part.shape[axis] - 1) * by + 1
        pads[axis] = (first, shape[axis] - first - reach, by - 1)
    return lax.pad(part, jnp.zeros((), part.dtype), pads)


def _window(x: jax.Array, *, axes: Ints, size: Ints, stride: Ints, dilation: Ints) -> jax.Array:
    """All windows of x: their number stays at each axis, their places are appended as axes."""
    taps = product(*map(range, size))
    seen = jnp.stack([_seen(x, axes, tap, size, stride, dilation) for tap in taps], axis=-1)
    return seen.reshape(*seen.shape[:-1], *size)


def _fold(
    w: jax.Array, *, shape: Ints, axes: Ints, size: Ints, stride: Ints, dilation: Ints
) -> jax.Array:
    """Windows added up at the places they came from: the adjoint of `_window`."""
    total, low = jnp.zeros(shape, w.dtype), (0,) * len(axes)
    for tap in product(*map(range, size)):
        total += _spread(w[(..., *tap)], shape, axes, tap, stride, dilation, low)
    return total


# ---------------------------------------------------------------- convolution
def _conv_input_grad(
    dy: jax.Array,
    w: jax.Array,
    *,
    shape: Ints,
    stride: Ints,
    dilation: Ints,
    low: Ints,
    high: Ints,
    groups: int,
) -> jax.Array:
    """The gradient of a convolution in its input: that of `dy`, spread, with the turned filter.

    On a CPU XLA's convolution is slow where strides spread `dy`; there it is one product, whose
    windows are added up.  On two cores, 64 images of 32 x 32, 16 to 32 channels, 3 x 3 with a
    stride of 2: 3.3 ms instead of 8.0.  Short floats would be rounded once for each window.
    """
    if on_cpu() and groups == 1 and max(stride) > 1 and dy.dtype.itemsize > 2:
        return _folded_product(dy, w, shape, stride, dilation, low)
    size, (per_group, features) = w.shape[:-2], w.shape[-2:]
    pads = []
    for axis, before in enumerate(low):
        reach = (size[axis] - 1) * dilation[axis]
        after = shape[axis + 1] + before - (dy.shape[axis + 1] - 1) * stride[axis] - 1
        pads.append((reach - before, after))
    turned = jnp.flip(w, range(len(size))).reshape(*size, per_group, groups, features // groups)
    turned = turned.swapaxes(-3, -1).reshape(*size, features // groups, groups * per_group)
    spatial = tuple(range(1, dy.ndim - 1))
    samples = (0, dy.ndim - 1, *spatial)
    filters = (dy.ndim - 1, dy.ndim - 2, *range(len(size)))
    return lax.conv_general_dilated(
        dy,
        turned,
        (1,) * len(size),
        pads,
        lhs_dilation=stride,
        rhs_dilation=dilation,
        dimension_numbers=lax.ConvDimensionNumbers(samples, filters, samples),
        feature_group_count=groups,
    )


def _folded_product(
    dy: jax.Array, w: jax.Array, shape: Ints, stride: Ints, dilation: Ints, low: Ints
) -> jax.Array:
    """What `dy` gives through `w` to each place of each window over `shape`, added up."""
    size, channels, features = w.shape[:-2], *w.shape[-2:]
    windows = dy.reshape(-1, features) @ w.reshape(-1, features).T
    windows = windows.reshape(*dy.shape[:-1], *size, channels)
    total, axes = jnp.zeros(shape, dy.dtype), tuple(range(1, dy.ndim - 1))
    for tap in product(*map(range, size)):
        part = windows[(..., *tap, slice(None))]
        total += _spread(part, shape, axes, tap, stride, dilation, low)
    return total


def _conv_filter_grad(
    x: jax.Array,
    dy: jax.Array,
    *,
    shape: Ints,
    stride: Ints,
    dilation: Ints,
    low: Ints,
    high: Ints,
    groups: int,
) -> jax.Array:
    """The gradient of a convolution in its filter: that of x with `dy`, samples as channels.

    The axes are turned by hand, since XLA on a CPU has fast code for this one order of them; groups
    are one product of matrices for each place of the filter.
    """
    size, axes = shape[:-2], tuple(range(1, x.ndim - 1))
    if groups > 1:
        pads = [(0, 0, 0), *((lo, hi, 0) for lo, hi in zip(low, high, strict=True)), (0, 0, 0)]
        padded = lax.pad(x, jnp.zeros((), x.dtype), pads)
        features = dy.reshape(-1, groups, dy.shape[-1] // groups)
        parts = []
        for tap in product(*map(range, size)):
            seen = _seen(padded, axes, tap, size, stride, dilation).reshape(-1, groups, shape[-2])
            parts.append(jnp.einsum("ngc,ngo->cgo", seen, features))
        return jnp.stack(parts).reshape(shape)
    edges = []
    for axis, before in enumerate(low):
        reach = (size[axis] - 1) * dilation[axis] + (dy.shape[axis + 1] - 1) * stride[axis] + 1
        edges.append((before, reach - x.shape[axis + 1] - before))
    samples, filters = (0, x.ndim - 1, *axes), (x.ndim - 1, x.ndim - 2, *range(len(size)))
    dw = lax.conv_general_dilated(
        jnp.swapaxes(x, 0, -1),
        jnp.moveaxis(dy, 0, -2),
        dilation,
        edges,
        rhs_dilation=stride,
        dimension_numbers=lax.ConvDimensionNumbers(samples, filters, samples),
    )
    return jnp.moveaxis(dw, 0, -2)


# ---------------------------------------------------------------- pooling
def _max_pool(
    x: jax.Array, *, size: Ints, stride: Ints, low: Ints, high: Ints
) -> tuple[jax.Array, jax.Array]:
    """The largest of each window of x [N, *S, C], and the place of the first such in it, i32."""
    y, *others = _pooled(x, size, stride, low, high, -math.inf)
    index = jnp.zeros(y.shape, jnp.int32)
    for number, seen in enumerate(others, 1):
        index = jnp.where(seen > y, jnp.int32(number), index)
        y = jnp.maximum(y, seen)
    return y, index


def _sum_pool(x: jax.Array, *, size: Ints, stride: Ints, low: Ints, high: Ints) -> jax.Array:
    """The sum of each window of x [N, *S, C]."""
    y, *others = _pooled(x, size, stride, low, high, 0.0)
    for seen in others:
        y = y + seen
    return y


def _pooled(
    x: jax.Array, size: Ints, stride: Ints, low: Ints, high: Ints, fill: float
) -> list[jax.Array]:
    """For each place of the window what all windows of x [N, *S, C] see there."""
    pads = [(0, 0, 0), *((lo, hi, 0) for lo, hi in zip(low, high, strict=True)), (0, 0, 0)]
    padded = lax.pad(x, jnp.asarray(fill, x.dtype), pads)
    axes, dilation = tuple(range(1, x.ndim - 1)), (1,) * len(size)
    taps = product(*map(range, size))
    return [_seen(padded, axes, tap, size, stride, dilation) for tap in taps]


def _max_pool_grad(
    dy: jax.Array, index: jax.Array, *, shape: Ints, size: Ints, stride: Ints, low: Ints, high: Ints
) -> jax.Array:
    """`dy` at the winner of each window."""
    dx, axes, dilation = jnp.zeros(shape, dy.dtype), tuple(range(1, dy.ndim - 1)), (1,) * len(size)
    for number, tap in enumerate(product(*map(range, size))):
        won = jnp.where(index == number, dy, jnp.zeros((), dy.dtype))
        dx += _spread(won, shape, axes, tap, stride, dilation, low)
    return dx


def _sum_pool_grad(
    dy: jax.Array, *, shape: Ints, size: Ints, stride: Ints, low: Ints, high: Ints
) -> jax.Array:
    """`dy` at every place of each window."""
    dx, axes, dilation = jnp.zeros(shape, dy.dtype), tuple(range(1, dy.ndim - 1)), (1,) * len(size)
    for tap in product(*map(range, size)):
        dx += _spread(dy, shape, axes, tap, stride, dilation, low)
    return dx
