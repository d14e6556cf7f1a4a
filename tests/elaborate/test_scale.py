"""Long and deep programs: they are built in linear time, or refused, and never overflow."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import networkx
import numpy as np
import pytest
from hypothesis import given, settings

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Value
from nnc.ir.types import TensorType
from tests.elaborate.harness import DESCENT, Run, codes, compiled, out, save, train
from tests.passes.graphs import random_graphs

F = np.float32
X = np.arange(6, dtype=F).reshape(2, 3) / 6
TRAIN = (
    DESCENT
    + """
block Dense(out: int)(x: f32[..., D]) -> f32[..., out] {
  param w: f32[D, out] = normal(std = 0.1)
  return x @ w
}
data d {
  x: f32[N, 3] = npz("d.npz", "x")
  batch = 2
}
train t {
  let net = NET
  loss = mean(net(d.x) ^ 2)
  optimizer = Descent(0.1)
  steps = 1
}
"""
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save(tmp_path, d={"x": X})
    return tmp_path


def test_a_sum_of_a_thousand_terms() -> None:
    terms = " + ".join(f"{i} * x" for i in range(1000))
    np.testing.assert_allclose(
        out(f"block Net()(x: f32[N, D]) = {terms}", X), X * 499_500, rtol=1e-5
    )


def test_a_pipe_of_a_thousand_stages() -> None:
    stages = " |> ".join(["_ + 1"] * 1000)
    np.testing.assert_allclose(out(f"block Net()(x: f32[N, D]) = x |> {stages}", X), X + 1000)


def test_ten_thousand_rounds() -> None:
    text = "block Net()(x: f32[N, D]) = x |> repeat 10_000 { _ + 1 }"
    np.testing.assert_allclose(out(text, X), X + 10_000, rtol=1e-6)


def test_hundreds_of_layers_are_trained(root: Path) -> None:
    training = train(TRAIN.replace("NET", "repeat 200 { Dense(3) |> _ + 1 }"), root)
    assert len(training.state) == 200
    run = Run(training).all()
    assert np.isfinite(run.log[0][1])


@pytest.mark.parametrize(
    ("net", "code"),
    [
        ("repeat 1_000_000 { tanh }", "E0274"),
        ("repeat 10_000 { Dense(3) |> Dense(3) }", "E0273"),
        ("repeat 1_000 { repeat 1_000 { tanh } }", "E0272"),
        ("Dense(10_000_000_000)", "E0273"),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_built(root: Path, net: str, code: str) -> None:
    begin = time.process_time()
    assert codes(TRAIN.replace("NET", net), root)[:1] == [code]
    assert time.process_time() - begin < 5


def test_work_grows_with_the_length_of_the_program(root: Path) -> None:
    """Eight times the layers, eight times the calls: nothing is searched from its beginning."""

    def calls(layers: int) -> int:
        count = 0

        def see(*_: object) -> None:
            nonlocal count
            count += 1

        program = compiled(TRAIN.replace("NET", f"repeat {layers} {{ Dense(3) |> tanh }}"), root)
        sys.setprofile(see)
        try:
            program.training()
        finally:
            sys.setprofile(None)
        return count

    calls(2)  # what is done once: reading the library
    few, more, many = calls(20), calls(40), calls(160)
    each = (more - few) / 20
    assert many - more < 1.15 * 120 * each


@given(random_graphs())
@settings(max_examples=30, deadline=None)
def test_the_order_of_a_graph_is_the_first_of_all_topological_orders(graph: Graph) -> None:
    wanted = list(networkx.lexicographical_topological_sort(graph.nx))
    assert [node.id for node in graph] == wanted


def test_the_order_of_a_graph_that_was_rewired() -> None:
    graph = Graph()
    x = graph.insert("input", (), {"name": "x", "kind": "data"}, (TensorType("f32"),))
    builder = Builder(graph)
    early = builder.tensor(Value(x.id)).emit("exp")
    late = builder.tensor(Value(x.id)).emit("tanh")
    graph.set_operands(graph.producer(early.value), [late.value])
    assert [node.op for node in graph] == ["input", "tanh", "exp"]
    graph.set_operands(graph.producer(late.value), [early.value])
    with pytest.raises(networkx.NetworkXUnfeasible):
        list(graph)
