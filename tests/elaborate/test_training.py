"""Data sources, steps, buffers and what they update (semantics 12 to 15)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnc import random
from nnc.elaborate.train import inference
from nnc.elaborate.world import AllApplied
from nnc.language.diagnostics import NncError
from tests.elaborate.harness import DESCENT, Run, codes, save, train

F = np.float32
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype(F)
Y = RNG.normal(size=(12, 2)).astype(F)
LAYERS = (
    DESCENT
    + """
block Dense(out: int)(x: f32[..., D]) -> f32[..., out] {
  param w: f32[D, out] = normal()
  return x @ w
}
block Norm(decay: f32 = 0.9)(x: f32[N, D]) -> f32[N, D] {
  param scale: f32[D] = ones()
  buffer average: f32[D] = zeros()
  let now = mean(x, axis = N)
  average = decay * average + (1 - decay) * now
  return scale * (x - (if training { now } else { average }))
}
"""
)
DATA = """
data d {
  x: f32[N, 3] = npz("d.npz", "x")
  y: f32[N, 2] = npz("d.npz", "y")
  batch = 4
}
"""
FIT = """
train t {
  let net = Dense(2)
  loss = mean((net(d.x) - d.y) ^ 2)
  optimizer = Descent(0.1)
  epochs = 2
}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save(tmp_path, d={"x": X, "y": Y}, e={"x": X[:6] * 2})
    return tmp_path


def grad(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 2 * x.T @ (x @ w - y) / y.size


# ---------------------------------------------------------------- the plain case
def test_a_training_is_its_equations(root: Path) -> None:
    training = train(LAYERS + DATA + FIT, root)
    assert (training.steps, training.steps_per_epoch, training.clock) == (6, 3, "d")
    assert [p.name for p in training.phases] == ["main"]
    assert list(training.state) == ["net.w"]
    run = Run(training)
    w = run.state["net.w"].astype(np.float64)
    run.all()
    for epoch in range(2):
        order = random.permutation(0, "shuffle/d", epoch, 12)
        for at in range(0, 12, 4):
            rows = order[at : at + 4]
            w -= 0.1 * grad(w, X[rows], Y[rows])
    np.testing.assert_allclose(run.state["net.w"], w, rtol=1e-5)


def test_a_batch_has_a_concrete_size_and_the_partial_one_is_dropped(root: Path) -> None:
    training = train(LAYERS + DATA.replace("batch = 4", "batch = 5") + FIT, root)
    assert training.steps_per_epoch == 2
    (step,) = training.phases[0].steps
    assert step.graph.type(step.graph.input_named("d.x")).shape == (5, 3)
    assert codes(LAYERS + DATA.replace("batch = 4", "batch = 13") + FIT, root) == ["E0513"]


def test_durations(root: Path) -> None:
    for words, steps in [
        ("epochs = 4", 12),
        ("steps = 7", 7),
        ("steps = 2epochs", 6),
        ("epochs = 5steps", 5),
    ]:
        assert train(LAYERS + DATA + FIT.replace("epochs = 2", words), root).steps == steps
    assert train(LAYERS + DATA + FIT, root, steps=5).steps == 5
    assert train(LAYERS + DATA + FIT, root, epochs=5).steps == 15
    both = FIT.replace("epochs = 2", "epochs = 2\n  steps = 3")
    assert codes(LAYERS + DATA + both, root) == ["E0419"]
    assert codes(LAYERS + DATA + FIT.replace("epochs = 2", ""), root) == ["E0420"]


def test_the_seed_of_the_program_and_of_the_caller(root: Path) -> None:
    text = LAYERS + DATA + FIT.replace("epochs = 2", "epochs = 2\n  seed = 3")
    assert train(text, root).seed == 3
    assert train(text, root, seed=5).seed == 5
    weights = [Run(train(text, root, seed=s)).state["net.w"] for s in (1, 1, 2)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.any(weights[0] == weights[2])


# ---------------------------------------------------------------- several sources
TWO = """
data e {
  x: f32[N, 3] = npz("e.npz", "x")
  batch = 4
}
"""


def test_the_clock_counts_epochs_and_other_sources_go_round(root: Path) -> None:
    text = (
        LAYERS
        + DATA
        + TWO
        + """
    train t {
      let net = Dense(2)
      loss = mean((net(d.x) - d.y) ^ 2) + mean(net(e.x))
      optimizer = Descent(0)
      clock = d
      epochs = 2
    }
    """
    )
    run = Run(train(text, root))
    assert run.training.steps == 6  # the epochs of d: 3 batches; e has 1
    w = run.state["net.w"]
    run.all()
    for step, (_, loss) in enumerate(run.log):
        rows = random.permutation(0, "shuffle/d", step // 3, 12)[step % 3 * 4 :][:4]
        others = random.permutation(0, "shuffle/e", step, 6)[:4]
        wanted = ((X[rows] @ w - Y[rows]) ** 2).mean() + (2 * X[others] @ w).mean()
        assert loss == pytest.approx(wanted, rel=1e-5)
    assert codes(text.replace("clock = d", ""), root) == ["E0416"]
    assert codes(text.replace("clock = d", "clock = q"), root) == ["E0416"]


def test_bare_n_belongs_to_the_only_source(root: Path) -> None:
    one = LAYERS + DATA + FIT.replace("loss = mean(", "loss = N / N * mean(")
    assert codes(one, root) == []
    two = LAYERS + DATA + TWO + FIT.replace("loss = mean(", "loss = N / N * mean(")
    assert set(codes(two, root)) == {"E0201"}
    assert codes(two.replace("N / N", "d.N / d.N"), root) == []


def test_the_size_of_a_source(root: Path) -> None:
    text = LAYERS + DATA + FIT.replace("loss = mean(", "loss = d.N * mean(")
    run = Run(train(text, root))
    w = run.state["net.w"]
    rows = random.permutation(0, "shuffle/d", 0, 12)[:4]
    assert run.step(run.training.phases[0].steps[0]) == pytest.approx(
        4 * ((X[rows] @ w - Y[rows]) ** 2).mean(), rel=1e-5
    )


# ---------------------------------------------------------------- definitions
def test_unused_definitions_do_not_run(root: Path) -> None:
    text = (
        LAYERS
        + DATA
        + FIT.replace(
            "let net", "let other = Dense(5)\n  let unused = other(d.x) + normal([4, 5])\n  let net"
        )
    )
    training = train(text, root)
    assert list(training.state) == ["net.w"]
    assert not [n for n in training.phases[0].steps[0].graph if n.op == "random_bits"]


def test_the_errors_of_unused_definitions_count(root: Path) -> None:
    text = LAYERS + DATA + FIT.replace("let net", "let unused = d.x @ d.x\n  let net")
    assert codes(text, root) == ["E0320"]


def test_a_definition_is_evaluated_once_and_shared(root: Path) -> None:
    text = (
        LAYERS
        + DATA
        + """
    train t {
      let net = Dense(2)
      let noise = normal([N, 3])
      loss = mean(net(d.x + noise)) - mean(net(d.x)) - mean(net(noise))
      optimizer = Descent(0)
      steps = 3
    }
    """
    )
    run = Run(train(text, root)).all()
    np.testing.assert_allclose([loss for _, loss in run.log], 0, atol=1e-6)


def test_definitions_may_use_later_ones(root: Path) -> None:
    text = (
        LAYERS
        + DATA
        + """
    train t {
      loss = mean((predicted - d.y) ^ 2)
      let predicted = net(d.x)
      let net = Dense(2)
      optimizer = Descent(0.1)
      steps = 1
    }
    """
    )
    assert list(train(text, root).state) == ["net.w"]


def test_a_draw_is_new_in_each_step(root: Path) -> None:
    text = (
        LAYERS
        + DATA
        + """
    train t {
      let net = Dense(2)
      loss = mean(net(d.x)) * 0 + mean(uniform([N, 3]))
      optimizer = Descent(0)
      steps = 3
    }
    """
    )
    run = Run(train(text, root, seed=4)).all()
    for step, (_, loss) in enumerate(run.log):
        bits = random.draw_bits(4, "uniform", step=step, count=12)
        assert loss == pytest.approx(((bits >> 8) * 2.0**-24).mean(), rel=1e-6)


def test_composed_layers_are_a_net(root: Path) -> None:
    text = (
        LAYERS
        + DATA
        + """
    train t {
      let net = Dense(4) |> tanh |> Dense(2)
      loss = mean((net(d.x) - d.y) ^ 2) + sum(weights(net) ^ 2) + mean(frozen(net)(d.x))
      update = net
      optimizer = [(net, Descent(0.1))]
      steps = 2
    }
    """
    )
    training = train(text, root)
    assert list(training.state) == ["net.dense_0.w", "net.dense_1.w"]
    (forward,) = training.forwards
    found = Run(training).outputs(forward.graph, {"x": X})["output"]
    a, b = Run(training).state.values()
    np.testing.assert_allclose(found, np.tanh(X @ a) @ b, rtol=1e-5)


def test_a_net_that_reads_the_batch_has_no_inference(root: Path) -> None:
    text = (
        LAYERS
        + DATA
        + FIT.replace(
            "let net", "let size = mean(d.x)\n let head = Dense(2) |> _ * size\n let net"
        ).replace("(net(d.x)", "(net(d.x) + head(d.x)")
    )
    assert [f.name for f in train(text, root).forwards] == ["net"]


def test_parts_of_a_net_are_known_where_it_is_applied_further_on(root: Path) -> None:
    text = (
        LAYERS
        + """
    block Two()(x: f32[N, D]) -> f32[N, 2] {
      let head = Dense(2)
      return x |> Dense(4) |> head
    }
    """
        + DATA
        + FIT.replace("Dense(2)", "Two()").replace(
            "loss = mean((net(d.x)",
            "let out = net(d.x)\n  loss = sum(weights(net.head)) + mean((out",
        )
    )
    assert list(train(text, root).state) == ["net.dense_1.w", "net.head.w"]


def test_an_optional_input_that_is_not_given_is_no_input_of_inference(root: Path) -> None:
    text = (
        LAYERS
        + """
    block Masked()(x: f32[N, D], mask: f32[N, D] = none) -> f32[N, 2] =
      (if mask == none { x } else { x * mask }) |> Dense(2)
    """
        + DATA
        + FIT.replace("Dense(2)", "Masked()")
    )
    (forward,) = train(text, root).forwards
    assert [
        forward.graph.node(i).attrs["name"]
        for i in forward.graph.inputs
        if forward.graph.node(i).attrs["kind"] == "argument"
    ] == ["x"]


# ---------------------------------------------------------------- steps that alternate
GAME = (
    LAYERS
    + DATA
    + """
train game {
  let a = Dense(2)
  let b = Dense(2)
  let gap = mean((a(d.x) - b(d.x)) ^ 2)
  step first(times = 2) {
    loss = gap
    update = a
    optimizer = Descent(0.1)
  }
  step second {
    loss = -gap
    update = b
    optimizer = Descent(0.2)
  }
  steps = 3
}
"""
)


def test_steps_alternate_and_each_takes_the_next_batch(root: Path) -> None:
    run = Run(train(GAME, root))
    a, b = (run.state[f"{n}.w"].astype(np.float64) for n in "ab")
    run.all()
    assert [name for name, _ in run.log] == ["first", "first", "second"] * 3
    for at, (name, loss) in enumerate(run.log):
        rows = random.permutation(0, "shuffle/d", at // 3, 12)[at % 3 * 4 :][:4]
        x = X[rows]
        residual = x @ (a - b)
        gap = (residual**2).mean()
        assert loss == pytest.approx(gap if name == "first" else -gap, rel=1e-4)
        slope = 2 * x.T @ residual / residual.size
        if name == "first":
            a -= 0.1 * slope
        else:
            b -= 0.2 * slope  # the gradient of -gap by b
    np.testing.assert_allclose(run.state["a.w"], a, rtol=1e-4)
    np.testing.assert_allclose(run.state["b.w"], b, rtol=1e-4)


def test_gradients_flow_only_to_update(root: Path) -> None:
    training = train(GAME, root)
    first, second = training.phases[0].steps
    assert (first.times, second.times) == (2, 1)
    assert [o for o in first.graph.outputs if o != "@loss"] == ["a.w"]
    assert [o for o in second.graph.outputs if o != "@loss"] == ["b.w"]


def test_steps_inherit_from_the_section(root: Path) -> None:
    text = GAME.replace("    optimizer = Descent(0.1)\n", "").replace(
        "  steps = 3", "  optimizer = Descent(0.5)\n  steps = 3"
    )
    run = Run(train(text, root))
    a = run.state["a.w"].astype(np.float64)
    x = X[random.permutation(0, "shuffle/d", 0, 12)[:4]]
    residual = x @ (a - run.state["b.w"])
    run.step(run.training.phases[0].steps[0])
    wanted = a - 0.5 * 2 * x.T @ residual / residual.size
    np.testing.assert_allclose(run.state["a.w"], wanted, rtol=1e-5)


def test_update_may_name_several_and_inner_nets(root: Path) -> None:
    text = (
        LAYERS
        + """
    block Two()(x: f32[N, D]) -> f32[N, 2] {
      let body = Dense(4)
      let head = Dense(2)
      return x |> body |> head
    }
    """
        + DATA
        + """
    train t {
      let net = Two()
      let other = Dense(2)
      loss = mean((net(d.x) + other(d.x) - d.y) ^ 2)
      update = WHAT
      optimizer = Descent(0.1)
      steps = 1
    }
    """
    )
    for what, paths in [
        ("net", ["net.body.w", "net.head.w"]),
        ("net.head", ["net.head.w"]),
        ("(net.head, other)", ["net.head.w", "other.w"]),
        ("[net.body]", ["net.body.w"]),
    ]:
        (step,) = train(text.replace("WHAT", what), root).phases[0].steps
        assert sorted(o for o in step.graph.outputs if o != "@loss") == paths
    assert codes(text.replace("WHAT", "d.x"), root) == ["E0422"]
    assert codes(text.replace("WHAT", "net.tail"), root) == ["E0208"]


def test_a_loss_must_reach_a_weight(root: Path) -> None:
    for loss in (
        "mean(d.y)",
        "mean(stop_gradient(net(d.x)))",
        "mean(frozen(net)(d.x))",
        "mean(f32(net(d.x) > 0))",
    ):
        text = LAYERS + DATA + FIT.replace("mean((net(d.x) - d.y) ^ 2)", loss)
        assert codes(text, root) == ["E0423"], loss
    text = (
        LAYERS
        + DATA
        + FIT.replace(
            "let net", "update = other\n let other = Dense(2)\n let seen = other(d.x)\n let net"
        )
    )
    assert "E0423" in codes(text, root)


def test_a_weight_without_a_gradient_stays(root: Path) -> None:
    """Weight decay must not move what the loss does not train."""
    text = (
        LAYERS
        + """
    block Decay()(p: f32[...], grad: f32[...]) -> f32[...] = 0.5 * p - grad
    """
        + DATA
        + """
    train t {
      let net = Dense(2)
      let teacher = Dense(2)
      loss = mean((net(d.x) - frozen(teacher)(d.x)) ^ 2)
      optimizer = Decay()
      steps = 1
    }
    """
    )
    (step,) = train(text, root).phases[0].steps
    assert set(step.graph.outputs) == {"@loss", "net.w"}
    assert sorted(train(text, root).state) == ["net.w", "teacher.w"]


# ---------------------------------------------------------------- buffers
def test_a_buffer_changes_in_training_for_what_is_updated(root: Path) -> None:
    text = (
        LAYERS
        + DATA
        + """
    train t {
      let net = Dense(3) |> Norm()
      let other = Norm()
      loss = mean(net(d.x) ^ 2) + mean(other(d.x) ^ 2)
      update = NET
      optimizer = Descent(0)
      steps = 2
    }
    """
    )
    run = Run(train(text.replace("NET", "other"), root))
    assert sorted(run.state) == [
        "net.dense_0.w",
        "net.norm_0.average",
        "net.norm_0.scale",
        "other.average",
        "other.scale",
    ]
    run.all()
    np.testing.assert_array_equal(run.state["net.norm_0.average"], 0)
    order = random.permutation(0, "shuffle/d", 0, 12)
    average = np.zeros(3)
    for at in (0, 4):
        average = 0.9 * average + 0.1 * X[order[at : at + 4]].mean(0)
    np.testing.assert_allclose(run.state["other.average"], average, rtol=1e-5)


def test_a_buffer_of_an_instance_applied_twice_changes_twice_in_order(root: Path) -> None:
    text = (
        LAYERS
        + DATA
        + """
    train t {
      let norm = Norm()
      let first = norm(d.x)
      loss = mean(first ^ 2) + mean(norm(2 * d.x) ^ 2)
      optimizer = Descent(0)
      steps = 1
    }
    """
    )
    run = Run(train(text, root)).all()
    now = X[random.permutation(0, "shuffle/d", 0, 12)[:4]].mean(0)
    average = 0.9 * (0.1 * now) + 0.1 * 2 * now
    np.testing.assert_allclose(run.state["norm.average"], average, rtol=1e-5)


def test_reads_after_a_set_see_the_new_value(root: Path) -> None:
    text = (
        LAYERS
        + """
    block Count()(x: f32[...]) -> f32 {
      param w: f32 = ones()
      buffer n: f32 = zeros()
      let before = n
      n = n + 1
      return w * (10 * before + n)
    }
    """
        + DATA
        + """
    train t {
      let count = Count()
      loss = count(d.x) + 100 * count(d.x)
      optimizer = Descent(0)
      steps = 2
    }
    """
    )
    run = Run(train(text, root)).all()
    assert [loss for _, loss in run.log] == [1 + 100 * 12, 23 + 100 * 34]


def test_a_buffer_is_set_once_in_a_body(root: Path) -> None:
    text = (
        LAYERS
        + """
    block Twice()(x: f32[...]) -> f32 {
      param w: f32 = ones()
      buffer n: f32 = zeros()
      n = n + 1
      n = n * 2
      return w * n
    }
    """
        + DATA
        + FIT.replace("Dense(2)", "Twice()").replace("mean((net(d.x) - d.y) ^ 2)", "net(d.x)")
    )
    run = Run(train(text, root))
    assert run.step(run.training.phases[0].steps[0]) == 2  # sequential, not one `set` a name


def test_evaluation_reads_buffers_and_changes_none(root: Path) -> None:
    text = (
        LAYERS
        + DATA.replace("batch = 4", "batch = 4\n split = (train = 50%, val = 50%)")
        + """
    train t {
      let norm = Norm(0.5)
      let out = norm(d.x)
      loss = mean(out ^ 2)
      metrics = (m = mean(out, axis = N))
      optimizer = Descent(0)
      steps = 3
    }
    """
    )
    run = Run(train(text, root)).all()
    (val,) = run.training.evaluations
    before = run.state["norm.average"].copy()
    x = X[run.training.sources["d"].rows("val")]
    np.testing.assert_allclose(
        run.evaluate(val)["@metrics/m"], x.mean(0) - before, rtol=1e-4, atol=1e-6
    )
    assert not set(val.batch.outputs) & set(run.state)


def test_a_loss_is_elaborated_no_further_than_to_the_last_net(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but what nets are applied to is asked for a batch of any size."""
    original, ends = inference.loss_value, []

    def watched(*arguments: Any) -> Any:
        try:
            value = original(*arguments)
        except AllApplied:
            ends.append("at the net")
            raise
        ends.append("at the loss")
        return value

    monkeypatch.setattr(inference, "loss_value", watched)
    (forward,) = train(LAYERS + DATA + FIT, root).forwards
    (x,) = (forward.graph.node(id) for id in forward.graph.inputs[:1])
    assert ends == ["at the net"]
    assert not isinstance(x.type.shape[0], int)


# ---------------------------------------------------------------- faults
@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("loss =", "lss =", "E0403"),
        ("optimizer = Descent(0.1)", "", "E0424"),
        ("optimizer = Descent(0.1)", "optimizer = Dense(2)", "E0425"),
        ("optimizer = Descent(0.1)", "optimizer = 0.1", "E0425"),
        ("loss = mean((net(d.x) - d.y) ^ 2)", "", "E0427"),
        ("loss = mean((net(d.x) - d.y) ^ 2)", "loss = (net(d.x) - d.y) ^ 2", "E0428"),
        ("epochs = 2", "epochs = 0", "E0418"),
        ("epochs = 2", "epochs = 2\n seed = -1", "E0418"),
        ("epochs = 2", "epochs = 2\n epochs = 3", "E0203"),
        ("net(d.x)", "net(d.z)", "E0208"),
        ("epochs = 2", "epochs = 2\n step a(time = 2) { update = net }", "E0403"),
    ],
)
def test_faults(root: Path, old: str, new: str, code: str) -> None:
    assert code in codes(LAYERS + DATA + FIT.replace(old, new), root)


def test_two_trainings_and_the_choice(root: Path) -> None:
    text = (
        LAYERS + DATA + FIT + FIT.replace("train t", "train u").replace("epochs = 2", "steps = 1")
    )
    assert train(text, root, "u").steps == 1
    with pytest.raises(NncError) as failure:
        train(text, root)
    assert failure.value.diagnostics[0].code == "E0431"
