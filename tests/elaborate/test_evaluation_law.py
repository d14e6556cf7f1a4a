"""Whatever a metric does with the samples: batches give what the whole gives (semantics 18)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.elaborate.harness import DESCENT, Run, save, train

RNG = np.random.default_rng(3)
COUNT = 7
T = RNG.normal(size=(COUNT, 3, 2)).astype(np.float32)
PROGRAM = (
    DESCENT
    + """
block Scale()(x: f32[...]) -> f32[...] {
  param w: f32 = ones()
  return x * w
}
data d {
  t: f32[N, S = 3, C = 2] = npz("d.npz", "t")
  batch = 3
  shuffle = false
}
train fit {
  let net = Scale()
  loss = mean(net(d.t))
  optimizer = Descent(0.1)
  steps = 1
  metrics = (m = METRIC)
}
"""
)
Dims = tuple[tuple[int, int], ...]  # of each axis: how often it has N, and its other factor


@st.composite
def metrics(draw: st.DrawFn) -> str:
    """A chain of operations on [N, 3, 2], in the end one number."""
    text, dims = "d.t", ((1, 1), (0, 3), (0, 2))
    for _ in range(draw(st.integers(1, 5))):
        text, dims = draw(_step(text, dims))
    return f"mean(tanh({text}))"


@st.composite
def _step(draw: st.DrawFn, text: str, dims: Dims) -> tuple[str, Dims]:
    axis = draw(st.integers(0, len(dims) - 1))
    last = axis + 1 == len(dims)
    kinds = ["tanh", "flip", "cumsum", "softmax", "sort", "centre", "double", "swap", "expand"]
    kinds += ["sum", "max"] if len(dims) > 1 else []
    kinds += [] if last else ["join"]
    kinds += [] if dims[axis][0] > 1 else ["outer"] if len(dims) == 1 else []
    kind = draw(st.sampled_from(kinds))
    rest = (*dims[:axis], *dims[axis + 1 :])
    if kind == "tanh":
        return f"tanh({text})", dims
    if kind in ("flip", "cumsum", "softmax", "sort"):
        return f"{kind}({text}, axis = {axis})", dims
    if kind == "centre":
        return f"({text} |> _ - mean(_, axis = {axis}, keep = true))", dims
    if kind == "double":
        n, k = dims[axis]
        wide = (*dims[:axis], (n, 2 * k), *dims[axis + 1 :])
        return f"({text} |> concat(_, 2 * _, axis = {axis}))", wide
    if kind == "swap":
        order = draw(st.permutations(range(len(dims))))
        return f"transpose({text}, {list(order)})", tuple(dims[i] for i in order)
    if kind == "expand":
        return f"expand({text}, axis = {axis})", (*dims[:axis], (0, 1), *dims[axis:])
    if kind in ("sum", "max"):
        return f"{kind}({text}, axis = {axis})", rest
    if kind == "outer":
        pair = f"({text} |> expand(_, axis = 0) * expand(_, axis = 1))"
        return pair, (*dims, *dims)
    (n, k), (m, j) = dims[axis : axis + 2]
    joined = (*dims[:axis], (n + m, k * j), *dims[axis + 2 :])
    sizes = ", ".join(" * ".join(["N"] * n + [str(k)]) for n, k in joined)
    return f"reshape({text}, [{sizes}])", joined


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("law")
    save(path, d={"t": T})
    return path


@given(metrics(), st.lists(st.integers(1, 3), min_size=1, max_size=5))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_batches_give_what_the_whole_gives(root: Path, metric: str, sizes: list[int]) -> None:
    training = train(PROGRAM.replace("METRIC", metric), root)
    (evaluation,) = training.evaluations
    run = Run(training, wide=True)
    whole = run.whole(evaluation)["@metrics/m"]
    cuts = list(sizes)
    while sum(cuts) < COUNT:
        cuts.append(1)
    np.testing.assert_allclose(
        run.evaluate(evaluation, cuts)["@metrics/m"], whole, rtol=1e-9, atol=1e-12
    )


@given(metrics())
@settings(max_examples=30, deadline=None)
def test_a_whole_part_at_once_is_the_graph_that_was_cut(root: Path, metric: str) -> None:
    """The two halves of one batch are the metric itself, as a training loss on that batch."""
    text = PROGRAM.replace("METRIC", metric)
    as_loss = text.replace("loss = mean(net(d.t))", f"loss = 0 * mean(net(d.t)) + {metric}")
    as_loss = as_loss.replace("batch = 3", f"batch = {COUNT}")
    run = Run(train(as_loss, root), wide=True)
    (evaluation,) = run.training.evaluations
    found = run.whole(evaluation)["@metrics/m"]
    loss = run.step(run.training.phases[0].steps[0])
    np.testing.assert_allclose(found, loss, rtol=1e-9, atol=1e-12)
