"""A whole program as NumPy source: what it computes, and that it stands alone."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnc_numpy import backend

from nnc.backend import load_source
from nnc.ir import host
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.program import Training
from nnc.ir.types import NUMPY_DTYPES
from tests.backends.harness import load
from tests.backends.programs import BATCH, CLASSES, FEATURES, digits
from tests.backends.test_numpy_ops import assert_clean

State = dict[str, np.ndarray]
TOLERANCE = {"f64": 1e-12, "f32": 2e-5}


@pytest.fixture(scope="module", params=["f32", "f64"])
def program(request: pytest.FixtureRequest) -> Training:
    return digits(dtype=request.param)


@pytest.fixture(scope="module")
def emitted(program: Training) -> dict[str, Any]:
    return load(backend.emit(program))


def batch(dtype: str, count: int = BATCH, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    x = draw.random((count, FEATURES)).astype(NUMPY_DTYPES[dtype])
    return {"digits.x": x, "digits.y": draw.integers(0, CLASSES, count).astype(np.int32)}


def dtype_of(program: Training) -> str:
    return program.state["net.dense_0.w"].type.dtype


def by_interpreter(
    graph: Graph, state: State, batch: Mapping[str, Any], scalars: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The outputs of `graph` with scalars rounded to their types, as a backend rounds them."""
    given = {**state, **batch, **scalars}
    inputs = [
        np.asarray(given[node.attrs["name"]], NUMPY_DTYPES[node.type.dtype])
        for node in map(graph.node, graph.inputs)
    ]
    return interpret(graph, inputs)


def test_init_is_what_the_initializers_say(program: Training, emitted: dict[str, Any]) -> None:
    state = emitted["init"](5)
    assert set(state) == set(program.state)
    for path, entry in program.state.items():
        (expected,) = interpret(entry.init, [np.uint64(5)] if entry.init.inputs else []).values()
        np.testing.assert_array_equal(state[path], expected, strict=True)


def test_a_step_is_what_its_graph_says(program: Training, emitted: dict[str, Any]) -> None:
    dtype = dtype_of(program)
    (step,) = program.phases[0].steps
    state: State = emitted["init"](1)
    for t in range(3):
        counters = {"step": t, "updates": t, "seed": 1, "draw": t}
        scalars = emitted["classify_scalars"](**counters)
        assert scalars == {k: host.evaluate(e, counters) for k, e in step.scalars.items()}
        expected = by_interpreter(step.graph, state, batch(dtype, seed=t), scalars)
        state, out = emitted["classify"](state, batch(dtype, seed=t), scalars)
        found = {**state, **{f"@{name}": value for name, value in out.items()}}
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, TOLERANCE[dtype], 1e-7, err_msg=name)
            assert np.asarray(found[name]).dtype == NUMPY_DTYPES[dtype]


@pytest.mark.parametrize("count", [BATCH, 7])
def test_an_evaluation_takes_batches_of_any_size(
    program: Training, emitted: dict[str, Any], count: int
) -> None:
    dtype = dtype_of(program)
    (evaluation,) = program.evaluations
    state = emitted["init"](1)
    given = batch(dtype, count)
    accumulators = emitted["evaluate_val_batch"](state, given, {})
    expected = by_interpreter(evaluation.batch, state, given, {})
    for name, value in expected.items():
        np.testing.assert_allclose(accumulators[name], value, TOLERANCE[dtype])
    found = emitted["evaluate_val_finish"](state, accumulators, {}, count)
    assert set(found) == {"loss", "metrics/accuracy"}
    assert found["metrics/accuracy"] == accumulators["hits"] / count


def test_forward_gives_an_array(program: Training, emitted: dict[str, Any]) -> None:
    dtype = dtype_of(program)
    state, x = emitted["init"](2), batch(dtype, 5)["digits.x"]
    (expected,) = by_interpreter(program.forwards[0].graph, state, {"x": x}, {}).values()
    np.testing.assert_allclose(emitted["forward"](state, x=x), expected, TOLERANCE[dtype], 1e-6)


def test_program_describes_the_file(program: Training, emitted: dict[str, Any]) -> None:
    described = emitted["PROGRAM"]
    assert described["state"]["net.dense_0.w"] == [dtype_of(program), [FEATURES, 256], "param"]
    assert described["phases"] == [
        {
            "name": "main",
            "count": 100,
            "steps": [{"function": "classify", "scalars": "classify_scalars", "times": 1}],
        }
    ]
    for phase in described["phases"]:
        assert all(step[k] in emitted for step in phase["steps"] for k in ("function", "scalars"))
    assert all(e[k] in emitted for e in described["evaluations"] for k in ("batch", "finish"))
    assert all(forward["function"] in emitted for forward in described["forwards"])


ALONE = """
import importlib.util, sys
sys.path.insert(0, {packages!r})
sys.modules["nnc"] = sys.modules["nnc_numpy"] = None  # importing them fails
import numpy as np
spec = importlib.util.spec_from_file_location("emitted", {path!r})
emitted = importlib.util.module_from_spec(spec)
spec.loader.exec_module(emitted)
x, y = np.full((64, 64), 0.5, np.float32), np.arange(64, dtype=np.int32) % 10
state, out = emitted.init(0), {{}}
for t in range(20):
    scalars = emitted.classify_scalars(t, t, 0, t)
    state, out = emitted.classify(state, {{"digits.x": x, "digits.y": y}}, scalars)
print(float(out["loss"]))
"""


def test_the_file_runs_where_there_is_no_nnc(tmp_path: Path) -> None:
    path = tmp_path / "out.py"
    path.write_text(backend.emit(digits()))
    packages = str(Path(np.__file__).parent.parent)
    script = ALONE.format(packages=packages, path=str(path))
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", script], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(np.log(10), rel=0.1)


def test_the_file_is_formatted_and_clean(tmp_path: Path) -> None:
    (tmp_path / "out.py").write_text(backend.emit(digits()))
    assert_clean(tmp_path)


def test_emitting_is_deterministic_and_leaves_the_program_alone() -> None:
    program = digits()
    sizes = [len(step.graph) for step in program.phases[0].steps]
    assert backend.emit(program) == backend.emit(program) == backend.emit(digits())
    assert [len(step.graph) for step in program.phases[0].steps] == sizes


def test_load_source_leaves_no_module_behind(tmp_path: Path) -> None:
    path = tmp_path / "emitted_digits.py"
    path.write_text(backend.emit(digits()))
    module = load_source(path)
    assert set(module.init(0)) == set(digits().state)
    assert "emitted_digits" not in sys.modules
    assert [p.name for p in tmp_path.iterdir()] == ["emitted_digits.py"]
