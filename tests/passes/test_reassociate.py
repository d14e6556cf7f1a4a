"""Scalar factors meet in one, which saves an array each; the rest is left as it was."""

from __future__ import annotations

import numpy as np
import pytest

from nnc.ir.builder import Tensor
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.types import TensorType
from nnc.ir.verify import verify
from nnc.passes.dead_code import dead_code
from nnc.passes.pipeline import select
from nnc.passes.reassociate import reassociate
from tests.passes.graphs import F64, assert_stays, graph

NUMBER = TensorType("f64")


def sized(changed: Graph, op: str) -> int:
    """How many nodes of `op` compute a whole array."""
    return sum(node.op == op and node.type.rank > 0 for node in changed)


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda x, y, a: (x * 0.1) * 3.0, {"mul": 1}),
        (lambda x, y, a: 3.0 * (a.expand(x.shape) * x), {"mul": 1}),
        (lambda x, y, a: (x * 0.1) * (y * a.expand(x.shape)), {"mul": 2}),
        (lambda x, y, a: x / a.expand(x.shape) * 0.1, {"mul": 1, "div": 0}),
        (lambda x, y, a: 0.1 / (x * 7.0), {"mul": 0, "div": 1}),
        (lambda x, y, a: -x * 0.3, {"mul": 1, "neg": 0}),
        (lambda x, y, a: (x * 0.3).sum((0,)), {"mul": 1}),
        (lambda x, y, a: x * 0.3 + y * 0.3, {"mul": 1, "add": 1}),
        (lambda x, y, a: x * 0.3 + y * -0.3, {"mul": 1, "sub": 1}),
        (lambda x, y, a: x * a.expand(x.shape) - y * a.expand(x.shape), {"mul": 1, "sub": 1}),
    ],
)
def test_factors_meet(function: object, left: dict[str, int]) -> None:
    original = graph(function, F64, F64, NUMBER)  # type: ignore[arg-type]
    changed = original.copy()
    reassociate.run(changed)
    dead_code.run(changed)
    verify(changed)
    assert {op: sized(changed, op) for op in left} == left
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), np.array(1.7)]
    found, wanted = interpret(changed, inputs), interpret(original, inputs)
    np.testing.assert_allclose(found["y0"], wanted["y0"], rtol=1e-14)


def twice(x: Tensor, y: Tensor) -> list[Tensor]:
    scaled = x * 0.3
    return [scaled * 5.0, scaled.sum((0,)), scaled + y * 0.3]


@pytest.mark.parametrize(
    "function",
    [
        twice,  # what is computed anyhow costs nothing more
        lambda x, y: x * 0.3 + y * 0.5,
        lambda x, y: x * y,
        lambda x, y: x / y,
    ],
)
def test_what_saves_nothing_stays(function: object) -> None:
    assert_stays(reassociate, function, F64, F64)  # type: ignore[arg-type]


def test_whole_numbers_wrap_and_are_left_alone() -> None:
    assert_stays(reassociate, lambda x: (x * 3) * 5, TensorType("i32", (2,)))


def test_it_runs_on_request_only() -> None:
    assert reassociate not in select()
    assert reassociate in select(fast_math=True)
    assert reassociate not in select(without=["reassociate"], fast_math=True)
