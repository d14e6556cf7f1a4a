"""Optimizers, groups, clipping, phases (semantics 13, 14 and 16)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from nnc import random
from nnc.ir import host
from nnc.ir.program import Step
from tests.elaborate.harness import DESCENT, Run, codes, save, train

F = np.float32
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype(F)
IDS = RNG.integers(0, 5, (12, 4)).astype(np.int32)
LAYERS = (
    DESCENT
    + """
block Dense(out: int)(x: f32[..., D]) -> f32[..., out] {
  param w: f32[D, out] = normal()
  param b: f32[out] = normal()
  return x @ w + b
}
block Two()(x: f32[N, D]) -> f32[N, 2] {
  let head = Dense(2)
  return x |> Dense(4) |> head
}
block Shift(by: f32)(p: f32[...], grad: f32[...]) -> f32[...] = p + by + 0 * grad
block Take()(p: f32[...], grad: f32[...]) -> f32[...] = grad
block Momentum(lr: f32, decay: f32 = 0.9)(p: f32[...], grad: f32[...]) -> f32[...] {
  buffer v: f32[...] = zeros()
  v = decay * v + grad
  return p - lr * v
}
block Counted()(p: f32[...], grad: f32[...]) -> f32[...] {
  buffer n: f32 = zeros()
  n = n + 1
  return p + step + n * 100 + 0 * grad
}
data d {
  x: f32[N, 3] = npz("d.npz", "x")
  ids: i32[N, T] = npz("d.npz", "ids")
  batch = 4
  shuffle = false
}
"""
)
FIT = """
train t {
  let net = Two()
  loss = mean(net(d.x) ^ 2)
  optimizer = OPTIMIZER
  steps = 3
}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save(tmp_path, d={"x": X, "ids": IDS})
    return tmp_path


def fit(root: Path, optimizer: str, **changes: str) -> Run:
    text = LAYERS + FIT.replace("OPTIMIZER", optimizer)
    for old, new in changes.items():
        text = text.replace(old.replace("_", " "), new)
    return Run(train(text, root))


def moved(run: Run) -> dict[str, float]:
    """How far each weight moves in one step."""
    before = dict(run.state)
    run.step(run.training.phases[0].steps[0])
    return {
        path: float((run.state[path] - before[path]).flat[0])
        for path in before
        if not path.startswith("@")
    }


# ---------------------------------------------------------------- groups
def test_the_first_group_that_matches_wins(root: Path) -> None:
    groups = '[("*.b", Shift(1)), (net.head, Shift(2)), (net, Shift(3))]'
    assert moved(fit(root, groups)) == pytest.approx(
        {"net.dense_1.w": 3, "net.dense_1.b": 1, "net.head.w": 2, "net.head.b": 1}, abs=1e-5
    )
    groups = '[(net.head, Shift(2)), ("*.b", Shift(1)), ("net.*", Shift(3))]'
    assert moved(fit(root, groups)) == pytest.approx(
        {"net.dense_1.w": 3, "net.dense_1.b": 1, "net.head.w": 2, "net.head.b": 2}, abs=1e-5
    )


def test_a_weight_without_a_group_is_an_error(root: Path) -> None:
    text = LAYERS + FIT.replace("OPTIMIZER", '[("*.b", Shift(1))]')
    assert codes(text, root) == ["E0426"]
    for groups in ("[Shift(1)]", "[(3, Shift(1))]", "[(net, 3)]"):
        assert codes(LAYERS + FIT.replace("OPTIMIZER", groups), root) == ["E0425"]


def test_an_instance_given_as_a_group_is_its_weights_and_those_below(root: Path) -> None:
    text = LAYERS + FIT.replace("OPTIMIZER", "[(net, Shift(1)), (net2, Shift(2))]").replace(
        "let net = Two()", "let net = Two()\n  let net2 = Two()"
    ).replace("mean(net(d.x) ^ 2)", "mean(net(d.x) ^ 2) + mean(net2(d.x))")
    moves = moved(Run(train(text, root)))
    assert {path.partition(".")[0]: round(by) for path, by in moves.items()} == {
        "net": 1,
        "net2": 2,
    }


# ---------------------------------------------------------------- state and counters
def test_moments_stand_below_the_step_and_the_name_of_the_buffer(root: Path) -> None:
    run = fit(root, "Momentum(0.1)")
    assert [p for p in run.state if p.startswith("@")] == [
        f"@opt/step/v/net.{path}" for path in ("dense_1.w", "dense_1.b", "head.w", "head.b")
    ]
    kinds = {p: e.kind for p, e in run.training.state.items()}
    assert {kinds[p] for p in kinds if p.startswith("@opt/")} == {"optimizer"}
    for path in ("net.dense_1.w", "net.head.b"):
        assert run.state[f"@opt/step/v/{path}"].shape == run.state[path].shape


def test_momentum_is_its_equations(root: Path) -> None:
    run = fit(root, "Momentum(0.1, decay = 0.5)", **{"let_net_=_Two()": "let net = Dense(2)"})
    w, b = (run.state[f"net.{p}"].astype(np.float64) for p in "wb")
    v_w, v_b = 0 * w, 0 * b
    run.all()
    for at in (0, 4, 8):
        x = X[at : at + 4]
        residual = 2 * (x @ w + b) / 8
        v_w, v_b = 0.5 * v_w + x.T @ residual, 0.5 * v_b + residual.sum(0)
        w, b = w - 0.1 * v_w, b - 0.1 * v_b
    np.testing.assert_allclose(run.state["net.w"], w, rtol=1e-4)
    np.testing.assert_allclose(run.state["@opt/step/v/net.b"], v_b, rtol=1e-4)


def test_the_step_of_an_optimizer_counts_its_own_updates(root: Path) -> None:
    text = (
        LAYERS
        + """
    train t {
      let a = Dense(2)
      let b = Dense(2)
      let loss_of = mean(a(d.x)) + mean(b(d.x))
      step first(times = 3) { update = a
        loss = 0 * step * loss_of
        optimizer = Counted()
      }
      step second { update = b
        loss = 0 * loss_of
        optimizer = Counted()
      }
      steps = 2
    }
    """
    )
    run = Run(train(text, root))
    before = {name: run.state[f"{name}.b"].copy() for name in "ab"}
    run.all()
    for name, count in (("a", 6), ("b", 2)):
        wanted = sum(range(count)) + 100 * sum(range(1, count + 1))
        np.testing.assert_allclose(run.state[f"{name}.b"] - before[name], wanted, rtol=1e-5)


def test_a_schedule_counts_the_cycles_of_the_phase(root: Path) -> None:
    run = fit(root, "Descent(0.1 * 0.5 ^ step + steps + epochs)")
    (step,) = run.training.phases[0].steps
    (expr,) = [e for name, e in step.scalars.items() if name not in ("seed", "draw")]
    for t in range(3):
        found = host.evaluate(expr, {"step": t, "updates": 77, "draw": 5, "seed": 0})
        assert found == pytest.approx(0.1 * 0.5**t + 3 + 1, rel=1e-15)


# ---------------------------------------------------------------- shared weights
def test_a_shared_table_gets_the_sum_of_both_gradients(root: Path) -> None:
    text = (
        LAYERS
        + """
    block Embedding(V: int, D: int)(ids: i32[...]) -> f32[..., D] {
      param table: f32[V, D] = normal()
      return take(table, ids)
    }
    block Tied()(ids: i32[N, T]) -> f32[N, T, 5] {
      let emb = Embedding(5, 3)
      return emb(ids) @ transpose(emb.table)
    }
    train t {
      let net = Tied()
      loss = sum(net(d.ids) ^ 2)
      optimizer = Descent(1)
      steps = 1
    }
    """
    )
    run = Run(train(text, root), wide=True)
    assert list(run.state) == ["net.emb.table"]
    table = run.state["net.emb.table"].astype(np.float64)
    ids = IDS[:4]
    run.all()

    def loss(lookup: np.ndarray, output: np.ndarray) -> float:
        return float(((lookup[ids] @ output.T) ** 2).sum())

    wanted = np.zeros_like(table)
    for index in np.ndindex(table.shape):
        d = np.zeros_like(table)
        d[index] = 1e-6
        for pair in (((d, 0 * d)), ((0 * d, d))):
            up = loss(table + pair[0], table + pair[1])
            down = loss(table - pair[0], table - pair[1])
            wanted[index] += (up - down) / 2e-6
    np.testing.assert_allclose(table - run.state["net.emb.table"], wanted, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- clipping
def test_gradients_are_clipped_before_the_optimizer(root: Path) -> None:
    """`Take` leaves the gradient in the weight."""
    free = fit(root, "Take()")
    free.step(free.training.phases[0].steps[0])
    gradients = {p: v.astype(np.float64) for p, v in free.state.items()}
    norm = math.sqrt(sum((g**2).sum() for g in gradients.values()))
    for limit in (norm / 3, norm * 3):
        run = fit(root, "Take()", **{"steps_=_3": f"clip_norm = {limit}\n  steps = 3"})
        run.step(run.training.phases[0].steps[0])
        factor = min(1, limit / max(norm, limit))
        for path, gradient in gradients.items():
            np.testing.assert_allclose(run.state[path], gradient * factor, rtol=1e-4)
    run = fit(root, "Take()", **{"steps_=_3": "clip_value = 0.1\n  steps = 3"})
    run.step(run.training.phases[0].steps[0])
    for path, gradient in gradients.items():
        np.testing.assert_allclose(run.state[path], gradient.clip(-0.1, 0.1), rtol=1e-4, atol=1e-7)


def test_the_norm_is_clipped_first(root: Path) -> None:
    free = fit(root, "Take()")
    free.step(free.training.phases[0].steps[0])
    gradients = {p: v.astype(np.float64) for p, v in free.state.items()}
    norm = math.sqrt(sum((g**2).sum() for g in gradients.values()))
    both = f"clip_value = 0.05\n  clip_norm = {norm / 2}\n  steps = 3"
    run = fit(root, "Take()", **{"steps_=_3": both})
    run.step(run.training.phases[0].steps[0])
    for path, gradient in gradients.items():
        np.testing.assert_allclose(
            run.state[path], (gradient / 2).clip(-0.05, 0.05), rtol=1e-4, atol=1e-7
        )
    assert codes(LAYERS + FIT.replace("OPTIMIZER", "Take()\n  clip_norm = 0"), root) == ["E0418"]


# ---------------------------------------------------------------- phases
PHASES = (
    LAYERS
    + """
train t {
  let net = Two()
  loss = mean(net(d.x) ^ 2)
  optimizer = Momentum(0.1 * 0.5 ^ step)
  phase probe(epochs = 1) {
    update = net.head
    optimizer = Descent(0.5 ^ step)
  }
  phase full(steps = 2) {
    let noisy = net(d.x + 1)
    loss = mean(noisy ^ 2)
  }
  phase last { steps = 4
    clip_value = 1e-9
  }
}
"""
)


def rate(step: Step, at: int) -> float:
    (expr,) = [e for name, e in step.scalars.items() if name not in ("seed", "draw")]
    return host.evaluate(expr, {"step": at, "updates": 99, "draw": 9, "seed": 0})


def test_phases_follow_one_another_and_inherit(root: Path) -> None:
    training = train(PHASES, root)
    assert [(p.name, p.count) for p in training.phases] == [("probe", 3), ("full", 2), ("last", 4)]
    assert training.steps == 9
    (probe,), (full,), (last,) = (p.steps for p in training.phases)
    assert len({probe.name, full.name, last.name}) == 3
    weights = [sorted(o for o in s.graph.outputs if o[0] != "@") for s in (probe, full, last)]
    assert weights[0] == ["net.head.b", "net.head.w"]
    assert weights[1] == weights[2]
    assert len(weights[1]) == 4
    assert rate(probe, 2) == 0.25
    assert rate(full, 0) == rate(last, 0) == 0.1  # a schedule begins anew in each phase
    run = Run(training)
    for step in probe, full:
        run.step(step)
    before = dict(run.state)
    run.step(last)
    moves = [np.abs(run.state[p] - before[p]).max() for p in weights[1]]
    assert max(moves) <= 1e-9


def test_steps_and_epochs_are_those_of_the_phase(root: Path) -> None:
    text = (
        LAYERS
        + """
    train t {
      let net = Dense(2)
      loss = mean(net(d.x) ^ 2)
      optimizer = Descent(0.001 * steps + epochs + 0 * step)
      phase a(epochs = 2) { update = net }
      phase b(steps = 5) { update = net }
    }
    """
    )
    (a,), (b,) = (p.steps for p in train(text, root).phases)
    assert rate(a, 0) == pytest.approx(0.006 + 2)
    assert rate(b, 0) == pytest.approx(0.005 + 2)  # 5 steps are more than one epoch of 3


def test_a_phase_may_have_steps_of_its_own_or_inherit_them(root: Path) -> None:
    text = (
        LAYERS
        + """
    train t {
      let a = Dense(2)
      let b = Dense(2)
      loss = mean(a(d.x) ^ 2) + mean(b(d.x) ^ 2)
      optimizer = Momentum(0.1)
      step one { update = a }
      step two(times = 2) { update = b }
      phase first(steps = 1) { clip_value = 1 }
      phase second(steps = 1) {
        step only { update = a }
      }
    }
    """
    )
    training = train(text, root)
    names = [[(s.name, s.times) for s in p.steps] for p in training.phases]
    assert [[t for _, t in phase] for phase in names] == [[1, 2], [1]]
    assert len({name for phase in names for name, _ in phase}) == 3
    Run(training).all()


def test_a_phase_needs_a_length(root: Path) -> None:
    assert codes(PHASES.replace("phase probe(epochs = 1)", "phase probe"), root) == ["E0420"]
    assert codes(PHASES.replace("phase probe(epochs = 1)", "phase probe(epoch = 1)"), root) != []
    assert "E0412" in codes(PHASES.replace("phase last", "stage last"), root)


def test_a_run_over_phases_is_its_equations(root: Path) -> None:
    text = (
        LAYERS
        + """
    train t {
      let net = Dense(2)
      loss = mean(net(d.x) ^ 2)
      phase slow(steps = 2) { optimizer = Descent(0.1) }
      phase fast(steps = 2) { optimizer = Descent(1 / (1 + step)) }
    }
    """
    )
    run = Run(train(text, root))
    w, b = (run.state[f"net.{p}"].astype(np.float64) for p in "wb")
    run.all()
    for at, lr in [(0, 0.1), (4, 0.1), (8, 1.0), (0, 0.5)]:
        x = X[at : at + 4]
        residual = 2 * (x @ w + b) / 8
        w, b = w - lr * x.T @ residual, b - lr * residual.sum(0)
    np.testing.assert_allclose(run.state["net.w"], w, rtol=1e-3, atol=1e-5)


def test_shuffles_are_those_of_the_stream(root: Path) -> None:
    text = LAYERS.replace("shuffle = false", "shuffle = true") + FIT.replace(
        "OPTIMIZER", "Descent(0)"
    )
    source = train(text, root, seed=3).sources["d"]
    order = random.permutation(3, "shuffle/d", 1, 12)
    np.testing.assert_array_equal(source.train_batch(4, 3)["d.x"], X[order[4:8]])
