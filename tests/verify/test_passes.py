"""A fault that a pass brings in is no backend's; `--bisect` names the pass and the op."""

from __future__ import annotations

import pytest
from nnc_numpy import backend

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Value
from nnc.passes.base import Pass
from nnc.passes.pipeline import DEFAULT
from nnc.verify import problems, verify
from tests.verify.programs import line_of, training


def halve_tanh(graph: Graph) -> None:
    """Puts tanh(x) / 2 in the place of tanh(x)."""
    builder = Builder(graph)
    for node in [node for node in graph if node.op == "tanh"]:
        with builder.at(node.origin):
            half = builder.emit("tanh", builder.tensor(node.operands[0])) * 0.5
        graph.replace(Value(node.id), half.value)


def drop_dropout(graph: Graph) -> None:
    """Takes the operand of the scaling in dropout for its result."""
    for node in [node for node in graph if node.op == "mul" and not node.name]:
        if any(origin.line == 31 and "layers" in origin.file for origin in node.origin):
            graph.replace(Value(node.id), node.operands[0])


FAULTY = (*DEFAULT[:2], Pass("halve_tanh", halve_tanh, "wrong"), *DEFAULT[2:])


def test_the_guilty_pass_is_named() -> None:
    report = verify(training("norm"), {"numpy": backend}, steps=2, bisect=True, passes=FAULTY)
    assert not report.passed
    assert not report.passes.passed
    assert report.pass_fault is not None
    assert report.pass_fault.brought_in_by == "halve_tanh"
    assert report.pass_fault.place == f"norm.nn:{line_of('norm', 'tanh(n)')}"
    (problem,) = problems(report)
    assert "the pass `halve_tanh` changes what" in problem.message


def test_backends_that_print_the_wrong_graph_rightly_are_innocent() -> None:
    report = verify(training("norm"), {"numpy": backend}, steps=2, passes=FAULTY)
    (numpy,) = report.backends
    assert numpy.passed
    assert report.pass_fault is None
    (problem,) = problems(report)
    assert problem.help == "`--bisect` names the pass"


@pytest.mark.parametrize("name", [p.name for p in DEFAULT])
def test_no_pass_of_nnc_is_guilty(name: str) -> None:
    passes = tuple(p for p in DEFAULT if p.name == name)
    report = verify(training("mlp"), {"numpy": backend}, steps=1, passes=passes)
    assert report.passed
