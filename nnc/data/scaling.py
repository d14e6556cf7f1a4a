"""Transforms of numbers: computed in float64, rounded once to the declared type at the end."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnc.data.arguments import bad_argument
from nnc.data.errors import BadValue
from nnc.data.stages import Fitted, Transform

Axes = int | list | tuple | None


@dataclass(frozen=True)
class Scale(Transform):
    """x * factor."""

    name = "scale"
    factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _need_finite(self, "factor")

    def apply(self, values: np.ndarray) -> np.ndarray:
        return values.astype(np.float64) * self.factor


@dataclass(frozen=True)
class Clip(Transform):
    """x limited to [low, high]."""

    name = "clip"
    low: float
    high: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _need_order(self)

    def apply(self, values: np.ndarray) -> np.ndarray:
        return np.clip(values.astype(np.float64), self.low, self.high)


@dataclass(frozen=True)
class Log1p(Transform):
    """ln(1 + x), for x > -1."""

    name = "log1p"

    def apply(self, values: np.ndarray) -> np.ndarray:
        bad = values <= -1
        if bad.any():
            index = tuple(np.argwhere(bad)[0])
            message = f"log1p of {values[index].item()}: it is defined above -1"
            raise BadValue("E0515", message, row=int(index[0]))
        return np.log1p(values.astype(np.float64))


@dataclass(frozen=True)
class Normalize(Transform):
    """(x - mean) / std over the training part; a constant column becomes 0.

    `axis`: the axes with statistics of their own, the last one by default (each column of a table,
    each channel of images); none: one mean and one std for all values.  std divides by the count.
    """

    name = "normalize"
    fits_on = "train"
    axis: Axes = -1

    def fit(self, values: np.ndarray) -> Fitted:
        over = _reduced_axes(self, values, self.axis)
        values = values.astype(np.float64)
        mean, std = values.mean(over, keepdims=True)[0], values.std(over, keepdims=True)[0]
        # Rounding alone gives a constant column a tiny std (the rule of scikit-learn's scalers).
        varies = std > 10 * np.finfo(np.float64).eps * np.abs(mean)
        center = np.where(varies, mean, values.min(over, keepdims=True)[0])
        return Affine(center, np.where(varies, std, 1.0), np.zeros(()))

    def restore(self, state: Mapping[str, np.ndarray]) -> Fitted:
        return Affine(state["center"], state["spread"], state["low"])


@dataclass(frozen=True)
class Rescale(Transform):
    """Linear from [least, greatest] of the training part to [low, high]; a constant goes to low.

    `axis` as in `normalize`.
    """

    name = "rescale"
    fits_on = "train"
    low: float = 0.0
    high: float = 1.0
    axis: Axes = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        _need_order(self)

    def fit(self, values: np.ndarray) -> Fitted:
        over = _reduced_axes(self, values, self.axis)
        values = values.astype(np.float64)
        least, greatest = values.min(over, keepdims=True)[0], values.max(over, keepdims=True)[0]
        extent = np.where(greatest > least, greatest - least, 1.0)
        return Affine(least, extent / (self.high - self.low), np.asarray(self.low, np.float64))

    def restore(self, state: Mapping[str, np.ndarray]) -> Fitted:
        return Affine(state["center"], state["spread"], state["low"])


@dataclass(frozen=True)
class Affine:
    """(x - center) / spread + low; `center` and `spread` broadcast against one sample."""

    center: np.ndarray
    spread: np.ndarray
    low: np.ndarray

    def apply(self, values: np.ndarray) -> np.ndarray:
        return (values.astype(np.float64) - self.center) / self.spread + self.low

    def state(self) -> dict[str, np.ndarray]:
        return {"center": self.center, "spread": self.spread, "low": self.low}

    def facts(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class FillMissing(Transform):
    """A number in place of missing values: `value`, or each column's "mean" or "median".

    Mean and median are those of the training part.
    """

    name = "fill_missing"
    fits_on = "train"
    takes_missing = True
    value: float | str = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.value, str) and self.value not in ("mean", "median"):
            raise bad_argument(self, f'`value` is "mean", "median" or a number, not {self.value!r}')
        if not isinstance(self.value, str):
            _need_finite(self, "value")

    def fit(self, values: np.ndarray) -> Fitted:
        values = values.astype(np.float64)
        if not isinstance(self.value, str):
            return Filler(np.asarray(self.value, np.float64))
        table = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)
        empty = np.isnan(table).all(axis=0)
        if empty.any():
            column = f"column {int(np.argmax(empty))} has" if values.ndim > 1 else "there is"
            raise BadValue(
                "E0507",
                f"{column} no value in the training part to take the {self.value} of",
                help="give a number: `fill_missing(0)`",
            )
        middle = (np.nanmean if self.value == "mean" else np.nanmedian)(table, axis=0)
        return Filler(middle if values.ndim > 1 else middle[0])

    def restore(self, state: Mapping[str, np.ndarray]) -> Fitted:
        return Filler(state["value"])


@dataclass(frozen=True)
class Filler:
    """`value` where a sample is NaN."""

    value: np.ndarray

    def apply(self, values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float64)
        return np.where(np.isnan(values), self.value, values)

    def state(self) -> dict[str, np.ndarray]:
        return {"value": np.asarray(self.value)}

    def facts(self) -> dict[str, Any]:
        return {}


def _need_finite(call: Any, *names: str) -> None:
    for name in names:
        if not math.isfinite(getattr(call, name)):
            raise bad_argument(call, f"`{name}` must be finite, not {getattr(call, name)!r}")


def _need_order(call: Any) -> None:
    _need_finite(call, "low", "high")
    if call.low >= call.high:
        raise bad_argument(call, f"`low` must be below `high`: {call.low:g} and {call.high:g}")


def _reduced_axes(call: Any, values: np.ndarray, axis: Axes) -> tuple[int, ...]:
    """All axes but those of `axis`; samples without axes of their own share one statistic."""
    rank = values.ndim
    if axis is None or rank == 1:
        return tuple(range(rank))
    kept = set()
    for a in axis if isinstance(axis, (list, tuple)) else (axis,):
        if type(a) is not int or not -rank <= a < rank or a % rank == 0:
            raise BadValue(
                "E0515",
                f"{call.name}: axis {a!r} is no axis of a sample; the values have the shape "
                f"[N, {', '.join(map(str, values.shape[1:]))}]",
                help="the axes of a sample count from 1; -1 is the last",
            )
        kept.add(a % rank)
    return tuple(a for a in range(rank) if a not in kept)
