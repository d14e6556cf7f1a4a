"""Every example program: its steps are NumPy's, its nets train as any `nn.Module` does."""

from pathlib import Path
from typing import Any

import nnc_numpy
import nnc_torch
import numpy as np
import pytest

from nnc.elaborate import load as load_program
from nnc.ir.program import Training
from nnc.passes.pipeline import optimize_training
from tests.backends.harness import load
from tests.backends.test_numpy_models import PROGRAMS, first_batch, in_float64
from tests.backends.test_numpy_ops import assert_clean
from tests.backends.torch_harness import as_numpy

TOLERANCE = {"f64": 1e-9, "f32": 2e-4}  # of the largest element, after a few steps
STEPS = 3


def emitted(training: Training) -> tuple[dict[str, Any], dict[str, Any]]:
    """The files of NumPy and of PyTorch, loaded."""
    optimize_training(training)
    return load(nnc_numpy.backend.emit(training)), load(nnc_torch.backend.emit(training))


def assert_close(found: Any, wanted: Any, tolerance: float, name: str) -> None:
    value, expected = as_numpy(found), np.asarray(wanted)
    assert (value.dtype, value.shape) == (expected.dtype, expected.shape), name
    scale = np.max(np.abs(expected), initial=1.0) if expected.dtype.kind == "f" else 0.0
    assert np.max(np.abs(value - expected), initial=0.0) <= tolerance * scale, name


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize(("path", "name"), PROGRAMS)
def test_steps_are_those_of_numpy(path: Path, name: str, dtype: str) -> None:
    training = load_program(str(path)).training(name)
    if dtype == "f64":
        training = in_float64(training)
    numpy, pytorch = emitted(training)
    batch = first_batch(training) if dtype == "f64" else training_batch(training)
    for phase in numpy["PROGRAM"]["phases"]:
        wanted, found = numpy["init"](1), pytorch["init"](1)
        for number in range(STEPS):
            for step in phase["steps"]:
                scalars = numpy[step["scalars"]](number, number, 1, number)
                assert pytorch[step["scalars"]](number, number, 1, number) == scalars
                wanted, losses = numpy[step["function"]](wanted, batch, scalars)
                given = pytorch["from_numpy"](batch)
                found, outs = pytorch[step["function"]](found, given, scalars)
                assert found.keys() == wanted.keys()
                for key, value in {**wanted, **losses}.items():
                    assert_close({**found, **outs}[key], value, TOLERANCE[dtype], key)


def training_batch(training: Training) -> dict[str, np.ndarray]:
    merged: dict[str, np.ndarray] = {}
    for source in training.sources.values():
        merged |= source.train_batch(0, training.seed)
    return merged


@pytest.mark.parametrize(("path", "name"), PROGRAMS)
def test_evaluation_and_inference_are_those_of_numpy(path: Path, name: str) -> None:
    training = load_program(str(path)).training(name)
    numpy, pytorch = emitted(training)
    wanted, found = numpy["init"](1), pytorch["init"](1)
    batch = training_batch(training)
    for e in numpy["PROGRAM"]["evaluations"]:
        expected = numpy[e["batch"]](wanted, batch, {})
        sums = pytorch[e["batch"]](found, pytorch["from_numpy"](batch), {})
        for key, value in expected.items():
            assert_close(sums[key], value, 1e-5, key)
        finished = numpy[e["finish"]](wanted, expected, {}, 32)
        for key, value in pytorch[e["finish"]](found, sums, {}, 32).items():
            assert_close(value, finished[key], 1e-5, key)
    for forward in numpy["PROGRAM"]["forwards"]:
        arguments = arguments_like(forward["arguments"], batch)
        expected = numpy[forward["function"]](wanted, **arguments)
        output = pytorch[forward["function"]](found, **pytorch["from_numpy"](arguments))
        assert_close(output, expected, 1e-5, forward["function"])


def arguments_like(types: dict[str, Any], batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values of the batch, cut to the shapes of the arguments."""
    chosen = {}
    for name, (_, shape) in types.items():
        value = next(v for v in batch.values() if v.ndim == len(shape))
        sizes = (slice(None if isinstance(dim, str) else dim) for dim in shape)
        chosen[name] = value[tuple(sizes)]
    return chosen


@pytest.mark.parametrize(("path", "name"), PROGRAMS)
def test_the_state_dict_has_the_paths_of_the_weights(path: Path, name: str) -> None:
    training = load_program(str(path)).training(name)
    _, pytorch = emitted(training)
    state = pytorch["init"](1)
    model = pytorch["model"](state)
    weights = {path for path, entry in training.state.items() if entry.kind != "optimizer"}
    assert set(model.state_dict()) == weights
    assert {name for name, _ in model.named_parameters()} == {
        path for path, entry in training.state.items() if entry.kind == "param"
    }
    for path_, value in model.state_dict().items():
        assert value.data_ptr() == state[path_].data_ptr()


@pytest.mark.parametrize(("path", "name"), PROGRAMS)
def test_the_file_is_formatted_and_clean(path: Path, name: str, tmp_path: Path) -> None:
    training = load_program(str(path)).training(name)
    optimize_training(training)
    (tmp_path / "emitted.py").write_text(nnc_torch.backend.emit(training))
    assert_clean(tmp_path)
