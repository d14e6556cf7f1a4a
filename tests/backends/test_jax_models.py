"""Every example program in JAX trains what it trains in NumPy."""

from functools import cache
from pathlib import Path
from typing import Any

import nnc_numpy
import numpy as np
import pytest
from nnc_jax import backend

from nnc.elaborate import load as load_program
from nnc.ir.program import Training
from nnc.passes.pipeline import optimize_training
from tests.backends.harness import load
from tests.backends.test_numpy_models import PROGRAMS, in_float64
from tests.backends.test_numpy_ops import assert_clean

#: of the largest element of an array, after STEPS steps: float64 for what is computed, float32 for
#: how well; there a relu that rounding turns over may change more, so it is one step
TOLERANCE = {"f64": (3, 1e-9), "f32": (1, 2e-5)}


@cache
def program(path: Path, name: str, dtype: str) -> Training:
    training = load_program(str(path)).training(name)
    return in_float64(training) if dtype == "f64" else training


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("path", "name"), PROGRAMS)
def test_steps(path: Path, name: str, dtype: str) -> None:
    training = program(path, name, dtype)
    optimize_training(training)
    here, there = load(backend.emit(training)), load(nnc_numpy.backend.emit(training))
    steps, tolerance = TOLERANCE[dtype]
    for phase in here["PROGRAM"]["phases"]:
        for step in phase["steps"]:
            state, wanted = here["init"](1), there["init"](1)
            for t in range(steps):
                batch = batch_of(training, t, dtype)
                scalars = there[step["scalars"]](step=t, updates=t, seed=1, draw=t)
                native = here["from_numpy"](batch)
                state, out = here[step["function"]](state, native, scalars)
                wanted, expected = there[step["function"]](wanted, batch, scalars)
            assert_close({**here["to_numpy"](state), **out}, {**wanted, **expected}, tolerance)


def assert_close(found: dict[str, Any], wanted: dict[str, Any], tolerance: float) -> None:
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        array, expected = np.asarray(found[name]), np.asarray(value)
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape), name
        error = np.max(np.abs(array - expected), initial=0.0)
        assert error <= tolerance * np.max(np.abs(expected), initial=1.0), name


def batch_of(training: Training, index: int, dtype: str) -> dict[str, np.ndarray]:
    merged: dict[str, np.ndarray] = {}
    for source in training.sources.values():
        merged |= source.train_batch(index, training.seed)
    wide = np.float64 if dtype == "f64" else np.float32
    return {k: v.astype(wide) if v.dtype.kind == "f" else v for k, v in merged.items()}


@pytest.mark.parametrize(("path", "name"), PROGRAMS)
def test_the_file_is_formatted_and_clean(path: Path, name: str, tmp_path: Path) -> None:
    training = load_program(str(path)).training(name)
    optimize_training(training)
    (tmp_path / "emitted.py").write_text(backend.emit(training))
    assert_clean(tmp_path)
