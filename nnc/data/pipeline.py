"""A reader and the transforms that follow it: what stands right of `=` in a field of `data`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnc.data.errors import BadValue, DataError
from nnc.data.files import Files
from nnc.data.readers import Loaded, Reader
from nnc.data.stages import Fitted, Transform


@dataclass(frozen=True)
class Pipeline:
    """`reader |> transform |> ...`."""

    reader: Reader
    transforms: tuple[Transform, ...] = ()

    @property
    def stages(self) -> tuple[Transform, ...]:
        """All transforms, those that belong to the reader first."""
        return (*self.reader.transforms(), *self.transforms)

    def read(self, files: Files) -> Loaded:
        """The samples as they stand in the file."""
        text, missing = self._allowed()
        return self.reader.read(files, text=text, missing=missing)

    def take(self, name: str, values: Any) -> Loaded:
        """Samples that came from elsewhere, checked like those of a file."""
        text, missing = self._allowed()
        return self.reader.take(name, values, text=text, missing=missing)

    def _allowed(self) -> tuple[bool, bool]:
        """Whether text and missing values may come from the reader: the first stage decides."""
        first = self.stages[0] if self.stages else Transform()
        return first.takes_text, first.takes_missing

    def at(self, path: str) -> "Pipeline":
        """The same pipeline over another file."""
        return replace(self, reader=replace(self.reader, path=path))

    def count(self, loaded: Loaded) -> int:
        """How many samples come of the rows of `loaded`."""
        n = len(loaded.values)
        for stage in self.stages:
            with _placed((), loaded):
                n = stage.count(n)
        return n

    def place(self, loaded: Loaded, row: int) -> str:
        """Where in its file sample `row` begins."""
        return loaded.place(_origin(self.stages, row))

    def fit(self, loaded: Loaded, train: np.ndarray) -> tuple["FittedPipeline", np.ndarray]:
        """The statistics of the samples `train` (ascending rows) and all transformed samples."""
        rows = [train]
        for stage in reversed(self.stages):
            rows.append(stage.sources(rows[-1]))
        rows.reverse()
        values, fitted = loaded.values, []
        for i, stage in enumerate(self.stages):
            with _placed(self.stages[:i], loaded):
                whole = stage.fits_on != "train" or len(rows[i]) == len(values)
                fitted.append(stage.fit(values if whole else values[rows[i]]))
                values = fitted[-1].apply(values)
        return FittedPipeline(self, loaded.values.shape[1:], tuple(fitted)), values


@dataclass(frozen=True)
class FittedPipeline:
    """A pipeline with the statistics of its stages, for raw samples of one shape."""

    pipeline: Pipeline
    sample: tuple[int, ...]
    stages: tuple[Fitted, ...]

    def apply(self, loaded: Loaded) -> np.ndarray:
        """New samples through the fitted transforms; E0511 where their shape is a new one."""
        values = loaded.values
        if values.shape[1:] != self.sample:
            new, old = (", ".join(["N", *map(str, s)]) for s in (values.shape[1:], self.sample))
            raise DataError(
                "E0511", f"{loaded.path} has the shape [{new}], but the training data [{old}]"
            )
        for i, stage in enumerate(self.stages):
            with _placed(self.pipeline.stages[:i], loaded):
                values = stage.apply(values)
        return values

    def facts(self) -> dict[str, Any]:
        """The facts of all stages."""
        return {key: value for stage in self.stages for key, value in stage.facts().items()}

    def state(self) -> dict[str, np.ndarray]:
        """All statistics, under `POSITION.TRANSFORM.NAME`."""
        return {
            f"{i}.{stage.name}.{key}": value
            for i, stage in enumerate(self.pipeline.stages)
            for key, value in self.stages[i].state().items()
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> "FittedPipeline":
        """The same pipeline with the statistics that `state()` gave."""
        stages = []
        for i, stage in enumerate(self.pipeline.stages):
            start = f"{i}.{stage.name}."
            own = {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
            try:
                stages.append(stage.restore(own))
            except (KeyError, ValueError) as fault:
                raise DataError(
                    "E0515",
                    f"the checkpoint has no usable statistics for `{stage.name}`: {fault}",
                    help="was it saved by a program with other transforms?",
                ) from None
        return replace(self, stages=tuple(stages))


def _origin(stages: tuple[Transform, ...], row: int) -> int:
    for stage in reversed(stages):
        row = int(stage.sources(np.array([row]))[0])
    return row


@contextmanager
def _placed(before: tuple[Transform, ...], loaded: Loaded) -> Iterator[None]:
    """Adds the place in the file to the `BadValue` of a stage that comes after `before`."""
    try:
        # What overflows is found, with its row, when the values are cast.
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except BadValue as bad:
        where = loaded.path if bad.row is None else loaded.place(_origin(before, bad.row))
        raise DataError(bad.code, f"{where}: {bad.message}", help=bad.help) from None
