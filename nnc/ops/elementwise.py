"""Elementwise ops: one result element from the elements at the same place of the operands.

All operands have the same shape and element type (every broadcast is a node of its own).  At kinks
the gradients take fixed subgradients: abs and sqrt (so a norm) 0 at 0; ties of maximum and minimum
go to the first operand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nnc.ir.narrow import held, round_to
from nnc.ir.types import DTYPES, FLOATS, INTEGERS, TensorType, numpy_dtype
from nnc.ops import special
from nnc.ops.registry import OpError, family
from nnc.ops.rules import (
    LOGICAL,
    NUMBERS,
    binary,
    require_dtype,
    require_known_dtype,
    require_same_shape,
    require_same_type,
    unary,
)

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

Cotangents = tuple["Tensor | None", ...]

Row = tuple[str, tuple[str, ...], Callable[..., Any], Callable[..., Cotangents] | None, str]

define = family("elementwise")


def _rsqrt(x: np.ndarray) -> np.ndarray:
    return np.reciprocal(np.sqrt(x))


_TWO_OVER_ROOT_PI = 2.0 / math.sqrt(math.pi)


# ---------------------------------------------------------------- gradients longer than a line
def _sqrt_vjp(dy: Tensor, y: Tensor, x: Tensor) -> Cotangents:
    zero = y.equals(0.0)
    return (zero.where(0.0, dy * 0.5 / zero.where(1.0, y)),)


def _pow_vjp(dy: Tensor, y: Tensor, x: Tensor, exponent: Tensor) -> Cotangents:
    # 0 * 0^-1 is nan where the derivative of x^0 is 0; 0^e has slope 0 in e.
    constant = exponent.equals(0.0)
    slope = constant.where(0.0, exponent * x ** constant.where(1.0, exponent - 1.0))
    at_zero = x.equals(0.0)
    log = at_zero.where(1.0, x).emit("log")
    return dy * slope, at_zero.where(0.0, dy * y * log)


def _erf_vjp(dy: Tensor, y: Tensor, x: Tensor) -> Cotangents:
    return (dy * _TWO_OVER_ROOT_PI * (-x * x).emit("exp"),)


def _erfinv_vjp(dy: Tensor, y: Tensor, x: Tensor) -> Cotangents:
    return (dy * (1.0 / _TWO_OVER_ROOT_PI) * (y * y).emit("exp"),)


def _choose(first: Tensor, dy: Tensor) -> Cotangents:
    return first.where(dy, 0.0), first.where(0.0, dy)


def _maximum_vjp(dy: Tensor, z: Tensor, x: Tensor, y: Tensor) -> Cotangents:
    return _choose(x >= y, dy)


def _minimum_vjp(dy: Tensor, z: Tensor, x: Tensor, y: Tensor) -> Cotangents:
    return _choose(x <= y, dy)


def _atan2_vjp(dy: Tensor, z: Tensor, x: Tensor, y: Tensor) -> Cotangents:
    scale = dy / (x * x + y * y)
    return scale * y, -scale * x


def _rem_vjp(dy: Tensor, r: Tensor, x: Tensor, y: Tensor) -> Cotangents:
    return dy, -dy * x.binary("floordiv", y)


# ---------------------------------------------------------------- one operand
#: name, element types, evaluation, vjp(dy, y, x) or None where the gradient is zero, meaning
_UNARY: tuple[Row, ...] = (
    ("neg", NUMBERS, np.negative, lambda dy, y, x: (-dy,), "-x"),
    ("abs", NUMBERS, np.abs, lambda dy, y, x: (dy * x.emit("sign"),), "|x|; gradient 0 at 0"),
    ("sign", NUMBERS, np.sign, None, "-1, 0 or 1"),
    ("exp", FLOATS, np.exp, lambda dy, y, x: (dy * y,), "e^x"),
    ("expm1", FLOATS, np.expm1, lambda dy, y, x: (dy * (y + 1.0),), "e^x - 1, exact near 0"),
    ("log", FLOATS, np.log, lambda dy, y, x: (dy / x,), "natural logarithm"),
    ("log1p", FLOATS, np.log1p, lambda dy, y, x: (dy / (x + 1.0),), "log(1 + x), exact near 0"),
    ("sqrt", FLOATS, np.sqrt, _sqrt_vjp, "square root; gradient 0 at 0, so that a norm's is"),
    ("rsqrt", FLOATS, _rsqrt, lambda dy, y, x: (dy * -0.5 * y / x,), "1 / sqrt(x)"),
    ("sin", FLOATS, np.sin, lambda dy, y, x: (dy * x.emit("cos"),), "sine of x in radians"),
    ("cos", FLOATS, np.cos, lambda dy, y, x: (-dy * x.emit("sin"),), "cosine of x in radians"),
    ("tan", FLOATS, np.tan, lambda dy, y, x: (dy * (y * y + 1.0),), "tangent of x in radians"),
    ("tanh", FLOATS, np.tanh, lambda dy, y, x: (dy * (1.0 - y * y),), "hyperbolic tangent"),
    ("erf", FLOATS, special.erf, _erf_vjp, "error function"),
    ("erfinv", FLOATS, special.erfinv, _erfinv_vjp, "inverse of erf on [-1, 1]"),
    ("floor", FLOATS, np.floor, None, "the largest whole number not above x"),
    ("ceil", FLOATS, np.ceil, None, "the smallest whole number not below x"),
    ("round", FLOATS, np.rint, None, "the nearest whole number, halves to even"),
    ("not", ("bool",), np.logical_not, None, "logical negation"),
)
for _name, _kinds, _evaluate, _vjp, _doc in _UNARY:
    define(
        _name,
        infer=unary(_name, _kinds),
        evaluate=_evaluate,
        vjp=_vjp,
        zero_gradient=_vjp is None,
        doc=_doc,
    )

define(
    "is_finite",
    infer=unary("is_finite", FLOATS, result="bool"),
    evaluate=np.isfinite,
    zero_gradient=True,
    doc="neither infinite nor nan",
)

# ---------------------------------------------------------------- two operands
#: as above, with vjp(dy, z, x, y)
_BINARY: tuple[Row, ...] = (
    ("add", NUMBERS, np.add, lambda dy, z, x, y: (dy, dy), "x + y"),
    ("sub", NUMBERS, np.subtract, lambda dy, z, x, y: (dy, -dy), "x - y"),
    ("mul", NUMBERS, np.multiply, lambda dy, z, x, y: (dy * y, dy * x), "x * y"),
    ("div", FLOATS, np.divide, lambda dy, z, x, y: (dy / y, -dy * z / y), "x / y of floats"),
    ("pow", NUMBERS, np.power, _pow_vjp, "x^y; an integer y is not negative"),
    ("rem", NUMBERS, np.remainder, _rem_vjp, "x - floor(x / y) * y, as Python's %"),
    ("floordiv", NUMBERS, np.floor_divide, None, "floor(x / y)"),
    ("maximum", NUMBERS, np.maximum, _maximum_vjp, "the larger of x and y; nan if either is"),
    ("minimum", NUMBERS, np.minimum, _minimum_vjp, "the smaller of x and y; nan if either is"),
    ("atan2", FLOATS, np.arctan2, _atan2_vjp, "the angle of the point (y, x): x is the ordinate"),
    ("and", LOGICAL, np.bitwise_and, None, "logical or bitwise and"),
    ("or", LOGICAL, np.bitwise_or, None, "logical or bitwise or"),
    ("xor", LOGICAL, np.bitwise_xor, None, "logical or bitwise exclusive or"),
    ("shift_left", INTEGERS, np.left_shift, None, "x << y for 0 <= y < the width"),
    (
        "shift_right",
        INTEGERS,
        np.right_shift,
        None,
        "x >> y for 0 <= y < the width, keeps the sign",
    ),
)
for _name, _kinds, _evaluate, _vjp, _doc in _BINARY:
    define(
        _name,
        infer=binary(_name, _kinds),
        evaluate=_evaluate,
        vjp=_vjp,
        zero_gradient=_vjp is None,
        doc=_doc,
    )

for _name, _kinds, _evaluate, _doc in (
    ("eq", DTYPES, np.equal, "x == y"),
    ("ne", DTYPES, np.not_equal, "x != y"),
    ("lt", NUMBERS, np.less, "x < y"),
    ("le", NUMBERS, np.less_equal, "x <= y"),
    ("gt", NUMBERS, np.greater, "x > y"),
    ("ge", NUMBERS, np.greater_equal, "x >= y"),
):
    define(
        _name,
        infer=binary(_name, _kinds, result="bool"),
        evaluate=_evaluate,
        zero_gradient=True,
        doc=_doc,
    )


# ---------------------------------------------------------------- select and convert
def _infer_where(condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    if condition.dtype != "bool":
        raise OpError(f"the condition of `where` is {condition.dtype}, not bool")
    require_same_type(x, y)
    require_same_shape(condition.shape, x.shape)
    return x


def _infer_cast(x: TensorType, *, dtype: str) -> TensorType:
    require_known_dtype(dtype)
    return x.with_dtype(dtype)


def _cast_vjp(dy: Tensor, y: Tensor, x: Tensor, *, dtype: str) -> Cotangents:
    differentiable = x.type.is_float and dtype in FLOATS
    return (dy.cast(x.dtype) if differentiable else None,)


def _infer_round_to(x: TensorType, *, dtype: str) -> TensorType:
    require_dtype("round_to", x, FLOATS)
    require_dtype("round_to", x.with_dtype(dtype), FLOATS)
    return x


_BITS = {"f32": 32, "f64": 64, "i32": 32, "i64": 64, "u16": 16, "u32": 32, "u64": 64}


def _infer_bitcast(x: TensorType, *, dtype: str) -> TensorType:
    require_known_dtype(dtype)
    if dtype not in _BITS or _BITS.get(x.dtype) != _BITS[dtype]:
        raise OpError(f"the bits of {x.dtype} are not those of a {dtype}")
    return x.with_dtype(dtype)


define(
    "where",
    infer=_infer_where,
    evaluate=np.where,
    vjp=lambda dy, z, condition, x, y: (None, *_choose(condition, dy)),
    doc="x where the condition holds, else y",
)
define(
    "cast",
    infer=_infer_cast,
    evaluate=lambda x, *, dtype: held(x, dtype),
    vjp=_cast_vjp,
    doc="x in another element type: floats truncate to integers, numbers are true where not 0",
)
define(
    "round_to",
    infer=_infer_round_to,
    evaluate=round_to,
    vjp=lambda dy, y, x, *, dtype: (dy.emit("round_to", dtype=dtype),),
    decompose=lambda x, *, dtype: x.cast(dtype).cast(x.dtype),
    doc="the nearest value of another float type, in x's own type: what casting there and back is",
)
define(
    "bitcast",
    infer=_infer_bitcast,
    evaluate=lambda x, *, dtype: np.asarray(x).view(numpy_dtype(dtype)),
    zero_gradient=True,
    doc="the same bits read as another element type of the same width",
)
