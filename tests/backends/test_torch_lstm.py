"""An LSTM in a step is PyTorch's: which loops are, and which only look like one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nnc_numpy
import nnc_torch
import numpy as np
import pytest
import torch
from nnc_torch import kernels

from nnc.ops.registry import OPS
from nnc.passes.pipeline import optimize_training
from tests.backends.harness import load
from tests.backends.test_numpy_source import body
from tests.backends.torch_harness import as_numpy
from tests.std.program import training_of

IDS = np.random.default_rng(0).integers(0, 7, (4, 6)).astype(np.int32)
XS = np.random.default_rng(1).standard_normal((4, 6, 3)).astype(np.float32)

PROGRAM = """
language 1
data d {{
  ids: i32[N, T] = npz("data.npz", "ids")
  x: f32[N, T, 3] = npz("data.npz", "x")
  batch = 4
}}
{block}
train fit {{
  let net = Net()
  loss      = sum(net({argument})^2)
  optimizer = SGD(0.1)
  steps     = 5
}}
"""
OWN = """
block Net()(xs: f32[N, T, D]) -> f32[N, T, 5] {{
  param w: f32[D, 20] = glorot_uniform()
  param u: f32[5, 20] = glorot_uniform()
  param b: f32[20] = zeros()
  return scan x in xs over T with h = {h}([N, 5]), c = zeros([N, 5]) {{
    let i, f, g, o = split(x @ w + h @ u + b, 4)
    c = {c}
    h = sigmoid(o) * {squash}(c)
    yield {out}
  }}
}}
"""
PLAIN = {"h": "zeros", "c": "sigmoid(f) * c + sigmoid(i) * tanh(g)", "squash": "tanh", "out": "h"}

LSTMS = {
    "of embeddings": (
        "block Net()(ids: i32[N, T]) -> f32[N, T, 5] = ids |> Embedding(7, 3) |> LSTM(5)",
        "d.ids",
        1,
    ),
    "of data": ("block Net()(x: f32[N, T, D]) -> f32[N, T, 5] = x |> LSTM(5)", "d.x", 1),
    "two": (
        "block Net()(x: f32[N, T, D]) -> f32[N, T, 4] = x |> LSTM(5) |> Dense(3) |> LSTM(4)",
        "d.x",
        2,
    ),
    "the program's own": (OWN.format(**PLAIN), "d.x", 1),
}
OTHERS = {
    "from ones": {"h": "ones"},
    "gates in another order": {"c": "sigmoid(i) * c + sigmoid(f) * tanh(g)"},
    "another squash": {"squash": "sigmoid"},
    "its cells": {"out": "c"},
    "more than one loop gives": {"out": "h * c"},
}


def source_and_step(tmp_path: Path, block: str, argument: str) -> str:
    """The step, after it was seen to train like NumPy's."""
    text = PROGRAM.format(block=block, argument=argument)
    training = training_of(tmp_path, text, ids=IDS, x=XS)
    optimize_training(training)
    source = nnc_torch.backend.emit(training)
    numpy, pytorch = load(nnc_numpy.backend.emit(training)), load(source)
    batch = {"d.ids": IDS, "d.x": XS}
    wanted, found = numpy["init"](3), pytorch["init"](3)
    for t in range(3):
        scalars = numpy["step_scalars"](t, t, 3, t)
        wanted, losses = numpy["step"](wanted, batch, scalars)
        found, outs = pytorch["step"](found, pytorch["from_numpy"](batch), scalars)
        for key, value in {**wanted, **losses}.items():
            got = as_numpy({**found, **outs}[key])
            np.testing.assert_allclose(got, value, 2e-4, 2e-5, err_msg=key)
    return body(source, "step")


@pytest.mark.parametrize("name", LSTMS)
def test_an_lstm_is_one_call_and_its_gradient_another(tmp_path: Path, name: str) -> None:
    block, argument, count = LSTMS[name]
    step = source_and_step(tmp_path, block, argument)
    assert step.count(" = lstm(") == step.count(" = lstm_grad(") == count
    assert "unbind" not in step


@pytest.mark.parametrize("name", OTHERS)
def test_what_differs_from_an_lstm_stays_a_loop(tmp_path: Path, name: str) -> None:
    step = source_and_step(tmp_path, OWN.format(**{**PLAIN, **OTHERS[name]}), "d.x")
    assert "lstm(" not in step
    assert "unbind" in step


def test_a_step_with_an_lstm_is_not_compiled_on_a_cpu(tmp_path: Path) -> None:
    block, argument, _ = LSTMS["of data"]
    text = PROGRAM.format(block=block, argument=argument)
    training = training_of(tmp_path, text, ids=IDS, x=XS)
    optimize_training(training)
    module = load(nnc_torch.backend.emit(training))
    assert module["compiled"](module["step"]) is module["step"]


@pytest.mark.parametrize("has_onednn", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_kernels_compute_the_ops(
    monkeypatch: pytest.MonkeyPatch, dtype: Any, has_onednn: bool
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: has_onednn)
    draw = np.random.default_rng(0).standard_normal
    shapes = [(2, 3, 4), (4, 20), (5, 20), (20,), (2, 3, 5)]
    *arrays, dy = (draw(shape).astype(dtype) for shape in shapes)
    wanted = OPS["lstm"].evaluate(*arrays)
    with torch.no_grad():
        y, kept = kernels.lstm(*map(torch.from_numpy, arrays))
        found = kernels.lstm_grad(torch.from_numpy(dy), kept)
    assert not y.requires_grad
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    gradients = OPS["lstm_grad"].evaluate(dy, *arrays)
    for got, value in zip((y, *found), (wanted, *gradients), strict=True):
        np.testing.assert_allclose(got.numpy(), value, tolerance, tolerance)
