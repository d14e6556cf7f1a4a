"""Normalizations as composites: `layer_norm` over the last axis, `batch_norm` over all others.

Both return the moments that their gradients use, so that nothing is reduced twice.  Variances are
biased and two-pass: mean((x - mean(x))^2).  With z = (x - mean) * rstd, rstd = (var + eps)^-1/2,
over n elements, the cotangent of x is

    dx = rstd * (g - mean(g) - z * mean(g * z)),  g = dy * gain

(Ioffe & Szegedy 2015, section 3; Ba, Kiros & Hinton 2016, section 3).  The decomposed gradients
say x - mean as the decomposed results do: as equal expressions, they are computed once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnc.ir.dims import product
from nnc.ir.types import TensorType, same_shape
from nnc.ops.parts import vjp_of_parts
from nnc.ops.registry import OpError, family

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

define = family("nn")

Axes = tuple[int, ...]
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def _last(rank: int) -> Axes:
    """The axis over which a `layer_norm` takes moments."""
    return (rank - 1,)


def _lead(rank: int) -> Axes:
    """The axes over which a `batch_norm` takes moments; all but that of gain and bias."""
    return tuple(range(rank - 1))


# ------------------------------------------------------------------------------------ type rules
def _check(op: str, x: TensorType, eps: float, *channels: TensorType) -> None:
    """x [..., D] of floats with gain, bias or moments [D]."""
    if not x.is_float or not x.rank:
        raise OpError(f"`{op}` needs floats with at least one axis, not {x}")
    if not eps >= 0:
        raise OpError(f"the eps of `{op}` is {eps}; it must not be negative")
    for each in channels:
        if each.dtype != x.dtype or not same_shape(each.shape, x.shape[-1:]):
            raise OpError(f"`{op}` of {x} needs one number a channel; this is {each}")


def _layer_norm_infer(
    x: TensorType, gain: TensorType, bias: TensorType, *, eps: float
) -> tuple[TensorType, TensorType, TensorType]:
    _check("layer_norm", x, eps, gain, bias)
    moment = x.with_shape(x.shape[:-1])
    return x, moment, moment


def _layer_norm_grad_infer(
    dy: TensorType, x: TensorType, gain: TensorType, mean: TensorType, rstd: TensorType
) -> tuple[TensorType, TensorType, TensorType]:
    _check("layer_norm_grad", x, 0.0, gain)
    _check_like("layer_norm_grad", x, dy)
    _check_like("layer_norm_grad", x.with_shape(x.shape[:-1]), mean, rstd)
    return x, gain, gain


def _batch_norm_infer(
    x: TensorType, gain: TensorType, bias: TensorType, *, eps: float
) -> tuple[TensorType, TensorType, TensorType]:
    _check("batch_norm", x, eps, gain, bias)
    return x, gain, gain


def _batch_norm_grad_infer(
    dy: TensorType,
    x: TensorType,
    gain: TensorType,
    mean: TensorType,
    var: TensorType,
    *,
    eps: float,
) -> tuple[TensorType, TensorType, TensorType]:
    _check("batch_norm_grad", x, eps, gain, mean, var)
    _check_like("batch_norm_grad", x, dy)
    return x, gain, gain


def _check_like(op: str, model: TensorType, *others: TensorType) -> None:
    for other in others:
        if other.dtype != model.dtype or not same_shape(other.shape, model.shape):
            raise OpError(f"`{op}` needs {model}, not {other}")


# ------------------------------------------------------------------------------------ evaluation
def _layer_norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, *, eps: float) -> Arrays:
    mean = x.mean(-1)
    centred = x - mean[..., None]
    rstd = 1 / np.sqrt((centred * centred).mean(-1) + x.dtype.type(eps))
    return centred * rstd[..., None] * gain + bias, mean, rstd


def _layer_norm_grad(
    dy: np.ndarray, x: np.ndarray, gain: np.ndarray, mean: np.ndarray, rstd: np.ndarray
) -> Arrays:
    z = (x - mean[..., None]) * rstd[..., None]
    g, lead = dy * gain, _lead(x.ndim)
    inner = g - g.mean(-1, keepdims=True) - z * (g * z).mean(-1, keepdims=True)
    return rstd[..., None] * inner, (dy * z).sum(lead), dy.sum(lead)


def _batch_norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, *, eps: float) -> Arrays:
    axes = _lead(x.ndim)
    mean = x.mean(axes)
    centred = x - mean
    var = (centred * centred).mean(axes)
    return centred * (gain / np.sqrt(var + x.dtype.type(eps))) + bias, mean, var


def _batch_norm_grad(
    dy: np.ndarray,
    x: np.ndarray,
    gain: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    *,
    eps: float,
) -> Arrays:
    axes = _lead(x.ndim)
    rstd = 1 / np.sqrt(var + x.dtype.type(eps))
    z = (x - mean) * rstd
    dgain = (dy * z).sum(axes)
    inner = dy - dy.mean(axes) - z * (dy * z).mean(axes)
    return gain * rstd * inner, dgain, dy.sum(axes)


# -------------------------------------------------------------------------------- decompositions
def _centred(x: Tensor, mean: Tensor, axes: Axes) -> Tensor:
    return x - mean.restore(x.shape, axes)


def _moments(x: Tensor, axes: Axes) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance, and x without its mean."""
    mean = x.mean(axes)
    centred = _centred(x, mean, axes)
    return mean, (centred * centred).mean(axes), centred


def _rstd(var: Tensor, eps: float) -> Tensor:
    result: Tensor = (var + eps).emit("rsqrt")
    return result


def _count(x: Tensor, axes: Axes) -> Any:
    count = product([x.shape[axis] for axis in axes])
    if isinstance(count, int):
        return float(count)
    return x.builder.emit("size", dim=count, dtype=x.dtype)


def _layer_norm_decompose(x: Tensor, gain: Tensor, bias: Tensor, *, eps: float) -> Any:
    axes = _last(x.rank)
    mean, var, centred = _moments(x, axes)
    rstd = _rstd(var, eps)
    return centred * rstd.restore(x.shape, axes) * gain + bias, mean, rstd


def _layer_norm_grad_decompose(
    dy: Tensor, x: Tensor, gain: Tensor, mean: Tensor, rstd: Tensor
) -> Any:
    axes, lead = _last(x.rank), _lead(x.rank)
    scale = rstd.restore(x.shape, axes)
    z, g = _centred(x, mean, axes) * scale, dy * gain
    inner = g - g.mean(axes).restore(x.shape, axes) - z * (g * z).mean(axes).restore(x.shape, axes)
    return scale * inner, (dy * z).sum(lead), dy.sum(lead)


def _batch_norm_decompose(x: Tensor, gain: Tensor, bias: Tensor, *, eps: float) -> Any:
    mean, var, centred = _moments(x, _lead(x.rank))
    return centred * (gain * _rstd(var, eps)) + bias, mean, var


def _batch_norm_grad_decompose(
    dy: Tensor, x: Tensor, gain: Tensor, mean: Tensor, var: Tensor, *, eps: float
) -> Any:
    """dx = gain * rstd * (dy - dbias / n - (x - mean) * (rstd * dgain / n))."""
    axes = _lead(x.rank)
    rstd, centred, count = _rstd(var, eps), _centred(x, mean, axes), _count(x, axes)
    dgain, dbias = (dy * centred).sum(axes) * rstd, dy.sum(axes)
    dx = (dy - dbias / count - centred * (rstd * dgain / count)) * (gain * rstd)
    return dx, dgain, dbias


# ------------------------------------------------------------------------------------- gradients
def _layer_norm_vjp(
    dys: tuple[Tensor | None, ...],
    ys: tuple[Tensor, ...],
    x: Tensor,
    gain: Tensor,
    bias: Tensor,
    *,
    eps: float,
) -> tuple[Tensor | None, ...]:
    """Of mean: dmean / D; of rstd: -drstd * rstd^3 * (x - mean) / D."""
    (dy, dmean, drstd), (_, mean, rstd) = dys, ys
    axes = _last(x.rank)
    dx, dgain, dbias = (
        (None, None, None) if dy is None else dy.emit("layer_norm_grad", x, gain, mean, rstd)
    )
    if dmean is not None:
        dx = _plus(dx, (dmean / _count(x, axes)).restore(x.shape, axes))
    if drstd is not None:
        scale = -(drstd * (rstd * rstd * rstd) / _count(x, axes))
        dx = _plus(dx, _centred(x, mean, axes) * scale.restore(x.shape, axes))
    return dx, dgain, dbias


def _batch_norm_vjp(
    dys: tuple[Tensor | None, ...],
    ys: tuple[Tensor, ...],
    x: Tensor,
    gain: Tensor,
    bias: Tensor,
    *,
    eps: float,
) -> tuple[Tensor | None, ...]:
    """Of mean: dmean / n; of var: dvar * 2 (x - mean) / n, for n elements a channel."""
    (dy, dmean, dvar), (_, mean, var) = dys, ys
    axes = _lead(x.rank)
    dx, dgain, dbias = (
        (None, None, None)
        if dy is None
        else dy.emit("batch_norm_grad", x, gain, mean, var, eps=eps)
    )
    if dmean is not None:
        dx = _plus(dx, (dmean / _count(x, axes)).restore(x.shape, axes))
    if dvar is not None:
        scale = dvar * 2.0 / _count(x, axes)
        dx = _plus(dx, _centred(x, mean, axes) * scale.restore(x.shape, axes))
    return dx, dgain, dbias


def _plus(total: Tensor | None, more: Tensor) -> Tensor:
    return more if total is None else total + more


define(
    "layer_norm",
    infer=_layer_norm_infer,
    evaluate=_layer_norm,
    vjp=_layer_norm_vjp,
    decompose=_layer_norm_decompose,
    doc="(x - mean) * rstd * gain + bias with moments over the last axis of x [..., D], and these "
    "mean and rstd = 1 / sqrt(var + eps).",
)
define(
    "layer_norm_grad",
    infer=_layer_norm_grad_infer,
    evaluate=_layer_norm_grad,
    vjp=vjp_of_parts(_layer_norm_grad_decompose),
    decompose=_layer_norm_grad_decompose,
    doc="Cotangents of the x, gain and bias of a layer_norm, from dy and its mean and rstd.",
)
define(
    "batch_norm",
    infer=_batch_norm_infer,
    evaluate=_batch_norm,
    vjp=_batch_norm_vjp,
    decompose=_batch_norm_decompose,
    doc="(x - mean) / sqrt(var + eps) * gain + bias with moments over all axes but the last of "
    "x [..., C], and these mean and biased var.",
)
define(
    "batch_norm_grad",
    infer=_batch_norm_grad_infer,
    evaluate=_batch_norm_grad,
    vjp=vjp_of_parts(_batch_norm_grad_decompose),
    decompose=_batch_norm_grad_decompose,
    doc="Cotangents of the x, gain and bias of a batch_norm, from dy and its mean and var.",
)
