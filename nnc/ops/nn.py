"""Composites of neural networks: stable softmaxes here; the others join them.

A composite exists where the formula that everybody writes overflows, or where a backend has a
kernel of its own.  Each has a decomposition into core ops and its own gradient, mostly from its
result alone, so that nothing else has to be kept for the way back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nnc.ir.dims import equal
from nnc.ir.types import INTEGERS, TensorType
from nnc.ops import activations as activations
from nnc.ops import attention as attention
from nnc.ops import conv as conv
from nnc.ops import norm as norm
from nnc.ops import pool as pool
from nnc.ops.parts import vjp_of_parts
from nnc.ops.registry import OpError, family
from nnc.ops.rules import require_dtype, require_same_shape, require_same_type

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

define = family("nn")


# ------------------------------------------------------------------------------------- softmaxes
def _along(op: str) -> Callable[..., TensorType]:
    def infer(x: TensorType, *, axis: int) -> TensorType:
        if not x.is_float or not 0 <= axis < x.rank:
            raise OpError(f"`{op}` needs floats with an axis {axis}, not {x}")
        return x

    return infer


def _grad_along(op: str) -> Callable[..., TensorType]:
    def infer(dy: TensorType, y: TensorType, *, axis: int) -> TensorType:
        require_same_type(dy, y)
        return _along(op)(y, axis=axis)

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


def _pick_log_softmax_infer(x: TensorType, index: TensorType) -> tuple[TensorType, TensorType]:
    _along("pick_log_softmax")(x, axis=x.rank - 1)
    require_dtype("pick_log_softmax by index", index, INTEGERS)
    require_same_shape(x.shape[:-1], index.shape)
    return x.with_shape(index.shape), x


def _pick_log_softmax(x: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if x.ndim != 2:
        picked, y = _pick_log_softmax(x.reshape(-1, x.shape[-1]), index.reshape(-1))
        return picked.reshape(index.shape), y.reshape(x.shape)
    y = x - np.maximum.reduce(x, axis=1, keepdims=True)
    picked = y[np.arange(len(y)), index]
    np.exp(y, out=y)
    total = np.add.reduce(y, axis=1)
    y /= total[:, None]
    picked -= np.log(total)
    return picked, y


def _softmax_grad(dy: np.ndarray, y: np.ndarray, *, axis: int) -> np.ndarray:
    weighted = dy * y
    return weighted - y * weighted.sum(axis=axis, keepdims=True)


def _log_softmax_grad(dy: np.ndarray, y: np.ndarray, *, axis: int) -> np.ndarray:
    return dy - np.exp(y) * dy.sum(axis=axis, keepdims=True)


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


def _pick_log_softmax_decompose(x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    axis = x.rank - 1
    logs = x.emit("log_softmax", axis=axis)
    picked = logs.emit("take_along", index.reshape((*index.shape, 1)), axis=axis)
    return picked.reshape(index.shape), logs.emit("exp")


def _softmax_grad_decompose(dy: Tensor, y: Tensor, *, axis: int) -> Tensor:
    weighted = dy * y
    return weighted - y * _restored(weighted.sum((axis,)), y, axis)


def _log_softmax_grad_decompose(dy: Tensor, y: Tensor, *, axis: int) -> Tensor:
    return dy - y.emit("exp") * _restored(_total(dy, axis), y, axis)


def _total(dy: Tensor, axis: int) -> Tensor:
    """The sum of `dy` along `axis`; of the cotangent of one place each, it is what stands there."""
    graph = dy.builder.graph
    node = graph.producer(dy.value)
    if node.op == "scatter_add_along" and node.attrs["axis"] == axis:
        zeros, _, update = (dy.builder.tensor(value) for value in node.operands)
        if equal(update.shape[axis], 1) is True and _is_zero(zeros):
            return update.reshape((*dy.shape[:axis], *dy.shape[axis + 1 :]))
    return dy.sum((axis,))


def _is_zero(x: Tensor) -> bool:
    node = x.builder.graph.producer(x.value)
    while node.op == "broadcast":
        node = x.builder.graph.producer(node.operands[0])
    return node.op == "const" and node.type.rank == 0 and node.attrs["value"] == 0


def _logsumexp_vjp(dy: Tensor, y: Tensor, x: Tensor, *, axis: int) -> tuple[Any]:
    return (_restored(dy, x, axis) * (x - _restored(y, x, axis)).emit("exp"),)


define(
    "softmax",
    infer=_along("softmax"),
    evaluate=_softmax,
    vjp=lambda dy, y, x, *, axis: (dy.emit("softmax_grad", y, axis=axis),),
    decompose=_softmax_decompose,
    doc="exp(x) over its sum along `axis`, without overflow.",
)
define(
    "log_softmax",
    infer=_along("log_softmax"),
    evaluate=_log_softmax,
    vjp=lambda dy, y, x, *, axis: (dy.emit("log_softmax_grad", y, axis=axis),),
    decompose=_log_softmax_decompose,
    doc="The logarithm of softmax, without overflow.",
)
define(
    "pick_log_softmax",
    infer=_pick_log_softmax_infer,
    evaluate=_pick_log_softmax,
    vjp=vjp_of_parts(_pick_log_softmax_decompose),
    decompose=_pick_log_softmax_decompose,
    doc="The log_softmax along the last axis of x [..., C] at index [...], and the softmax: a "
    "cross-entropy and what its gradient needs.",
)
define(
    "softmax_grad",
    infer=_grad_along("softmax_grad"),
    evaluate=_softmax_grad,
    vjp=vjp_of_parts(_softmax_grad_decompose),
    decompose=_softmax_grad_decompose,
    doc="The cotangent of the x of a softmax, from dy and its result y: y * (dy - sum(dy * y)).",
)
define(
    "log_softmax_grad",
    infer=_grad_along("log_softmax_grad"),
    evaluate=_log_softmax_grad,
    vjp=vjp_of_parts(_log_softmax_grad_decompose),
    decompose=_log_softmax_grad_decompose,
    doc="The cotangent of the x of a log_softmax, from dy and its result y: dy - exp(y) * sum(dy).",
)
define(
    "logsumexp",
    infer=_logsumexp_infer,
    evaluate=_logsumexp,
    vjp=_logsumexp_vjp,
    decompose=_logsumexp_decompose,
    doc="log(sum(exp(x))) along `axis`, which it removes; -inf where all of x are.",
)
