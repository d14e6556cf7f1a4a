"""Calls are replaced by what they call, wherever they stand."""

import numpy as np

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Origin
from nnc.ir.interpret import interpret
from nnc.ir.verify import verify
from nnc.passes.inline import inline_calls
from tests.gradcheck import normal
from tests.ops.bodies import I32, body, f64

INNER = body({"x": f64(2)}, lambda x: [x.emit("sin"), x * x], "inner")


def swapped(x: Tensor, y: Tensor) -> list[Tensor]:
    """Calls, gives an input back as it is, and gives one value twice."""
    a, b = (x + y).emit("call", body=INNER)
    return [b, y, a, a]


OUTER = body({"x": f64(2), "y": f64(2)}, swapped, "outer")


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph]


def check_same(graph: Graph, arrays: list[np.ndarray]) -> None:
    before = interpret(graph, arrays)
    inline_calls(graph)
    verify(graph)
    for name, value in interpret(graph, arrays).items():
        np.testing.assert_array_equal(value, before[name])


def test_calls_of_calls() -> None:
    builder = Builder(Graph())
    x, y = builder.input("x", f64(2)), builder.input("y", f64(2))
    once = builder.emit("call", x, y, body=OUTER)
    twice = builder.emit("call", once[0], once[1], body=OUTER)
    builder.graph.outputs = {str(i): v.value for i, v in enumerate((*once, *twice))}
    check_same(builder.graph, [normal(2), normal(2, seed=1)])
    assert "call" not in ops(builder.graph)
    assert ops(builder.graph).count("sin") == 2


def test_calls_in_loops() -> None:
    step = body({"i": I32, "h": f64(2), "k": f64(2)}, lambda i, h, k: swapped(h, k)[:1])
    builder = Builder(Graph())
    h, k = builder.input("h", f64(2)), builder.input("k", f64(2))
    (end,) = builder.emit(
        "scan", h, k,
        body=step, carries=1, sequences=0, axes=(), out_axes=(), length=3, reverse=False,
    )  # fmt: skip
    builder.graph.outputs = {"end": end.value}
    check_same(builder.graph, [normal(2), normal(2, seed=1)])
    (scan,) = (node for node in builder.graph if node.op == "scan")
    assert "call" not in ops(scan.attrs["body"])
    assert "call" in ops(step), "a body that others may share is not changed"


def test_what_has_no_place_of_its_own_gets_that_of_the_call() -> None:
    here = (Origin("m.nn", 3, 1),)
    builder = Builder(Graph(), here)
    result = builder.input("x", f64(2)).emit("call", body=INNER)[0]
    builder.graph.outputs = {"y": result.value}
    inline_calls(builder.graph)
    assert {node.origin for node in builder.graph} == {here}
