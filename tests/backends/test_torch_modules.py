"""The nets of a program as `nn.Module`s: their structure, and their gradients by autograd."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nnc_torch
import numpy as np
import pytest
import torch

from nnc.ir.interpret import as_float64
from nnc.ir.program import Training
from nnc.language.diagnostics import NncError
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
    "nested": (
        "block Net()(x: f32[N, D]) -> f32[N, 2] =\n"
        "  x |> for c in [4, 6] { Dense(c) |> relu |> repeat 2 { Dense(c) |> tanh } } |> Dense(2)",
        normal(4, 3),
        normal(4, 2),
    ),
    "tied": (
        "block Net()(ids: i32[N, T]) -> f32[N, T, 5] {\n"
        "  let e = Embedding(5, 3)\n"
        "  return (e(ids) |> Dense(3) |> tanh) @ transpose(e.table)\n}",
        whole(5, 2, 4),
        normal(2, 4, 5),
    ),
    "buffers": (
        "block Net()(x: f32[N, D]) -> f32[N, D] {\n"
        "  buffer scale: f32[D] = ones()\n"
        "  param type: f32[D] = ones()\n"
        "  buffer forward: f32[D] = ones()\n"
        "  return x * scale * type + forward\n}",
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


@pytest.mark.parametrize("name", NETS)
def test_all_sources_are_formatted_and_clean(tmp_path: Path, name: str) -> None:
    _, source = emitted(tmp_path, name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "net.py").write_text(source)
    assert_clean(tmp_path / "out")


# ---------------------------------------------------------------- structure
def forward_of(source: str, name: str) -> str:
    """The body of a class's `forward`."""
    text = source.split(f"class {name}(nn.Module):")[1].split("\n\n\n")[0].split("def forward(")[1]
    lines = text.split("\n")[1:]
    return "\n".join(line.removeprefix(" " * 8) for line in lines if "# " not in line)


def test_repeated_layers_are_a_loop(tmp_path: Path) -> None:
    _, source = emitted(tmp_path, "layers")
    assert "self.dense_1 = nn.ModuleList(Dense(5, 5) for _ in range(3))" in source
    assert forward_of(source, "Net") == (
        "x = self.dense_0(x)\n"
        "x = torch.relu(x)\n"
        "for dense in self.dense_1:\n"
        "    x = dense(x)\n"
        "    x = torch.tanh(x)\n"
        "return self.dense_2(x)"
    )


def test_instances_that_differ_in_sizes_share_a_class(tmp_path: Path) -> None:
    _, source = emitted(tmp_path, "layers")
    assert source.count("class Dense(nn.Module):") == 1
    assert "class Dense2" not in source
    assert "def __init__(self, inputs: int, outputs: int) -> None:" in source
    assert '"""x: f64[N, inputs] -> f64[N, outputs] (std/layers.nn:' in source


def test_a_shared_instance_is_one_module(tmp_path: Path) -> None:
    _, source = emitted(tmp_path, "shared")
    assert forward_of(source, "Twice") == "x = layer(x)\nx = torch.tanh(x)\nreturn layer(x)"
    assert "def forward(self, x: Tensor, layer: nn.Module) -> Tensor:" in source
    assert "self.twice_0(x, self.layer)" in source


def test_a_scan_calls_its_cell(tmp_path: Path) -> None:
    _, source = emitted(tmp_path, "recurrence")
    text = forward_of(source, "LSTM")
    assert "for s in x.unbind(1):\n    h, c = self.cell(s, h, c)\n    hs.append(h)\n" in text
    assert text.endswith("    hs.append(h)\nreturn torch.stack(hs, 1)")


def test_names_that_modules_have_are_registered_without_an_attribute(tmp_path: Path) -> None:
    _, source = emitted(tmp_path, "buffers")
    net = load(source)["Model"]()
    assert set(net.state_dict()) == {f"net.{name}" for name in ("scale", "type", "forward")}
    assert net.train().type(torch.float32).net(torch.ones(2, 3)).shape == (2, 3)


def test_a_weight_called_training_is_refused(tmp_path: Path) -> None:
    blocks = "block Net()(x: f32[N, D]) -> f32[N, D] {\n  param training: f32[D] = ones()\n"
    blocks += "  return x * training\n}"
    text = PROGRAM.format(blocks=blocks, batch=4, x="f32[N, 3]", y="f32[N, 3]")
    training = training_of(tmp_path, text, x=normal(4, 3), y=normal(4, 3))
    with pytest.raises(NncError, match=r"cannot name a weight `net.training`"):
        nnc_torch.backend.emit(training)


def test_a_model_can_be_trained_further_with_what_pytorch_has(tmp_path: Path) -> None:
    _, source = emitted(tmp_path, "convolutions")
    module, (_, x, y) = load(source), NETS["convolutions"]
    net = module["model"](module["init"](1)).float()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    given, wanted, losses = torch.tensor(x), torch.tensor(y), []
    for _ in range(10):
        loss = torch.nn.functional.mse_loss(net(given), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


DRAWING = """
language 1
data d {
  x: f32[N, 3] = npz("data.npz", "x")
  batch = 4
}
block Noisy()(x: f32[N, D]) -> f32[N, D] = x + normal_like(x)
block Net()(x: f32[N, D]) -> f32[N, 2] = x |> Dense(4) |> Noisy() |> Dense(2)
train fit {
  let net = Net()
  loss      = mean(net(d.x))
  optimizer = SGD(0.1)
  steps     = 1
}
"""


def test_a_net_that_draws_takes_the_seed_and_the_number_of_the_draw(tmp_path: Path) -> None:
    training = training_of(tmp_path, DRAWING, x=normal(4, 3))
    optimize_training(training)
    module = load(nnc_torch.backend.emit(training))
    state, x = module["init"](1), torch.tensor(normal(5, 3))
    first = module["forward"](state, x)
    assert torch.equal(first, module["model"](state)(x, seed=0, draw=0))
    assert not torch.equal(first, module["forward"](state, x, draw=1))
    noise = module["random_bits"]((2, 5, 4), 0, "normal/net.noisy_0", step=0)
    radius = np.sqrt(-2 * np.log((noise[0] + 1.0) * 2.0**-32))
    drawn = torch.tensor(radius * np.cos(2 * np.pi * noise[1] * 2.0**-32)).float()
    weights = {path.removeprefix("net."): value for path, value in state.items()}
    hidden = x @ weights["dense_0.w"] + weights["dense_0.b"] + drawn
    torch.testing.assert_close(first, hidden @ weights["dense_1.w"] + weights["dense_1.b"])


TWO_NETS = """
language 1
data d {
  x: f32[N, 3] = npz("data.npz", "x")
  batch = 4
}
block Encoder()(x: f32[N, D]) -> (mean: f32[N, 2], spread: f32[N, 2]) {
  let h = x |> Dense(4) |> tanh
  return (mean = h |> Dense(2), spread = h |> Dense(2) |> exp)
}
block Decoder(d: int)(z: f32[N, K]) -> f32[N, d] = z |> Dense(d)
train vae {
  let encoder = Encoder()
  let decoder = Decoder(3)
  let code    = encoder(d.x)
  loss      = mean(abs(decoder(code.mean + code.spread) - d.x))
  optimizer = Adam(1e-2)
  steps     = 1
}
"""


def test_several_nets_have_a_method_each_and_records_are_dictionaries(tmp_path: Path) -> None:
    training = training_of(tmp_path, TWO_NETS, x=normal(4, 3))
    optimize_training(training)
    module = load(nnc_torch.backend.emit(training))
    state = module["init"](1)
    x = torch.tensor(normal(5, 3))
    code = module["forward_encoder"](state, x)
    assert {name: tuple(v.shape) for name, v in code.items()} == {"mean": (5, 2), "spread": (5, 2)}
    assert module["forward_decoder"](state, code["mean"]).shape == (5, 3)
    model = module["model"](state)
    torch.testing.assert_close(model.forward_encoder(x), code)
    assert set(model.state_dict()) == {p for p, e in training.state.items() if e.kind == "param"}
