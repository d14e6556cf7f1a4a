"""Emitted steps let go of large arrays, and take the memory that is predicted."""

from __future__ import annotations

import re
from pathlib import Path

import nnc_numpy
import numpy as np
import pytest

from nnc.api import Model, load
from nnc.ir.liveness import step_liveness
from nnc.train.module import load_module

MODELS = Path(__file__).parents[2] / "models"
OBJECTS = 1 << 15  # what Python takes for the arrays and dicts themselves
DEEP = """language 1

data d {
  x: f32[N, 64] = npy("x.npy")
  batch = 512
}

block Layer()(x: f32[N, D]) -> f32[N, D] =
  x + (x |> LayerNorm() |> Dense(4 * D) |> gelu |> Dense(D))

model Deep()(x: f32[N, D]) -> f32[N, D] = x |> repeat 6 { Layer() }

train fit {
  let net   = Deep()
  loss      = mean((net(d.x) - d.x)^2)
  optimizer = Adam(1e-3)
  steps     = 3
}
"""


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(512, 64)).astype("f4"))
    (tmp_path / "deep.nn").write_text(DEEP)
    return tmp_path / "deep.nn"


def predicted(model: Model) -> int:
    step = nnc_numpy.backend.legal(model.training).phases[0].steps[0]
    return step_liveness(step.graph, nnc_numpy.backend.keeps(step)).most


def measured(model: Model) -> int:
    step = model._plan.phases[0].steps[0]
    scalars = step.scalars(0, 0, 0, 0)
    function = getattr(model.module, model.module.PROGRAM["phases"][0]["steps"][0]["function"])
    state, batch = model.init(), model.batch(0)
    with np.errstate(all="ignore"):
        state, _ = function(state, batch, scalars)  # what is set up once
        return nnc_numpy.backend.peak_bytes(function, state, batch, scalars)


def without_deletions(source: str) -> str:
    return re.sub(r"^ +del [\w, ]+\n", "", source, flags=re.MULTILINE)


def test_a_deep_net_takes_what_is_predicted_since_it_lets_go(
    deep: Path,
) -> None:
    model = load(deep).compile("numpy")
    found = measured(model)
    assert abs(found / predicted(model) - 1) < 0.2
    model.module = load_module(without_deletions(model.source), "train.py")
    assert measured(model) > 1.5 * found


def test_a_loop_over_layers_lets_go_of_what_they_made(deep: Path) -> None:
    model = load(deep).compile("numpy", stack_layers=True)
    source, found = model.source, measured(model)
    assert abs(found / predicted(model) - 1) < 0.2
    assert re.search(
        r"^        (\w+) = \w+\.pop\(\)\n(?s:.)*^        del .*\b\1\b", source, re.MULTILINE
    )
    model.module = load_module(without_deletions(source), "train.py")
    assert measured(model) > 1.1 * found


@pytest.mark.parametrize(
    ("path", "name"),
    [(path, name) for path in sorted(MODELS.glob("*.nn")) for name in load(path).trainings],
    ids=str,
)
def test_models_take_what_is_predicted(path: Path, name: str) -> None:
    model = load(path).compile("numpy", name)
    found, expected = measured(model), predicted(model)
    assert abs(found - expected) < 0.3 * expected + OBJECTS, (found, expected)


def test_small_arrays_are_left_to_the_end_of_the_step() -> None:
    assert "del " not in load(MODELS / "diabetes.nn").compile("numpy", "linear").source
