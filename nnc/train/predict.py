"""New data into a model and its outputs into files: what `nnc predict` reads and writes.

An input that has the name of a field of the program's data goes through the transforms of that
field, with the statistics that the checkpoint holds, as the training data did.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnc.data import READERS, DataError, Source
from nnc.data.files import Files
from nnc.ir.types import TensorType
from nnc.language.diagnostics import error

#: samples that go through the model at once
CHUNK = 256
FORMATS = ("csv", "npz", "npy")


def read_input(name: str, path: Path, type: TensorType, sources: Mapping[str, Any]) -> np.ndarray:
    """The samples for the input `name`, as its model takes them; `sources` are fitted."""
    kind = file_format(path, FORMATS)
    source = next((s for s in sources.values() if name in s.fields), None)
    if source is not None and source.fields[name].pipeline.reader.name == kind:
        return source.read_new(path, [name])[name]
    values = _raw(name, path, kind)
    if kind == "csv" and type.rank == 1 and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    return values if source is None else source.apply_new({name: values})[name]


def with_fitted(sources: Mapping[str, Source], fitted: Mapping[str, Any]) -> dict[str, Source]:
    """The sources with the statistics of a checkpoint."""
    return {name: source.with_fitted(fitted.get(name, {})) for name, source in sources.items()}


def in_chunks(
    run: Callable[..., Any], inputs: Mapping[str, np.ndarray], batched: bool
) -> dict[str, np.ndarray]:
    """The outputs of `run(*inputs)` by name ("output" for one that has none).

    Where `batched`, the first axis of each input counts samples, and they go through in chunks.
    """
    if not batched:
        return _named(run(*inputs.values()))
    counts = {name: len(values) for name, values in inputs.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"`{name}` has {count}" for name, count in counts.items())
        raise error("E0707", f"the inputs differ in samples: {listed}")
    parts = []
    for start in range(0, next(iter(counts.values())), CHUNK):
        parts.append(_named(run(*(x[start : start + CHUNK] for x in inputs.values()))))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def to_csv(outputs: Mapping[str, np.ndarray]) -> str:
    """A header and a row a sample; `NAME_0`, `NAME_1` ... for an output with several numbers."""
    columns: dict[str, np.ndarray] = {}
    for name, values in outputs.items():
        if values.ndim > 2 or values.ndim == 0:
            shape = list(values.shape)
            raise error(
                "E0707",
                f"`{name}` of shape {shape} does not fit into a table",
                help="write an npz file: `-o out.npz`",
            )
        many = values.ndim == 2
        names = [f"{name}_{k}" for k in range(values.shape[1])] if many else [name]
        columns |= zip(names, values.T if many else [values], strict=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(map(str, column) for column in columns.values()), strict=True))
    return text.getvalue()


def to_npz(outputs: Mapping[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez(content, **outputs)  # type: ignore[arg-type]
    return content.getvalue()


def file_format(path: Path, known: tuple[str, ...]) -> str:
    """`csv` for `x.csv` and `x.csv.gz`, and so on; an error for one that is not `known`."""
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind not in known:
        listed = ", ".join(f"`.{k}`" for k in known)
        raise error("E0707", f"{path} has none of the endings {listed}")
    return kind


def _raw(name: str, path: Path, kind: str) -> np.ndarray:
    """The array in a file: of an npz the one called `name`, or its only one."""
    files, reader = Files(path.parent), READERS[kind]
    if kind != "npz":
        return reader(path.name).read(files).values
    try:
        return READERS["npz"](path.name, key=name).read(files).values  # type: ignore[call-arg]
    except DataError as problem:
        if problem.diagnostics[0].code != "E0508":
            raise
        return reader(path.name).read(files).values


def _named(result: Any) -> dict[str, np.ndarray]:
    named = result if isinstance(result, dict) else {"output": result}
    return {name: np.asarray(value) for name, value in named.items()}
