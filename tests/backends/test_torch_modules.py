"""The nets of a program as `nn.Module`s: their structure, and their gradients by autograd."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nnc_torch
import numpy as np
import pytest
import torch

from nnc.ir.interpret import as_float64
from nnc.ir.program import Training
from nnc.passes.pipeline import optimize_training
from tests.backends.harness import load
from tests.backends.test_numpy_models import in_float64
from tests.backends.test_numpy_ops import assert_clean
from tests.std.program import training_of

#: plain gradient descent at rate 1: what a step takes from the weights is the gradient
PROGRAM = """
language 1
block Descent()(p: f32[...], grad: f32[...]) -> f32[...] = p - grad
data d {{
  x: {x} = npz("data.npz", "x")
  y: {y} = npz("data.npz", "y")
  batch = {batch}
}}
{blocks}
train fit {{
  let net = Net()
  let out = net(d.x)
  loss      = mean((out - d.y) * (out - d.y))
  optimizer = Descent()
  steps     = 1
}}
"""
DTYPES = {"f": "f32", "i": "i32"}


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng([7, *shape]).standard_normal(shape).astype(np.float32)


def whole(high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([7, *shape]).integers(0, high, shape).astype(np.int32)


#: name -> the blocks, of which `Net` is the net; x; y
NETS: dict[str, tuple[str, np.ndarray, np.ndarray]] = {
    "layers": (
        "block Net()(x: f32[N, D]) -> f32[N, 2] =\n"
        "  x |> Dense(5) |> relu |> repeat 3 { Dense(5) |> tanh } |> Dense(2)",
        normal(4, 3),
        normal(4, 2),
    ),
    "convolutions": (
        "block Down(c: int)(x: f32[N, H, W, C]) =\n"
        "  x |> Conv(c, 3, bias = false) |> LayerNorm() |> relu |> max_pool(2)\n"
        "block Net()(x: f32[N, H, W, C]) -> f32[N, 2] =\n"
        "  x |> for c in [4, 6] { Down(c) } |> Conv(3, 2, stride = 2) |> flatten |> Dense(2)",
        normal(2, 9, 8, 2),
        normal(2, 2),
    ),
    "recurrence": (
        "block Net()(ids: i32[N, T]) -> f32[N, T, 2] =\n"
        "  ids |> Embedding(7, 3) |> LSTM(4) |> Dense(2)",
        whole(7, 3, 5),
        normal(3, 5, 2),
    ),
    "attention": (
        "block Layer()(x: f32[N, T, D]) -> f32[N, T, D] {\n"
        "  let a = x + (x |> LayerNorm() |> MultiHeadAttention(2, causal = true))\n"
        "  return a + (a |> LayerNorm() |> Dense(8) |> gelu |> Dense(D))\n}\n"
        "block Net()(x: f32[N, T, D]) -> f32[N, T, D] = x |> repeat 2 { Layer() } |> LayerNorm()",
        normal(2, 3, 4),
        normal(2, 3, 4),
    ),
    "shared": (
        "block Twice(inner: stage)(x: f32[N, D]) -> f32[N, D] = x |> inner |> tanh |> inner\n"
        "block Net()(x: f32[N, D]) -> f32[N, D] {\n"
        "  let layer = Dense(D)\n"
        "  return Twice(layer)(x) + layer(x)\n}",
        normal(4, 3),
        normal(4, 3),
    ),
    "kinks": (
        "block Net()(x: f32[N, D]) -> f32[N, D] {\n"
        "  param w: f32[D] = zeros()\n"
        "  let y = x * w\n"
        "  let a = maximum(y, x * 0) + minimum(y, 0) + abs(y) + sqrt(y * y) + relu(y)\n"
        "  return a + reshape(max(concat(y, y), axis = -1), [N, 1])\n}",
        normal(4, 3),
        normal(4, 3),
    ),
    "own gradients": (
        "fn scale(g: f32[...], k: f32) -> f32[...] = g * k\n"
        "block Net()(x: f32[N, D]) -> f32[N, 2] {\n"
        "  let h = x |> Dense(4)\n"
        "  let b = with_gradient(round(h), via = h)\n"
        "  let r = on_gradient(b + stop_gradient(h), scale(-0.5))\n"
        "  return r |> Dense(2)\n}",
        normal(4, 3),
        normal(4, 2),
    ),
    "buffers": (
        "block Net()(x: f32[N, D]) -> f32[N, D] {\n"
        "  buffer scale: f32[D] = ones()\n"
        "  param type: f32[D] = ones()\n"
        "  param training: f32[D] = zeros()\n"
        "  buffer forward: f32[D] = ones()\n"
        "  return x * scale * type + training * forward\n}",
        normal(4, 3),
        normal(4, 3),
    ),
}


def emitted(root: Path, name: str) -> tuple[Training, str]:
    """The program of a net, computing in float64, and its file."""
    blocks, x, y = NETS[name]
    types = {
        key: f"{DTYPES[array.dtype.kind]}[{', '.join(['N', *map(str, array.shape[1:])])}]"
        for key, array in (("x", x), ("y", y))
    }
    text = PROGRAM.format(blocks=blocks, batch=len(x), **types)
    training = wide(training_of(root, text, x=x, y=y))
    optimize_training(training)
    return training, nnc_torch.backend.emit(training)


def wide(training: Training) -> Training:
    """The same program in float64, its nets too."""
    forwards = [
        replace(f, graph=as_float64(f.graph), structured=as_float64(f.structured))
        for f in training.forwards
    ]
    return replace(in_float64(training), forwards=forwards)


def classes(source: str) -> str:
    return source[source.index("class ") : source.index("def init(")]


@pytest.mark.parametrize("name", NETS)
def test_autograd_gives_the_gradients_of_the_step(tmp_path: Path, name: str) -> None:
    training, source = emitted(tmp_path, name)
    module = load(source)
    _, x, y = NETS[name]
    arrays = {"d.x": x.astype(np.float64) if x.dtype.kind == "f" else x, "d.y": y.astype(float)}
    batch = module["from_numpy"](arrays)
    state = module["init"](1)
    net = module["model"]({path: value.clone() for path, value in state.items()})
    error = net(batch["d.x"]) - batch["d.y"]
    (error * error).mean().backward()
    before = {path: value.clone() for path, value in state.items()}
    after, _ = module["step"](state, batch, module["step_scalars"](0, 0, 1, 0))
    assert {path for path, _ in net.named_parameters()} == {
        path for path, entry in training.state.items() if entry.kind == "param"
    }
    assert set(net.state_dict()) == set(training.state)
    for path, parameter in net.named_parameters():
        expected = before[path] - after[path]
        assert parameter.grad is not None, path
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-9, atol=1e-11, msg=path)
