"""A `data` section that was read: its arrays, its parts, and the batches of every step.

Batches are a function of the step's index, so that a run can go on exactly where it stopped.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nnc.data.cast import cast
from nnc.data.errors import DataError, blame
from nnc.data.files import Files
from nnc.data.pipeline import FittedPipeline, Pipeline
from nnc.data.readers import Loaded
from nnc.data.split import split_rows
from nnc.language.diagnostics import suggest
from nnc.random import permutation


@dataclass(frozen=True)
class FieldSpec:
    """`name: dtype[N, *shape] = pipeline`; a None in `shape` takes its size from the data."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    pipeline: Pipeline

    def accept(self, values: np.ndarray, place: Any) -> np.ndarray:
        """Transformed `values` as the declared type; E0511 where the shapes differ."""
        have = values.shape[1:]
        if len(have) != len(self.shape) or any(
            d not in (None, h) for d, h in zip(self.shape, have, strict=True)
        ):
            raise DataError(
                "E0511",
                f"`{self.name}` is declared {self.dtype}{_shape_text(self.shape)}, "
                f"but its data has the shape {_shape_text(have)}",
                help=_shape_help(self.shape, have),
            )
        return cast(values, self.dtype, place)


@dataclass(frozen=True, eq=False)
class Source:
    """The samples of a `data` section, ready for training.

    `arrays`: field -> array [N, ...]; `parts`: part -> its rows, ascending; `facts`: what is known
    at compile time, by field.
    """

    name: str
    fields: dict[str, FieldSpec]
    arrays: dict[str, np.ndarray]
    parts: dict[str, np.ndarray]
    batch: int
    shuffle: bool
    facts: dict[str, dict[str, Any]]
    _loaded: dict[str, Loaded] = field(repr=False)
    _fitted: dict[str, FittedPipeline] = field(repr=False)
    _orders: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, repr=False)

    @staticmethod
    def load(
        name: str,
        fields: Sequence[FieldSpec],
        root: Path,
        batch: int,
        split: Mapping[str, float] | None = None,
        shuffle: bool = True,
        seed: int = 0,
        roots: Sequence[Path] = (),
    ) -> "Source":
        """Reads, checks, splits, fits the transforms on the part `train`, applies them.

        `root` is the program's folder, `roots` further folders it may read from.  Without `shuffle`
        the parts follow one another in the file, and training takes its samples in that order.
        """
        files = Files(Path(root), tuple(map(Path, roots)))
        specs = {spec.name: spec for spec in fields}
        loaded, counts = {}, {}
        for spec in fields:
            with blame(spec.name):
                loaded[spec.name] = spec.pipeline.read(files)
                counts[spec.name] = spec.pipeline.count(loaded[spec.name])
        parts = split_rows(name, _common_count(name, counts), split, shuffle, seed)
        _check_batch(name, batch, len(parts["train"]))
        arrays, fitted = {}, {}
        for spec in fields:
            with blame(spec.name):
                raw = loaded[spec.name]
                fitted[spec.name], values = spec.pipeline.fit(raw, parts["train"])
                arrays[spec.name] = spec.accept(values, _placer(spec.pipeline, raw))
                # From here on only the places in the file are needed.
                loaded[spec.name] = replace(raw, values=np.empty(0))
        facts = {key: _label_facts(arrays[key]) | fitted[key].facts() for key in specs}
        return Source(name, specs, arrays, parts, batch, shuffle, facts, loaded, fitted)

    @property
    def count(self) -> int:
        """The number of samples, of all parts."""
        return sum(map(len, self.parts.values()))

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the part `train`; the partial one is dropped."""
        return len(self.parts["train"]) // self.batch

    @property
    def merged_facts(self) -> dict[str, Any]:
        """`count`, and the facts on which the fields that have them agree."""
        merged = {key: value for facts in self.facts.values() for key, value in facts.items()}
        return {"count": self.count} | {
            key: value
            for key, value in merged.items()
            if all(facts.get(key, value) == value for facts in self.facts.values())
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the arrays and the split: equal for equal data."""
        sha = hashlib.sha256()
        for kind, entries in (("field", self.arrays), ("part", self.parts)):
            for key, array in sorted(entries.items()):
                sha.update(f"{kind} {key} {array.dtype} {array.shape}\n".encode())
                sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()

    # ------------------------------------------------------------ batches
    def epoch_order(self, epoch: int, seed: int) -> np.ndarray:
        """The rows of `train` in the order of an epoch, from the stream `shuffle/NAME`."""
        rows = self.parts["train"]
        if not self.shuffle:
            return rows
        if (epoch, seed) not in self._orders:
            self._orders.clear()
            order = permutation(seed, f"shuffle/{self.name}", epoch, len(rows))
            self._orders[epoch, seed] = rows[order]
        return self._orders[epoch, seed]

    def train_rows(self, index: int, seed: int) -> np.ndarray:
        """The rows of the batch of the step `index`, counted over all epochs."""
        epoch, step = divmod(index, self.steps_per_epoch)
        order = self.epoch_order(epoch, seed)
        return order[step * self.batch : (step + 1) * self.batch]

    def train_batch(self, index: int, seed: int) -> dict[str, np.ndarray]:
        """The batch of the step `index`, counted over all epochs: "NAME.FIELD" -> array."""
        return self.select(self.train_rows(index, seed))

    def batches(self, part: str) -> Iterator[dict[str, np.ndarray]]:
        """Every sample of a part once, in the order of the file; the last batch may be smaller."""
        rows = self.rows(part)
        return (self.select(rows[i : i + self.batch]) for i in range(0, len(rows), self.batch))

    def rows(self, part: str) -> np.ndarray:
        """The rows of a part; E0514 where there is no such part."""
        if part not in self.parts:
            known = "its parts are " + ", ".join(self.parts)
            raise DataError(
                "E0514",
                f"`{self.name}` has no part `{part}`",
                help=suggest(part, self.parts) or known,
                subject="split",
            )
        return self.parts[part]

    def select(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The samples in `rows`: "NAME.FIELD" -> array."""
        return {f"{self.name}.{key}": array[rows] for key, array in self.arrays.items()}

    # ------------------------------------------------------------ places and bounds
    def place(self, name: str, row: int) -> str:
        """Where sample `row` of a field stands in its file, e.g. `digits.csv.gz, row 17`."""
        return self.fields[name].pipeline.place(self._loaded[name], row)

    def check_index(self, name: str, size: int) -> None:
        """E0510 unless all values of a field index an axis of `size`."""
        values = self.arrays[name]
        bad = (values < 0) | (values >= size)
        if bad.any():
            index = tuple(np.argwhere(bad)[0])
            raise DataError(
                "E0510",
                f"{self.place(name, int(index[0]))}: label {values[index]} is out of range: "
                f"`{self.name}.{name}` indexes {size} classes, 0 to {size - 1}",
                help="classes are counted from 0; `|> categories()` numbers any labels so",
                subject=name,
            )

    # ------------------------------------------------------------ new data
    def fitted(self) -> dict[str, np.ndarray]:
        """All fitted statistics and vocabularies: `FIELD.POSITION.TRANSFORM.NAME` -> array."""
        return {
            f"{name}.{key}": value
            for name, fitted in self._fitted.items()
            for key, value in fitted.state().items()
        }

    def with_fitted(self, state: Mapping[str, np.ndarray]) -> "Source":
        """The source that treats new data with the statistics of a checkpoint."""
        fitted = {}
        for name, own in self._fitted.items():
            start = f"{name}."
            with blame(name):
                fitted[name] = own.restore(
                    {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
                )
        return replace(self, _fitted=fitted, _orders={})

    def apply_new(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Raw samples of some fields, as their readers give them, made ready for the model."""
        results = {}
        for name, values in inputs.items():
            with blame(name):
                loaded = self.fields[name].pipeline.take(name, values)
            results[name] = self._transform(name, loaded)
        return results

    def read_new(self, path: Path, fields: Sequence[str]) -> dict[str, np.ndarray]:
        """Some fields read from another file of the same form and made ready for the model."""
        files = Files(Path(path).parent)
        results = {}
        for name in fields:
            with blame(name):
                loaded = self.fields[name].pipeline.at(Path(path).name).read(files)
            results[name] = self._transform(name, loaded)
        _common_count(self.name, {name: len(values) for name, values in results.items()})
        return results

    def _transform(self, name: str, loaded: Loaded) -> np.ndarray:
        spec = self.fields[name]
        with blame(name):
            values = self._fitted[name].apply(loaded)
            return spec.accept(values, _placer(spec.pipeline, loaded))


def _placer(pipeline: Pipeline, loaded: Loaded) -> Any:
    return lambda row: pipeline.place(loaded, row)


def _common_count(name: str, counts: Mapping[str, int]) -> int:
    if not counts:
        raise DataError("E0513", f"`{name}` has no fields, so no samples")
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"`{key}` has {count}" for key, count in counts.items())
        raise DataError("E0512", f"the fields of `{name}` differ in samples: {listed}")
    return next(iter(counts.values()))


def _check_batch(name: str, batch: int, samples: int) -> None:
    if type(batch) is not int or batch < 1:
        raise DataError(
            "E0516", f"`batch` must be a whole number from 1, not {batch!r}", subject="batch"
        )
    if samples < batch:
        raise DataError(
            "E0513",
            f"`{name}` has {samples} samples to train on, fewer than one batch of {batch}",
            help=f"set `batch` to {samples} or less",
            subject="batch",
        )


def _label_facts(values: np.ndarray) -> dict[str, Any]:
    """`classes` of a field of labels: one above the greatest."""
    if values.dtype.kind in "iu" and values.ndim == 1 and values.min() >= 0:
        return {"classes": int(values.max()) + 1}
    return {}


def _shape_text(shape: Sequence[int | None]) -> str:
    return f"[{', '.join(['N', *('_' if d is None else str(d) for d in shape)])}]"


def _shape_help(declared: tuple[int | None, ...], have: tuple[int, ...]) -> str:
    sizes = [d for d in declared if d is not None]
    if len(sizes) == len(declared) and math.prod(sizes) == math.prod(have):
        return f"add `|> reshape([{', '.join(map(str, sizes))}])`"
    return f"declare {_shape_text(have)}, or select other columns" if len(have) < 2 else ""
