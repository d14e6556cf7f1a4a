"""erf and erfinv to a few units in the last place, against 50-digit arithmetic."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from nnc.ops.special import erf, erfinv

PLACES = np.concatenate(
    [np.linspace(-6.5, 6.5, 4001), np.geomspace(1e-300, 1.0, 301), [0.46875, 4.0, 6.0]]
)
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")


def exact_erf(x: Decimal) -> Decimal:
    """The Maclaurin series 2/sqrt(pi) sum (-1)^n x^(2n+1) / (n! (2n+1)); for |x| < 7."""
    term, total, n = x, x, 0
    while abs(term) > Decimal("1e-70") * (abs(total) + Decimal("1e-320")):
        n += 1
        term *= -x * x / n
        total += term / (2 * n + 1)
    return 2 * total / PI.sqrt()


def test_erf_is_that_of_the_c_library_to_four_ulp() -> None:
    expected = np.array([math.erf(x) for x in PLACES])
    assert np.max(np.abs(erf(PLACES) - expected) / np.spacing(np.abs(expected))) <= 4


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_erf_of_narrow_floats_is_right_to_one_ulp(dtype: type) -> None:
    x = np.concatenate([PLACES, -PLACES, np.linspace(-4.1, 4.1, 30_001)]).astype(dtype)
    result = erf(x)
    expected = np.array([math.erf(v) for v in x])
    assert result.dtype == dtype
    assert np.max(np.abs(result - expected) / np.spacing(np.abs(expected).astype(dtype))) <= 1


@pytest.mark.parametrize(
    "y", [1e-300, 1e-9, 0.1, 0.5, -0.7, 0.85, 0.8500001, 0.95, -0.999, 1 - 1e-9, 1 - 2**-53]
)
def test_erfinv_inverts_to_four_ulp(y: float) -> None:
    """One step of Newton's method at 80 digits measures the error of the result itself."""
    x = float(erfinv(np.array(y)))
    with localcontext() as context:
        context.prec = 80
        at = Decimal(x)
        slope = 2 / PI.sqrt() * (-at * at).exp()
        error = (exact_erf(at) - Decimal(y)) / slope
    assert abs(float(error)) <= 4 * np.spacing(abs(x))


def test_ends_and_beyond() -> None:
    for dtype in (np.float32, np.float64):
        values = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], dtype)
        assert np.array_equal(erf(values), [1.0, -1.0, np.nan, 0.0, -0.0], equal_nan=True)
        assert np.signbit(erf(values[-1]))
    values = np.array([1.0, -1.0, 1.5, -2.0, np.nan, 0.0])
    expected = [np.inf, -np.inf, np.nan, np.nan, np.nan, 0.0]
    assert np.array_equal(erfinv(values), expected, equal_nan=True)


def test_any_shape_and_float_type() -> None:
    for function in (erf, erfinv):
        for dtype in (np.float16, np.float32, np.float64):
            for shape in ((), (0,), (2, 3)):
                result = function(np.full(shape, 0.5, dtype))
                assert result.shape == shape
                assert result.dtype == dtype
