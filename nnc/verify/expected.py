"""What a graph gives in exact arithmetic, and the tolerance that rounding deserves.

The tolerance of each element is `SAFETY` times the root mean square of its deviations in `SAMPLES`
runs of Monte Carlo arithmetic (`montecarlo`).  An honest error over an estimate from n samples is
distributed as Student's t with n degrees of freedom: with 8 samples it exceeds 32 once in 10^9
elements, which is less than once in all that a verification compares.  So the factor pays for the
few samples, and for nothing else: the sizes of the errors themselves are bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnc.verify.montecarlo import Arrays, Machine, Noise, Pins

SAMPLES = 8
SAFETY = 32.0


@dataclass(frozen=True)
class Error:
    """The largest error of an output, as a `difference` and over its tolerance; `at` which call."""

    ratio: float = 0.0
    difference: float = 0.0
    at: str = ""


@dataclass(frozen=True)
class Expected:
    """`values` in exact arithmetic; `spread` is how far rounding takes each element from them."""

    values: Arrays
    spread: Arrays

    def ratio(self, name: str, found: Any) -> float:
        """The largest error of an output over its tolerance; above 1 it is wrong."""
        ratios = self.ratios(name, found)
        return float(np.max(ratios, initial=0.0))

    def errors(self, found: Mapping[str, Any], at: str) -> dict[str, Error]:
        """The error of each output of the call `at`."""
        return {
            name: Error(self.ratio(name, value), self.difference(name, value), at)
            for name, value in found.items()
        }

    def difference(self, name: str, found: Any) -> float:
        """The largest absolute error of an output."""
        value = self.values[name]
        if np.shape(found) != value.shape:
            return np.inf
        return float(np.max(difference(found, value), initial=0.0))

    def ratios(self, name: str, found: Any) -> np.ndarray:
        """Error over tolerance for each element; infinite where the shape is another."""
        value, found = self.values[name], np.asarray(found)
        if found.shape != value.shape:
            return np.full(value.shape, np.inf)
        return over(difference(found, value), SAFETY * self.spread[name])


def expect(
    meaning: Machine, arithmetic: Machine, inputs: Mapping[str, Any], pins: Pins | None = None
) -> Expected:
    """The exact outputs of `meaning`, with tolerances from runs of `arithmetic`.

    Both have the same outputs; `arithmetic` is the graph whose roundings count, expanded.
    """
    center = arithmetic.run(inputs, pins=pins)
    squares: Arrays = {name: np.zeros(value.shape) for name, value in center.items()}
    sizes: list[Any] = []
    for seed in range(SAMPLES):
        sample = arithmetic.run(inputs, Noise(seed, sizes), pins)
        for name, value in center.items():
            squares[name] += difference(sample[name], value) ** 2
    spread = {name: np.sqrt(total / SAMPLES) for name, total in squares.items()}
    return Expected(meaning.run(inputs, pins=pins), spread)


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b| in float64: 0 where both are the same infinity or nan, infinite where one is."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(all="ignore"):
        apart = np.abs(a - b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))


def over(error: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """`error` over `tolerance`; no error is 0 of any tolerance, an error without one infinite.

    Where rounding itself may end in an infinity, nothing can be said, and the ratio is 0.
    """
    with np.errstate(all="ignore"):
        ratio = error / tolerance
    ratio = np.where(np.isnan(ratio), np.inf, ratio)
    return np.where((error == 0) | np.isinf(tolerance), 0.0, ratio)
