"""Composites of neural networks: stable sigmoids and softmaxes; larger ones join them.

A composite exists where the formula that everybody writes overflows, or where a backend has a
kernel of its own.  Each has a decomposition into core ops and its own gradient, mostly from its
result alone, so that nothing else has to be kept for the way back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nnc.ir.types import TensorType
from nnc.ops import attention as attention
from nnc.ops import conv as conv
from nnc.ops import norm as norm
from nnc.ops import pool as pool
from nnc.ops.registry import OpError, family

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

define = family("nn")


def _float_like(op: str) -> Callable[[TensorType], TensorType]:
    def infer(x: TensorType) -> TensorType:
        if not x.is_float:
            raise OpError(f"`{op}` needs floats, not {x}")
        return x

    return infer


# -------------------------------------------------------------------------------------- sigmoids
def _sigmoid(x: np.ndarray) -> np.ndarray:
    if x.dtype == np.float16:  # whose exp overflows where its sigmoid is not yet 0
        return _sigmoid(x.astype(np.float32)).astype(np.float16)
    with np.errstate(over="ignore"):  # 1 / infinity is right
        return 1 / (1 + np.exp(-x))


def _sigmoid_decompose(x: Tensor) -> Tensor:
    small = (-x.emit("abs")).emit("exp")
    return (x >= 0.0).where(1.0, small) / (small + 1.0)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _softplus_decompose(x: Tensor) -> Tensor:
    return x.binary("maximum", 0.0) + (-x.emit("abs")).emit("exp").emit("log1p")


def _log_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def _log_sigmoid_decompose(x: Tensor) -> Tensor:
    return x.binary("minimum", 0.0) - (-x.emit("abs")).emit("exp").emit("log1p")


define(
    "sigmoid",
    infer=_float_like("sigmoid"),
    evaluate=_sigmoid,
    vjp=lambda dy, y, x: (dy * (y * (1.0 - y)),),
    decompose=_sigmoid_decompose,
    doc="1 / (1 + exp(-x)), without overflow.",
)
define(
    "softplus",
    infer=_float_like("softplus"),
    evaluate=_softplus,
    vjp=lambda dy, y, x: (dy * x.emit("sigmoid"),),
    decompose=_softplus_decompose,
    doc="log(1 + exp(x)), without overflow.",
)
define(
    "log_sigmoid",
    infer=_float_like("log_sigmoid"),
    evaluate=_log_sigmoid,
    vjp=lambda dy, y, x: (dy * (-x).emit("sigmoid"),),
    decompose=_log_sigmoid_decompose,
    doc="log(sigmoid(x)), without overflow or loss of small values.",
)


# ------------------------------------------------------------------------------------- softmaxes
def _along(op: str) -> Callable[..., TensorType]:
    def infer(x: TensorType, *, axis: int) -> TensorType:
        if not x.is_float or not 0 <= axis < x.rank:
            raise OpError(f"`{op}` needs floats with an axis {axis}, not {x}")
        return x

    return infer


def _logsumexp_infer(x: TensorType, *, axis: int) -> TensorType:
    _along("logsumexp")(x, axis=axis)
    return x.with_shape(x.shape[:axis] + x.shape[axis + 1 :])


def _softmax(x: np.ndarray, *, axis: int) -> np.ndarray:
    y = np.exp(x - x.max(axis=axis, keepdims=True))
    y /= y.sum(axis=axis, keepdims=True)
    return y


def _log_softmax(x: np.ndarray, *, axis: int) -> np.ndarray:
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def _logsumexp(x: np.ndarray, *, axis: int) -> np.ndarray:
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    total = np.exp(x - top).sum(axis=axis)
    with np.errstate(divide="ignore"):  # the logarithm of no probability at all is -inf
        return np.log(total) + np.squeeze(top, axis)


def _restored(y: Tensor, x: Tensor, axis: int) -> Tensor:
    """`y`, which lacks `axis` of `x`, repeated along it."""
    return y.restore(x.shape, (axis,))


def _top(x: Tensor, axis: int) -> Tensor:
    """The largest along `axis`: any shift gives the same softmax, so it takes no gradient."""
    top: Tensor = x.emit("stop_gradient").max((axis,))
    return top


def _softmax_decompose(x: Tensor, *, axis: int) -> Tensor:
    y = (x - _restored(_top(x, axis), x, axis)).emit("exp")
    result: Tensor = y / _restored(y.sum((axis,)), x, axis)
    return result


def _log_softmax_decompose(x: Tensor, *, axis: int) -> Tensor:
    shifted = x - _restored(_top(x, axis), x, axis)
    return shifted - _restored(shifted.emit("exp").sum((axis,)).emit("log"), x, axis)


def _logsumexp_decompose(x: Tensor, *, axis: int) -> Tensor:
    top = _top(x, axis)
    top = top.emit("is_finite").where(top, 0.0)
    total = (x - _restored(top, x, axis)).emit("exp").sum((axis,))
    result: Tensor = total.emit("log") + top
    return result


def _softmax_vjp(dy: Tensor, y: Tensor, x: Tensor, *, axis: int) -> tuple[Tensor]:
    weighted = dy * y
    return (weighted - y * _restored(weighted.sum((axis,)), x, axis),)


def _log_softmax_vjp(dy: Tensor, y: Tensor, x: Tensor, *, axis: int) -> tuple[Tensor]:
    return (dy - y.emit("exp") * _restored(dy.sum((axis,)), x, axis),)


def _logsumexp_vjp(dy: Tensor, y: Tensor, x: Tensor, *, axis: int) -> tuple[Any]:
    return (_restored(dy, x, axis) * (x - _restored(y, x, axis)).emit("exp"),)


define(
    "softmax",
    infer=_along("softmax"),
    evaluate=_softmax,
    vjp=_softmax_vjp,
    decompose=_softmax_decompose,
    doc="exp(x) over its sum along `axis`, without overflow.",
)
define(
    "log_softmax",
    infer=_along("log_softmax"),
    evaluate=_log_softmax,
    vjp=_log_softmax_vjp,
    decompose=_log_softmax_decompose,
    doc="The logarithm of softmax, without overflow.",
)
define(
    "logsumexp",
    infer=_logsumexp_infer,
    evaluate=_logsumexp,
    vjp=_logsumexp_vjp,
    decompose=_logsumexp_decompose,
    doc="log(sum(exp(x))) along `axis`, which it removes; -inf where all of x are.",
)
