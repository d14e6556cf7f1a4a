"""An LSTM in a step is two functions of NumPy: which loops are, and that these compute the ops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nnc_numpy
import numpy as np
import pytest
from nnc_numpy import recurrent, rewrites

from nnc.ops.registry import OPS
from nnc.passes.pipeline import optimize_training
from tests.backends.harness import load
from tests.backends.test_numpy_source import body
from tests.backends.test_torch_lstm import IDS, LSTMS, OTHERS, OWN, PLAIN, PROGRAM, XS
from tests.std.program import training_of


def source_of(tmp_path: Path, block: str, argument: str) -> str:
    text = PROGRAM.format(block=block, argument=argument)
    training = training_of(tmp_path, text, ids=IDS, x=XS)
    optimize_training(training)
    return nnc_numpy.backend.emit(training)


def trained(source: str) -> dict[str, Any]:
    """The state and the loss after some steps."""
    emitted = load(source)
    state, out = emitted["init"](3), {}
    for t in range(3):
        scalars = emitted["step_scalars"](t, t, 3, t)
        state, out = emitted["step"](state, {"d.ids": IDS, "d.x": XS}, scalars)
    return {**state, **out}


@pytest.mark.parametrize("name", LSTMS)
def test_an_lstm_and_its_gradient_are_functions(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    block, argument, count = LSTMS[name]
    source = source_of(tmp_path, block, argument)
    step = body(source, "step")
    assert step.count(" = lstm(") == step.count(" = lstm_grad(") == count
    assert step.count("del kept") == count
    monkeypatch.setattr(rewrites, "replace_lstms", lambda *_: False)
    loops = source_of(tmp_path, block, argument)
    assert "in range(6)" in body(loops, "step")
    found = trained(source)
    for key, value in trained(loops).items():
        np.testing.assert_allclose(found[key], value, 2e-5, 2e-6, err_msg=key)


@pytest.mark.parametrize("name", OTHERS)
def test_what_differs_from_an_lstm_stays_a_loop(tmp_path: Path, name: str) -> None:
    step = body(source_of(tmp_path, OWN.format(**{**PLAIN, **OTHERS[name]}), "d.x"), "step")
    assert "lstm(" not in step


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (1, 1, 1, 1), (5, 7, 3, 2)])
def test_the_functions_compute_the_ops(dtype: Any, size: tuple[int, ...]) -> None:
    n, t, d, h = size
    draw = np.random.default_rng(0).standard_normal
    shapes = [(n, t, d), (d, 4 * h), (h, 4 * h), (4 * h,), (n, t, h)]
    *arrays, dy = (draw(shape).astype(dtype) for shape in shapes)
    wanted = (OPS["lstm"].evaluate(*arrays), *OPS["lstm_grad"].evaluate(dy, *arrays))
    y, kept = recurrent.lstm(*arrays)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for got, value in zip((y, *recurrent.lstm_grad(dy, kept)), wanted, strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, value, tolerance, tolerance)


@pytest.mark.parametrize("size", [-300.0, 300.0])
def test_gates_that_are_shut_or_open_have_a_gradient(size: float) -> None:
    """exp overflows there, and what is shut has no gradient."""
    rng = np.random.default_rng(0)
    x, w, u = (rng.normal(size=shape) for shape in ((2, 3, 1), (1, 8), (2, 8)))
    b = np.full(8, size)
    arrays = [array.astype(np.float32) for array in (x, w, u, b)]
    y, kept = recurrent.lstm(*arrays)
    assert np.isfinite(y).all()
    assert all(np.isfinite(grad).all() for grad in recurrent.lstm_grad(np.ones_like(y), kept))
