"""Trainings in mixed precision: skipped steps, the loss scale, checkpoints of short weights."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nnc_jax
import nnc_numpy
import nnc_torch
import numpy as np
import pytest

from nnc.backend import Backend
from nnc.elaborate.check import Compiled
from nnc.ir.program import Training
from nnc.language.diagnostics import NncError
from nnc.language.tree import Source
from nnc.passes.pipeline import optimize_training
from nnc.train import checkpoint
from nnc.train.checkpoint import Checkpoint, State
from nnc.train.loop import Loop
from nnc.train.module import load_module, plan
from nnc.train.session import check_state
from tests.verify.programs import DATA, write_data

BACKENDS = (nnc_numpy.backend, nnc_jax.backend, nnc_torch.backend)

TEXT = """
block Norm()(x: f32[N, D]) -> f32[N, D] {
  buffer seen: f32[] = zeros()
  seen = seen + 1
  return x
}
train fit {
  let net    = Dense(16) |> Norm() |> relu |> Dense(3)
  loss      = FACTOR * cross_entropy(net(points.x), points.y)
  optimizer = Adam(1e-2)
  precision = f16
  steps     = 8
}
"""

SHORT = """
block Linear(out: int)(x: f32[..., D]) -> f32[..., out] {
  param w: bf16[D, out] = glorot_uniform()
  param b: f16[out]     = zeros()
  return f32(bf16(x) @ w) + f32(b)
}
train fit {
  let net   = Linear(8) |> tanh |> Linear(3)
  loss      = cross_entropy(net(points.x), points.y)
  optimizer = Adam(1e-2)
  steps     = 5
}
"""


@cache
def training(text: str) -> Training:
    with TemporaryDirectory() as folder:
        write_data(Path(folder))
        made = Compiled(Source("short.nn", DATA + text), Path(folder)).training()
    optimize_training(made)
    return made


def loop(made: Training, backend: Backend) -> Loop:
    return Loop(made, plan(load_module(backend.emit(made), f"{backend.name}.py"), made), {})


def with_scale(made: Training, scale: float) -> Training:
    """`made` beginning with another loss scale."""
    state = dict(made.state)
    entry = state["@scale/step/scale"]
    init = entry.init.copy()
    node = init.producer(init.outputs["value"])
    node.attrs = {**node.attrs, "value": scale}
    state["@scale/step/scale"] = replace(entry, init=init)
    return replace(made, state=state)


def run(made: Training, backend: Backend) -> tuple[State, Any]:
    result = loop(made, backend).run()
    return result.state, result.counters


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_steps_that_overflow_halve_the_scale_and_change_nothing_else(backend: Backend) -> None:
    made = training(TEXT.replace("FACTOR", "100"))
    state, counters = run(made, backend)
    # 2^16 overflows until it is 2^11: five steps of the eight are skipped.
    assert float(state["@scale/step/scale"]) == 2.0**11
    assert int(state["@scale/step/good_steps"]) == 3
    assert float(state["net.norm_0.seen"]) == 3
    assert counters.windows["step"].count == 3
    assert counters.step == 8


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_backends_skip_the_same_steps(backend: Backend) -> None:
    made = training(TEXT.replace("FACTOR", "100"))
    found, wanted = run(made, backend)[0], run(made, nnc_numpy.backend)[0]
    assert found.keys() == wanted.keys()
    for path, value in wanted.items():
        assert found[path].dtype == value.dtype, path
        np.testing.assert_allclose(found[path], value, 2e-2, 2e-3, err_msg=path)


def test_without_overflow_the_scale_stays_and_good_steps_count() -> None:
    state, _ = run(training(TEXT.replace("FACTOR", "0.1")), nnc_numpy.backend)
    assert float(state["@scale/step/scale"]) == 2.0**16
    assert int(state["@scale/step/good_steps"]) == 8


@pytest.mark.parametrize("scale", [2.0**10, 2.0**24])
def test_many_good_steps_double_the_scale_up_to_a_limit(scale: float) -> None:
    made = with_scale(training(TEXT.replace("FACTOR", "1e-6")), scale)
    module = load_module(nnc_numpy.backend.emit(made), "double.py")
    state = {**module.init(0), "@scale/step/good_steps": np.int32(1999)}
    batch = made.sources["points"].train_batch(0, 0)
    state, out = module.step(state, batch, module.step_scalars(0, 0, 0, 0))
    assert float(state["@scale/step/scale"]) == min(2 * scale, 2.0**24)
    assert int(state["@scale/step/good_steps"]) == 0
    assert float(out["skipped"]) == 0


def test_the_reported_loss_is_not_scaled() -> None:
    short, wide = (training(TEXT.replace("FACTOR", "1").replace("f16", p)) for p in ("f16", "f32"))
    losses = []
    for made in (short, wide):
        module = load_module(nnc_numpy.backend.emit(made), "loss.py")
        batch = made.sources["points"].train_batch(0, 0)
        _, out = module.step(module.init(0), batch, module.step_scalars(0, 0, 0, 0))
        losses.append(float(out["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_at_the_least_scale_an_overflow_ends_the_training() -> None:
    made = with_scale(training(TEXT.replace("FACTOR", "1e38")), 1.0)
    with pytest.raises(NncError) as failure:
        run(made, nnc_numpy.backend)
    assert failure.value.diagnostics[0].code == "E0701"


# ---------------------------------------------------------------- weights of short floats
@pytest.mark.parametrize("there", BACKENDS, ids=lambda b: f"to-{b.name}")
@pytest.mark.parametrize("here", BACKENDS, ids=lambda b: f"from-{b.name}")
def test_short_weights_go_through_checkpoints_from_backend_to_backend(
    here: Backend, there: Backend
) -> None:
    made = training(SHORT)
    first = run(made, here)[0]
    assert {value.dtype.name for value in first.values()} == {"float32", "float16"}
    saved = checkpoint.decode(checkpoint.encode(Checkpoint(first, {})), "memory").state
    check_state(saved, made)
    border = loop(made, there).plan.border
    again = border.to_numpy(border.from_numpy(saved))
    for path, value in first.items():
        assert again[path].dtype == value.dtype, path
        np.testing.assert_array_equal(again[path], value, err_msg=path)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_short_weights_begin_and_end_alike(backend: Backend) -> None:
    made = training(SHORT)
    found, wanted = loop(made, backend), loop(made, nnc_numpy.backend)
    begin, expected = found.plan.border.to_numpy(found.plan.init(3)), wanted.plan.init(3)
    for path, value in expected.items():
        np.testing.assert_array_equal(begin[path], value, err_msg=path)
    end, expected = found.run().state, wanted.run().state
    for path, value in expected.items():
        np.testing.assert_allclose(end[path], value, 2e-2, 2e-3, err_msg=path)
