"""The NumPy backend's own functions against what they stand for, in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from nnc_numpy import kernels

SIZES = np.logspace(-10, 2.1, 100_000)
ACROSS = np.concatenate([-SIZES, [0.0], SIZES])


def units(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest error, in units of the last place; of what is denormal, in the smallest one."""
    step = np.spacing(np.maximum(np.abs(wanted), np.finfo(found.dtype).tiny).astype(found.dtype))
    return float(np.max(np.abs(found - wanted) / step))


@pytest.mark.parametrize(
    ("function", "meaning"),
    [
        (kernels.softplus, lambda x: np.logaddexp(0, x)),
        (kernels.log_sigmoid, lambda x: -np.logaddexp(0, -x)),
    ],
)
def test_logarithms_of_sums_are_right_everywhere(
    function: Callable[[np.ndarray], np.ndarray], meaning: Callable[[np.ndarray], np.ndarray]
) -> None:
    x = ACROSS.astype(np.float32)
    assert units(function(x), meaning(x.astype(np.float64))) < 5
    assert units(function(ACROSS), meaning(ACROSS.astype(np.longdouble))) < 5
    for dtype in (np.float16, np.float32, np.float64):
        ends = np.array([np.inf, -np.inf, np.nan], dtype)
        with np.errstate(invalid="ignore"):
            wanted = meaning(ends.astype(np.float64))
        found = function(ends)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, np.where(np.isnan(ends), np.nan, wanted))
