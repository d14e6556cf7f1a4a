"""How large the rounding error of one execution of each op can be.

The model is the standard one of Higham, *Accuracy and Stability of Numerical Algorithms* (2002,
section 2.2): fl(x op y) = (x op y)(1 + delta) + eta with |delta| <= u, where u is the unit roundoff
and eta, an underflow, is at most the smallest normal number where a processor flushes to zero.
Functions without a correctly rounded result get the bound that NumPy, XLA and CUDA document for
theirs, at most 4 units in the last place.

A sum of n terms has the bound (n - 1) u sum|x| (Higham, section 4.2), which no order of summation
reaches.  Its roundings are independent, so they add like a random walk over the partial sums S_k
(Higham and Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput.
41, 2019): u sqrt(sum S_k^2).  For terms in no particular order S_k^2 is about (k/n)^2 S^2 plus k/n
of the sum of squares, hence u sqrt((n - 1)(S^2 + sum x^2)), which covers every order and block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnc.ops.registry import OPS


@dataclass(frozen=True)
class Format:
    """`unit` roundoff of a float type, what an `underflow` may lose, and a test for exactness.

    From `limit` on a result is rounded to an infinity.

    A result that is a value of the type `exact` (with its low bits zero) was not rounded: those of
    roundings almost never are.
    """

    unit: float
    underflow: float
    limit: float
    exact: type
    low_bits: int = 0

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Where `values` (float64) are values of this format; bool, of the same shape."""
        narrow: np.ndarray = values.astype(self.exact)
        same: np.ndarray = narrow.astype(np.float64) == values
        if self.low_bits:
            same &= narrow.view(np.uint32) & ((1 << self.low_bits) - 1) == 0
        return same


#: The runs themselves are in f64, where an error below half a unit would vanish in the next
#: addition; so f64 gets eight units.  A value of f32 counts as exact there: 29 zero bits in a row
#: are no accident.
FORMATS: dict[str, Format] = {
    "bf16": Format(2.0**-8, 2.0**-126, 2.0**128 * (1 - 2.0**-9), np.float32, low_bits=16),
    "f16": Format(2.0**-11, 2.0**-25, 2.0**16 * (1 - 2.0**-12), np.float16),
    "f32": Format(2.0**-24, 2.0**-126, 2.0**128 * (1 - 2.0**-25), np.float32),
    "f64": Format(2.0**-50, 2.0**-1022, math.inf, np.float32),
}

#: sums of short floats that are added up in f32 and rounded once
WIDE_SUMS = frozenset(("dot", "sum"))

#: ops that only move, choose, compare or count: what they give has no error of its own
EXACT = frozenset((
    "iota", "size", "neg", "abs", "sign", "floor", "ceil", "round", "maximum", "minimum",
    "floordiv", "where", "bitcast", "reshape", "transpose", "broadcast", "slice", "pad", "reverse",
    "concat", "window", "dynamic_slice", "dynamic_update", "take", "take_along", "max", "min",
    "stop_gradient", "with_gradient", "on_gradient",
))  # fmt: skip

#: errors in units of u |y|; 1 for what is in no table here
RELATIVE: dict[str, float] = {
    **dict.fromkeys(("div", "sqrt", "rsqrt"), 4.0),  # 2 units in the last place on GPUs
    **dict.fromkeys(
        ("exp", "expm1", "log", "log1p", "sin", "cos", "tan", "tanh", "erf", "erfinv", "pow",
         "atan2"),
        8.0,
    ),
}  # fmt: skip


def error_size(op: str, y: np.ndarray, *xs: np.ndarray, **attrs: Any) -> np.ndarray | float:
    """The size of the error of `y`, the exact result of `op` on `xs`, in units of u."""
    if op in EXACT:
        return 0.0
    if op in SUMS:
        return SUMS[op](y, *xs, **attrs)
    return RELATIVE.get(op, 1.0) * np.abs(y)


def absolute(op: str, y: np.ndarray, size: Any, format: Format) -> Any:
    """The error of `y` in `format`, where `size` is what `error_size` says."""
    wide = FORMATS["f32"]
    if op in WIDE_SUMS and format.unit > wide.unit:
        return wide.unit * size + format.unit * np.abs(y)
    return format.unit * size


def overflowed(y: np.ndarray, format: Format | None) -> np.ndarray:
    """`y` as `format` holds it: what is beyond its largest values is an infinity there."""
    if format is None or format.limit == math.inf:
        return y
    beyond = np.abs(y) >= format.limit
    return np.where(beyond, np.copysign(np.inf, y), y) if beyond.any() else y


def is_exact(op: str, y: np.ndarray, xs: Sequence[np.ndarray], format: Format) -> np.ndarray:
    """Where `op` gives `y` without rounding: bool, of the shape of `y` or ().

    A single operation does where `y` is a value of the format.  A sum may round on the way to such
    a value, but not where it counts: among whole numbers below 1 / u.
    """
    if op not in SUMS:
        return format.holds(y) | ~np.isfinite(y)
    counts = all(bool(np.all(x == np.rint(x))) for x in xs if x.dtype.kind == "f")
    return ((np.abs(y) <= 1 / format.unit) & counts) | ~np.isfinite(y)


# ---------------------------------------------------------------- sums
def _walk(y: np.ndarray, terms: Any, squares: np.ndarray) -> np.ndarray:
    """The error of adding up `terms` numbers to `y`, whose squares add up to `squares`."""
    return np.sqrt(np.maximum(terms - 1, 0) * (y * y + squares))


def _linear(op: str) -> Callable[..., np.ndarray]:
    """For an op whose result elements are sums of elements of its float operands."""
    evaluate = OPS[op].evaluate
    assert evaluate is not None

    def size(y: np.ndarray, *xs: np.ndarray, **attrs: Any) -> np.ndarray:
        floats = [x.dtype.kind == "f" for x in xs]
        squares = [x * x if f else x for x, f in zip(xs, floats, strict=True)]
        counted = [(x != 0).astype(x.dtype) if f else x for x, f in zip(xs, floats, strict=True)]
        return _walk(y, evaluate(*counted, **attrs), evaluate(*squares, **attrs))

    return size


def _dot(y: np.ndarray, a: np.ndarray, b: np.ndarray, *, contract: Any, batch: Any) -> np.ndarray:
    """The products are rounded too, unless by a fused multiply-add."""
    evaluate = OPS["dot"].evaluate
    assert evaluate is not None
    squares = evaluate(a * a, b * b, contract=contract, batch=batch)
    terms = math.prod(a.shape[axis] for axis in contract[0])
    return np.sqrt(_walk(y, terms, squares) ** 2 + squares)


def _prod(y: np.ndarray, x: np.ndarray, *, axes: tuple[int, ...]) -> np.ndarray:
    return np.abs(y) * max(math.prod(x.shape[axis] for axis in axes) - 1, 0)


SUMS: dict[str, Callable[..., np.ndarray]] = {
    **{op: _linear(op) for op in ("sum", "cumsum", "fold", "scatter_add", "scatter_add_along")},
    "dot": _dot,
    "prod": _prod,
}
