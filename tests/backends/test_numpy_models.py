"""Every example program: the emitted step is the step that the graph means."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnc_numpy import backend

from nnc.elaborate import load as load_program
from nnc.ir.interpret import interpret
from nnc.ir.program import Training
from nnc.ir.types import NUMPY_DTYPES
from nnc.passes.pipeline import optimize_training
from tests.backends.harness import load
from tests.backends.test_numpy_ops import assert_clean

MODELS = Path(__file__).parents[2] / "models"
PROGRAMS = [
    (path, name)
    for path in sorted(MODELS.glob("*.nn"))
    for name in load_program(str(path)).trainings
]


@pytest.mark.parametrize(("path", "name"), PROGRAMS, ids=[f"{p.stem}-{n}" for p, n in PROGRAMS])
def test_one_step(path: Path, name: str, tmp_path: Path) -> None:
    training = load_program(str(path)).training(name)
    original = {id(s.graph): s.graph.copy() for phase in training.phases for s in phase.steps}
    optimize_training(training)
    source = backend.emit(training)
    (tmp_path / f"{path.stem}.py").write_text(source)
    assert_clean(tmp_path)
    emitted = load(source)
    for phase, described in zip(training.phases, emitted["PROGRAM"]["phases"], strict=True):
        for step, names in zip(phase.steps, described["steps"], strict=True):
            counters = {"step": 3, "updates": 3, "seed": 1, "draw": 3}
            scalars = emitted[names["scalars"]](**counters)
            state, batch = emitted["init"](1), first_batch(training)
            wanted = expected(original[id(step.graph)], {**state, **batch, **scalars})
            new, out = emitted[names["function"]](dict(state), batch, scalars)
            found = {**new, **{f"@{key}": value for key, value in out.items()}}
            for key, value in wanted.items():
                # An update divides by sqrt(v) of tiny gradients: compare within the whole array.
                scale = float(np.max(np.abs(value), initial=1e-3))
                np.testing.assert_allclose(found[key], value, 1e-3, 1e-3 * scale, err_msg=key)


def first_batch(training: Training) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for source in training.sources.values():
        merged |= source.train_batch(0, training.seed)
    return merged


def expected(graph: Any, values: dict[str, Any]) -> dict[str, np.ndarray]:
    """The outputs of the graph before any pass."""
    inputs = [
        np.asarray(values[node.attrs["name"]], NUMPY_DTYPES[node.type.dtype])
        for node in map(graph.node, graph.inputs)
    ]
    return interpret(graph, inputs)
