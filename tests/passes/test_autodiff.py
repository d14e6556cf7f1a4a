"""Gradients of whole graphs, what they are called, and what stands in their way."""

from collections.abc import Sequence
from time import process_time

import numpy as np
import pytest

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Origin
from nnc.ir.interpret import interpret
from nnc.ir.types import TensorType
from nnc.ir.verify import verify
from nnc.passes.autodiff import DifferentiationError, expand_gradients, vjp
from nnc.passes.pipeline import uncollected
from tests.gradcheck import normal, numeric_gradient
from tests.ops.bodies import I32, body, f64, matmul

ARRAYS = [normal(4, 3), normal(3, 5), normal(5), normal(5, 2)]


def network(builder: Builder) -> tuple[Tensor, list[Tensor]]:
    """A classifier with one hidden layer, its loss, and its operands x, w1, b1, w2."""
    names = ("x", "w1", "b1", "w2")
    operands = [builder.input(n, f64(*a.shape)) for n, a in zip(names, ARRAYS, strict=True)]
    x, w1, b1, w2 = operands
    hidden = (matmul(x, w1) + b1).emit("tanh")
    builder.graph.producer(hidden.value).name = "hidden"
    logits = matmul(hidden, w2).emit("log_softmax", axis=1)
    loss: Tensor = -(logits * logits.emit("stop_gradient").emit("exp")).mean((0, 1))
    return loss, operands


def check(
    builder: Builder, y: Tensor, gradients: Sequence[Tensor], arrays: list[np.ndarray]
) -> None:
    """`gradients` of y in all inputs, after expansion, against finite differences."""
    graph = builder.graph
    graph.outputs = {"y": y.value, **{str(i): g.value for i, g in enumerate(gradients)}}
    expand_gradients(graph)
    verify(graph)
    assert not any(node.op == "gradient" for node in graph)
    found = interpret(graph, arrays)
    graph.outputs = {"y": graph.outputs["y"]}
    for index in range(len(arrays)):
        expected = numeric_gradient(lambda xs: float(interpret(graph, xs)["y"]), arrays, index)
        np.testing.assert_allclose(found[str(index)], expected, rtol=1e-5, atol=1e-7)


def test_the_gradient_of_a_network() -> None:
    builder = Builder(Graph())
    x, w1, b1, w2 = (builder.input(str(i), f64(*a.shape)) for i, a in enumerate(ARRAYS))
    hidden = (matmul(x, w1) + b1).emit("sigmoid")
    loss = -matmul(hidden, w2).emit("log_softmax", axis=1).mean((0, 1))
    check(builder, loss, builder.emit("gradient", loss, x, w1, b1, w2), ARRAYS)


def test_gradients_of_gradients_of_gradients() -> None:
    builder = Builder(Graph())
    x = builder.input("x", f64(3))
    y = (x.emit("sin") * x).sum((0,))
    for _ in range(2):
        (g,) = builder.emit("gradient", y, x)
        y = (g * g * x).sum((0,))
    check(builder, y, builder.emit("gradient", y, x), [normal(3)])


def test_a_step_of_an_inner_loop_is_differentiated_through() -> None:
    """Meta-learning: the outer gradient passes through the update that the inner one makes."""
    builder = Builder(Graph())
    x, w = builder.input("x", f64(2, 3)), builder.input("w", f64(3))
    inner = matmul(x, w).emit("tanh").sum((0,))
    fast = w - builder.emit("gradient", inner, w)[0] * 0.1
    outer = matmul(x, fast).emit("exp").sum((0,))
    check(builder, outer, builder.emit("gradient", outer, x, w), [normal(2, 3), normal(3)])


def test_gradients_in_the_body_of_a_loop() -> None:
    """Three steps of gradient descent as a scan, differentiated in its start and its target."""

    def descend(i: Tensor, p: Tensor, target: Tensor) -> list[Tensor]:
        distance = ((p - target) * (p - target) * p).sum((0,))
        return [p - p.builder.emit("gradient", distance, p)[0] * 0.1]

    step = body({"i": I32, "p": f64(2), "target": f64(2)}, descend)
    builder = Builder(Graph())
    start, target = builder.input("start", f64(2)), builder.input("target", f64(2))
    (end,) = builder.emit(
        "scan", start, target,
        body=step, carries=1, sequences=0, axes=(), out_axes=(), length=3, reverse=False,
    )  # fmt: skip
    y = (end * end).sum((0,))
    check(builder, y, builder.emit("gradient", y, start, target), [normal(2), normal(2, seed=1)])


def test_gradients_through_calls() -> None:
    inner = body({"x": f64(2)}, lambda x: [x.emit("sin"), x * x], "inner")
    outer = body({"x": f64(2)}, lambda x: x.emit("call", body=inner), "outer")
    builder = Builder(Graph())
    x = builder.input("x", f64(2))
    a, b = x.emit("call", body=outer)
    y = (a * b).sum((0,))
    check(builder, y, builder.emit("gradient", y, x), [normal(2)])


def test_what_does_not_depend_has_the_gradient_zero() -> None:
    builder = Builder(Graph())
    x, other = builder.input("x", f64(2)), builder.input("other", f64(3))
    y = (x.emit("floor") * 2.0).sum((0,)) + x.sum((0,))
    gradients = builder.emit("gradient", y, x, other)
    builder.graph.outputs = {str(i): g.value for i, g in enumerate(gradients)}
    expand_gradients(builder.graph)
    found = interpret(builder.graph, [normal(2), normal(3)])
    np.testing.assert_array_equal(found["0"], [1, 1])
    np.testing.assert_array_equal(found["1"], [0, 0, 0])


def test_an_intermediate_value_takes_all_that_reaches_it() -> None:
    builder = Builder(Graph())
    x = builder.input("x", f64())
    u = x * 3.0
    y = u * u + x
    du, dx = vjp(builder, [y], [builder.const(1.0, "f64")], [u, x])
    assert du is not None
    assert dx is not None
    builder.graph.outputs = {"du": du.value, "dx": dx.value}
    found = interpret(builder.graph, [np.float64(2)])
    assert (found["du"], found["dx"]) == (12, 37)


def test_only_the_way_between_is_differentiated() -> None:
    """The gradient in b1 multiplies by neither x nor w1, and leaves no node that nothing reads."""
    builder = Builder(Graph())
    loss, (_, _, b1, _) = network(builder)
    first = builder.graph.next_id
    (db1,) = vjp(builder, [loss], [builder.const(1.0, "f64")], [b1])
    assert db1 is not None
    made = [node for node in builder.graph if node.id > first]
    assert [node.op for node in made].count("dot") == 1
    unread = [n.id for n in made if not builder.graph.nx.out_degree(n.id)]
    assert unread == [db1.value.node]


def test_new_nodes_are_named_after_what_they_are_cotangents_of() -> None:
    builder = Builder(Graph())
    loss, (_, w1, _, _) = network(builder)
    (dw1,) = vjp(builder, [loss], [builder.const(1.0, "f64")], [w1])
    assert dw1 is not None
    assert builder.graph.producer(dw1.value).name == "d_w1"
    assert "d_hidden" in {node.name for node in builder.graph}


def test_new_nodes_come_from_where_the_forward_nodes_come_from() -> None:
    builder = Builder(Graph())
    x = builder.input("x", f64(2))
    here, there = (Origin("m.nn", 3, 1),), (Origin("m.nn", 4, 1),)
    with builder.at(here):
        hidden = x.emit("tanh")
    with builder.at(there):
        y = hidden.emit("sin").sum((0,))
    first = builder.graph.next_id
    vjp(builder, [y], [builder.const(1.0, "f64")], [x])
    made = [builder.graph.node(id) for id in builder.graph.nx if id > first]
    assert {node.op: node.origin for node in made if node.op in ("cos", "sub")} == {
        "cos": there,
        "sub": here,
    }


def test_an_op_without_gradient_is_named() -> None:
    builder = Builder(Graph())
    x = builder.input("x", f64(2, 2))
    q = x.emit("orthogonal")
    y = q.sum((0, 1))
    with pytest.raises(DifferentiationError, match="`orthogonal` has no gradient") as caught:
        vjp(builder, [y], [builder.const(1.0, "f64")], [x])
    assert caught.value.node.id == q.value.node
    assert vjp(builder, [y], [builder.const(1.0, "f64")], [q])[0] is not None


def chain(length: int) -> tuple[Builder, Tensor, Tensor]:
    builder = Builder(Graph())
    x = builder.input("x", TensorType("f32"))
    y = x
    for _ in range(length):
        y = y.emit("sin")
    return builder, x, y


def test_deep_graphs_take_linear_time_and_no_stack() -> None:
    seconds = []
    for length in (4_000, 16_000):
        builder, x, y = chain(length)
        with uncollected():  # as the compiler works
            start = process_time()
            (dx,) = vjp(builder, [y], [builder.const(1.0, "f32")], [x])
            seconds.append(process_time() - start)
        assert dx is not None
    assert seconds[1] < 12 * seconds[0]
