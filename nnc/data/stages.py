"""What a transform of a `data` section is: a description that is fitted, then applied.

Statistics come from the training part alone (a vocabulary from all samples: it is a fact of the
data, not an estimate).  The fitted form is kept in checkpoints and applied to new data as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from nnc.data.arguments import check_arguments


class Fitted(Protocol):
    """A transform with its statistics."""

    def apply(self, values: np.ndarray) -> np.ndarray:
        """The transformed samples; `BadValue` for one that it cannot take."""

    def state(self) -> dict[str, np.ndarray]:
        """The statistics as arrays of numbers, for a checkpoint."""

    def facts(self) -> dict[str, Any]:
        """What a program may know of the data at compile time, e.g. `classes`."""


@dataclass(frozen=True)
class Transform:
    """Base of the transforms; one without statistics is its own fitted form.

    `fits_on` is "train", "all" or "" (no statistics).  `takes_text` and `takes_missing` say that
    text and NaN may enter where the transform comes right after the reader.
    """

    name: ClassVar[str]
    fits_on: ClassVar[str] = ""
    takes_text: ClassVar[bool] = False
    takes_missing: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_arguments(self)

    def count(self, n: int) -> int:
        """How many samples come out for `n` that go in."""
        return n

    def sources(self, rows: np.ndarray) -> np.ndarray:
        """The rows of the input that the output's `rows` are made of, ascending if those are."""
        return rows

    def fit(self, values: np.ndarray) -> Fitted:
        """The transform with the statistics of `values`."""
        return self

    def restore(self, state: Mapping[str, np.ndarray]) -> Fitted:
        """The fitted form with the statistics of `state`; KeyError where one is missing."""
        return self

    def apply(self, values: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def facts(self) -> dict[str, Any]:
        return {}
