"""Scalars that follow from counters are computed on the host, once, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph
from nnc.ir.host import HostConst, HostExpr, HostOp, HostVar, evaluate, python_text
from nnc.ir.interpret import interpret
from nnc.ir.program import Phase, Step, Training
from nnc.ir.types import TensorType
from nnc.ir.verify import verify
from nnc.passes.pipeline import FAST_MATH, optimize_training
from nnc.passes.scalars import hoist

CORRECTION = HostOp("sub", (HostConst(1), HostOp("pow", (HostConst(0.9), HostVar("updates")))))
KNOWN: dict[str, HostExpr] = {"correction": CORRECTION}


def update(uses: int = 1) -> Graph:
    """p - m * (0.5 / correction), for as many weights."""
    builder = Builder(Graph("step"))
    correction = builder.input("correction", TensorType("f32"), "scalar")
    for number in range(uses):
        p, m = (builder.input(f"{n}{number}", TensorType("f32", (3,)), "state") for n in "pm")
        rate = builder.const(0.5, "f32") / correction
        builder.graph.outputs[f"p{number}"] = (p - m * rate.expand((3,))).value
    return builder.graph


def test_quotients_of_scalars_leave_the_step() -> None:
    graph = update()
    before = graph.copy()
    added = hoist(graph, KNOWN)
    verify(graph)
    ((name, expression),) = added.items()
    assert python_text(expression) == "0.5 / (1 - 0.9**updates)"
    assert set(graph.input_names) == {"p0", "m0", name}
    assert not any(node.op == "div" for node in graph)
    counters = {"updates": 3}
    arrays = {"p0": np.ones(3), "m0": np.arange(3.0)}
    found = interpret(graph, {**arrays, name: evaluate(expression, counters)})
    wanted = interpret(before, {**arrays, "correction": evaluate(CORRECTION, counters)})
    np.testing.assert_allclose(found["p0"], wanted["p0"], rtol=1e-6)


def test_equal_scalars_are_one() -> None:
    graph = update(uses=3)
    assert len(hoist(graph, KNOWN)) == 1
    assert sum(graph.node(id).attrs["kind"] == "scalar" for id in graph.inputs) == 1


def test_names_do_not_meet() -> None:
    known = {**KNOWN, "factor": HostConst(1.0)}
    assert list(hoist(update(), known)) == ["factor_2"]


@pytest.mark.parametrize("reads", ["state", "batch"])
def test_what_does_not_follow_from_counters_stays(reads: str) -> None:
    builder = Builder(Graph("step"))
    x = builder.input("correction", TensorType("f32"), reads)
    builder.graph.outputs["y"] = (x * 2.0).value
    assert hoist(builder.graph, KNOWN) == {}
    assert len(builder.graph) == 3


def test_a_training_gets_the_new_scalars() -> None:
    graph = update()
    steps = [Step(name, graph, dict(KNOWN)) for name in ("a", "b")]  # one graph in two phases
    training = Training(
        "fit", {}, [Phase(s.name, 1, [s]) for s in steps], [], [], {}, "", steps_per_epoch=1
    )
    optimize_training(training, FAST_MATH)
    for step in steps:
        assert python_text(step.scalars["factor"]) == "0.5 / (1 - 0.9**updates)"
        assert "factor" in graph.input_names
