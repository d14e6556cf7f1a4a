"""Stacked layers are the same network: weights, draws, updates, on every backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nnc.api as nnc
from nnc import backend as backends
from nnc.ir.interpret import interpret
from nnc.ir.program import Training
from nnc.passes.pipeline import optimize_training
from nnc.train.layers import split, stack
from nnc.verify.parts import Emitted
from nnc.verify.twin import Arrays, in_float64, widened
from tests.layers.programs import MLP, PROGRAMS, TRANSFORMER, program

STEPS = 3


def both(text: str, folder: Path) -> tuple[Training, Training]:
    """The training of a program, layer by layer and with stacks."""
    found = program(text, folder)
    plain, stacked = found.training(), found.training(stack_layers=True)
    assert not stacked.remarks
    assert any(entry.layers for entry in stacked.state.values())
    return plain, stacked


def trained(training: Training, backend: str) -> tuple[Arrays, list[float]]:
    """The state after some steps in float64, layer by layer, and the losses."""
    wide = in_float64(training)
    optimize_training(wide)
    emitted = Emitted(backends.get(backend), wide, f"layers_{backend}")
    state, losses = emitted.plan.init(training.seed), []
    (source,) = training.sources.values()
    for number in range(STEPS):
        batch = widened(source.train_batch(number, training.seed))
        for step in emitted.plan.phases[0].steps:
            scalars = step.scalars(number, number, training.seed, number)
            state, out = step.run(state, batch, scalars)
            losses.append(float(out["loss"]))
    return split(emitted.numpy(state), training), losses


def assert_trains_alike(text: str, folder: Path, backend: str) -> None:
    plain, stacked = both(text, folder)
    (state, losses), (found, others) = (trained(each, backend) for each in (plain, stacked))
    np.testing.assert_allclose(others, losses, rtol=1e-12)
    assert found.keys() == state.keys()
    for path, value in state.items():
        # The gradient of a key's bias is 0 to rounding, 1e-17, which Adam divides by 1e-8.
        has_keys = path.endswith("multi_head_attention_0.dense_0.b")
        atol = 1e-11 if has_keys else 1e-12
        np.testing.assert_allclose(found[path], value, rtol=1e-12, atol=atol, err_msg=path)


@pytest.mark.parametrize("name", PROGRAMS)
def test_training_is_that_of_the_unrolled_program(name: str, tmp_path: Path) -> None:
    assert_trains_alike(PROGRAMS[name], tmp_path, "numpy")


@pytest.mark.parametrize("name", ["transformer", "buffers", "recurrent"])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_so_it_is_on_other_backends(name: str, backend: str, tmp_path: Path) -> None:
    assert_trains_alike(PROGRAMS[name], tmp_path, backend)


@pytest.mark.parametrize("name", PROGRAMS)
def test_initial_weights_are_the_same_to_the_bit(name: str, tmp_path: Path) -> None:
    plain, stacked = both(PROGRAMS[name], tmp_path)
    values = {
        path: next(iter(interpret(entry.init, [7] * len(entry.init.inputs)).values()))
        for path, entry in stacked.state.items()
    }
    layers = split(values, stacked)
    assert layers.keys() == plain.state.keys()
    for path, entry in plain.state.items():
        value = next(iter(interpret(entry.init, [7] * len(entry.init.inputs)).values()))
        np.testing.assert_array_equal(layers[path], value, err_msg=path, strict=True)
    for path, value in stack(layers, stacked).items():
        np.testing.assert_array_equal(value, values[path], strict=True)


def test_the_size_of_the_graph_does_not_depend_on_the_depth(tmp_path: Path) -> None:
    counts = set()
    for depth in (2, 7):
        text = TRANSFORMER.replace("repeat 4", f"repeat {depth}")
        training = program(text, tmp_path).training(stack_layers=True)
        counts.add(sum(map(len, training.graphs())))
    assert len(counts) == 1


RULE = """
block Turned(lr: f32)(p: f32[...], grad: f32[...]) -> f32[...] {
  let turned = if rank(p) == 2 { grad @ (transpose(grad) @ grad) } else { grad }
  return p - lr * turned
}
"""


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_short_floats_are_for_the_network_and_not_for_its_optimizer(
    precision: str, tmp_path: Path
) -> None:
    changed = MLP.replace(
        "AdamW(1e-2, weight_decay = 0.1)", f"Turned(1.0)\n  precision = {precision}"
    )
    found = program(RULE + changed, tmp_path)
    models = [found.compile("numpy", stack_layers=stacked) for stacked in (False, True)]
    states = []
    for model in models:
        state, _ = model.step(model.init(), model.batch(0))
        states.append(split(state, model.training))
    for path, value in states[0].items():
        np.testing.assert_allclose(states[1][path], value, rtol=1e-6, atol=1e-7, err_msg=path)


def test_evaluation_and_inference_are_those_of_the_unrolled_program(tmp_path: Path) -> None:
    found = program(MLP, tmp_path)
    for backend in ("numpy", "torch", "jax"):
        plain = found.compile(backend)
        stacked = found.compile(backend, stack_layers=True)
        state = {k: np.asarray(v) for k, v in plain.init().items()}
        x = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
        np.testing.assert_allclose(
            stacked.predict(state, x), plain.predict(state, x), rtol=1e-5, atol=1e-6
        )
        scores = [model.evaluate(state) for model in (plain, stacked)]
        assert scores[0].loss == pytest.approx(scores[1].loss, rel=1e-6)


def test_the_api_says_what_stacks_hold(tmp_path: Path) -> None:
    model = program(MLP, tmp_path).compile("numpy", stack_layers=True)
    state = model.init()
    assert state["net.dense_1.*.w"].shape == (3, 5, 5)
    assert model.training.state["net.dense_1.*.w"].paths == [
        f"net.dense_1.{number}.w" for number in range(3)
    ]
    assert isinstance(model, nnc.Model)
