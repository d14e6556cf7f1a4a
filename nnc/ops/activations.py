"""Activations as composites: stable sigmoids, and `gelu` and `silu` with slopes in closed form.

With P the distribution function and p the density of a standard normal, and s the sigmoid,

    gelu(x) = x P(x)    has the slope  P(x) + x p(x)
    silu(x) = x s(x)    has the slope  s(x) (1 + x (1 - s(x)))

(Hendrycks & Gimpel 2016; Elfwing, Uchibe & Doya 2017).  The decomposed gradients say P and s as the
decomposed results do: as equal expressions, they are computed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from nnc.ir.types import TensorType
from nnc.ops.parts import vjp_of_parts
from nnc.ops.registry import OpError, family
from nnc.ops.rules import require_same_type
from nnc.ops.special import erf

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

define = family("nn")

ROOT_HALF = math.sqrt(0.5)
#: the density of a standard normal at 0
DENSITY = 1 / math.sqrt(2 * math.pi)


# ------------------------------------------------------------------------------------ type rules
def _float_like(op: str) -> Callable[[TensorType], TensorType]:
    def infer(x: TensorType) -> TensorType:
        if not x.is_float:
            raise OpError(f"`{op}` needs floats, not {x}")
        return x

    return infer


def _grad_like(op: str) -> Callable[[TensorType, TensorType], TensorType]:
    def infer(dy: TensorType, x: TensorType) -> TensorType:
        require_same_type(dy, x)
        return _float_like(op)(x)

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


# ------------------------------------------------------------------------------------------ gelu
def _share(x: np.ndarray) -> np.ndarray:
    """P(x)."""
    return 0.5 * (1 + erf(x * x.dtype.type(ROOT_HALF)))


def _gelu_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    density = x.dtype.type(DENSITY) * np.exp(-0.5 * (x * x))
    return dy * (_share(x) + x * density)


def _share_of(x: Tensor) -> Tensor:
    return ((x * ROOT_HALF).emit("erf") + 1.0) * 0.5


def _gelu_grad_decompose(dy: Tensor, x: Tensor) -> Tensor:
    density = (x * x * -0.5).emit("exp") * DENSITY
    return dy * (_share_of(x) + x * density)


define(
    "gelu",
    infer=_float_like("gelu"),
    evaluate=lambda x: x * _share(x),
    vjp=lambda dy, y, x: (dy.emit("gelu_grad", x),),
    decompose=lambda x: x * _share_of(x),
    doc="x * (1 + erf(x / sqrt(2))) / 2.",
)
define(
    "gelu_grad",
    infer=_grad_like("gelu_grad"),
    evaluate=_gelu_grad,
    vjp=vjp_of_parts(_gelu_grad_decompose),
    decompose=_gelu_grad_decompose,
    doc="The cotangent of the x of a gelu, from dy and x.",
)


def _gelu_with_slope(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x * _share(x), _gelu_grad(np.ones_like(x), x)


def _gelu_with_slope_decompose(x: Tensor) -> tuple[Tensor, Tensor]:
    share = _share_of(x)
    return x * share, share + x * ((x * x * -0.5).emit("exp") * DENSITY)


define(
    "gelu_with_slope",
    infer=lambda x: (_float_like("gelu_with_slope")(x),) * 2,
    evaluate=_gelu_with_slope,
    vjp=vjp_of_parts(_gelu_with_slope_decompose),
    decompose=_gelu_with_slope_decompose,
    doc="The gelu of x, and its derivative there.",
)


# ------------------------------------------------------------------------------------------ silu
def _silu_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    s = _sigmoid(x)
    return dy * (s * (1 + x * (1 - s)))


def _silu_grad_decompose(dy: Tensor, x: Tensor) -> Tensor:
    s: Tensor = x.emit("sigmoid")
    return dy * (s * (x * (1.0 - s) + 1.0))


define(
    "silu",
    infer=_float_like("silu"),
    evaluate=lambda x: x * _sigmoid(x),
    vjp=lambda dy, y, x: (dy.emit("silu_grad", x),),
    decompose=lambda x: x * x.emit("sigmoid"),
    doc="x * sigmoid(x).",
)
define(
    "silu_grad",
    infer=_grad_like("silu_grad"),
    evaluate=_silu_grad,
    vjp=vjp_of_parts(_silu_grad_decompose),
    decompose=_silu_grad_decompose,
    doc="The cotangent of the x of a silu, from dy and x.",
)
