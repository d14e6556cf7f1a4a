"""A rule is elaborated once for weights of one type, and nobody can tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnc.elaborate.train.updates import Updates
from nnc.ir.program import Training
from nnc.ir.text import print_graph
from tests.elaborate.harness import Run, save, train

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)).astype(np.float32)
TEXT = """
block Dense(out: int)(x: f32[..., D]) -> f32[..., out] {
  param w: f32[D, out] = normal()
  param b: f32[out] = normal()
  return x @ w + b
}
block Deep()(x: f32[N, D]) -> f32[N, 4] = x |> repeat 3 { Dense(4) |> tanh }
block Average(by: f32)(g: f32[...]) -> f32[...] {
  buffer kept: f32[...] = zeros()
  kept = by * kept + (1 - by) * g
  return kept
}
block Averaged(lr: f32)(p: f32[...], grad: f32[...]) -> f32[...] {
  buffer n: f32 = zeros()
  n = n + 1
  return p - lr / (1 + step) * Average(0.9)(grad) / n
}
block Normalized(lr: f32)(p: f32[...], grad: f32[...]) -> f32[...] {
  let size = scan i in 0..3 with s = sum(grad^2) { s = 0.5 * (s + sum(grad^2) / s) }
  return p - lr * grad / size
}
block Noisy(lr: f32)(p: f32[...], grad: f32[...]) -> f32[...] {
  return p - lr * (grad + normal_like(p))
}
block Drawn(lr: f32)(p: f32[...], grad: f32[...]) -> f32[...] {
  buffer at: f32[...] = normal()
  at = at + grad
  return p - lr * at
}
data d {
  x: f32[N, 4] = npz("d.npz", "x")
  batch = 4
  shuffle = false
}
train t {
  let net = Deep()
  loss = mean(net(d.x) ^ 2)
  optimizer = OPTIMIZER
  steps = 3
}
"""
RULES = {
    "moments of a block inside": "Averaged(0.1)",
    "rate by step": "Averaged(0.1 * 0.5^step)",
    "groups": '[("*.b", Averaged(0.1)), ("*.1.w", Averaged(0.2)), (net, Averaged(0.3))]',
    "a loop": "Normalized(0.1)",
    "draws": "Noisy(0.1)",
    "a drawn start": "Drawn(0.1)",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save(tmp_path, d={"x": X})
    return tmp_path


def everything(training: Training) -> list[object]:
    steps = [step for phase in training.phases for step in phase.steps]
    entries = [(e.path, e.type, e.kind, e.origin, e.layers) for e in training.state.values()]
    return [[(print_graph(step.graph), step.scalars) for step in steps], entries]


@pytest.mark.parametrize("precision", ["f32", "f16"])
@pytest.mark.parametrize("rule", RULES)
def test_copies_are_what_elaboration_makes(
    rule: str, precision: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer = f"{RULES[rule]}\n  precision = {precision}"
    text = TEXT.replace("OPTIMIZER", optimizer)
    made = train(text, root)
    with monkeypatch.context() as patched:
        patched.setattr(Updates, "_is_alike", lambda *_: False)
        each = train(text, root)
    assert everything(made) == everything(each)
    first, second = Run(made).all(), Run(each).all()
    for path, value in first.state.items():
        np.testing.assert_array_equal(value, second.state[path], err_msg=path)


@pytest.mark.parametrize("rule", ["draws", "a drawn start"])
def test_each_weight_has_its_own_draws(rule: str, root: Path) -> None:
    run = Run(train(TEXT.replace("OPTIMIZER", RULES[rule]).replace("mean(", "0 * mean("), root))
    before = dict(run.state)
    run.step(run.training.phases[0].steps[0])
    weights = [path for path in before if path.startswith("net.") and path.endswith(".w")]
    moves = [run.state[path] - before[path] for path in weights]
    assert len(moves) == 3
    assert not np.allclose(moves[0], moves[1], atol=1e-3)
    assert not np.allclose(moves[1], moves[2], atol=1e-3)


def test_weights_of_one_type_are_elaborated_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    original = Updates._elaborated

    def counted(self: Updates, rule: object, path: str, *more: object) -> object:
        seen.append(path)
        return original(self, rule, path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Updates, "_elaborated", counted)
    train(TEXT.replace("OPTIMIZER", RULES["groups"]), root)
    assert [path.rpartition(".")[2] for path in seen] == ["w", "b", "w"]
