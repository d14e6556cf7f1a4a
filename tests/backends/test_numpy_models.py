"""Every example program, in float64: the emitted step is the step that the graph means."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnc_numpy import backend

from nnc.elaborate import load as load_program
from nnc.ir.graph import Graph
from nnc.ir.interpret import as_float64, interpret
from nnc.ir.program import Training
from nnc.ir.types import NUMPY_DTYPES
from nnc.passes.pipeline import optimize_training
from tests.backends.harness import load
from tests.backends.test_numpy_ops import assert_clean

MODELS = Path(__file__).parents[2] / "models"
PROGRAMS = [
    pytest.param(path, name, id=f"{path.stem}-{name}")
    for path in sorted(MODELS.glob("*.nn"))
    for name in load_program(str(path)).trainings
]
TOLERANCE = 1e-9  # of the largest element: updates divide by roots of tiny second moments


@pytest.mark.parametrize(("path", "name"), PROGRAMS)
def test_one_step(path: Path, name: str) -> None:
    training = in_float64(load_program(str(path)).training(name))
    original = {id(s.graph): s.graph.copy() for phase in training.phases for s in phase.steps}
    optimize_training(training)
    emitted = load(backend.emit(training))
    for phase, described in zip(training.phases, emitted["PROGRAM"]["phases"], strict=True):
        for step, names in zip(phase.steps, described["steps"], strict=True):
            scalars = emitted[names["scalars"]](step=3, updates=3, seed=1, draw=3)
            state, batch = emitted["init"](1), first_batch(training)
            wanted = expected(original[id(step.graph)], {**state, **batch, **scalars})
            new, out = emitted[names["function"]](dict(state), batch, scalars)
            found = {**new, **{f"@{key}": value for key, value in out.items()}}
            for key, value in wanted.items():
                error = np.max(np.abs(found[key] - value))
                assert error <= TOLERANCE * np.max(np.abs(value), initial=1.0), key


@pytest.mark.parametrize(("path", "name"), PROGRAMS)
def test_the_file_is_formatted_and_clean(path: Path, name: str, tmp_path: Path) -> None:
    training = load_program(str(path)).training(name)
    optimize_training(training)
    (tmp_path / "emitted.py").write_text(backend.emit(training))
    assert_clean(tmp_path)


def in_float64(training: Training) -> Training:
    """The same program computing in float64, state included."""
    state = {
        path: replace(entry, type=entry.type.with_dtype("f64"), init=as_float64(entry.init))
        if entry.type.is_float
        else entry
        for path, entry in training.state.items()
    }
    phases = [
        replace(p, steps=[replace(s, graph=as_float64(s.graph)) for s in p.steps])
        for p in training.phases
    ]
    return replace(training, state=state, phases=phases, evaluations=[], forwards=[])


def first_batch(training: Training) -> dict[str, Any]:
    """The first training batch of every source, its floats in float64."""
    merged: dict[str, np.ndarray] = {}
    for source in training.sources.values():
        merged |= source.train_batch(0, training.seed)
    return {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in merged.items()}


def expected(graph: Graph, values: dict[str, Any]) -> dict[str, np.ndarray]:
    """The outputs of the graph before any pass."""
    inputs = [
        np.asarray(values[node.attrs["name"]], NUMPY_DTYPES[node.type.dtype])
        for node in map(graph.node, graph.inputs)
    ]
    return interpret(graph, inputs)
