"""The verifier finds each way in which a pass can break a graph, and names the node."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Origin, Value
from nnc.ir.types import TensorType
from nnc.ir.verify import GraphError, verify
from tests.ir.strategies import graphs

F32 = TensorType("f32", (3,))


def chain() -> Graph:
    """y = -exp(x), where the exponential is node 1."""
    builder = Builder(Graph(), (Origin("digits.nn", 20, 5),))
    x = builder.input("x", F32)
    y = builder.emit("exp", x, name="h").emit("neg")
    builder.graph.outputs = {"y": y.value}
    return builder.graph


def wrong_type(graph: Graph) -> None:
    graph.node(1).types = (TensorType("f32", (4,)),)


def too_many_results(graph: Graph) -> None:
    graph.node(1).types = (F32, F32)


def unknown_op(graph: Graph) -> None:
    graph.node(1).op = "exponential"


def refused_operand(graph: Graph) -> None:
    graph.node(0).types = (TensorType("i32", (3,)),)


def stale_edge(graph: Graph) -> None:
    graph.node(2).operands = (Value(0),)


def no_such_result(graph: Graph) -> None:
    graph.set_operands(graph.node(2), (Value(1, 1),))


def dangling_output(graph: Graph) -> None:
    graph.outputs["z"] = Value(9)


def cycle(graph: Graph) -> None:
    graph.set_operands(graph.node(1), (Value(2),))


def second_input_of_one_name(graph: Graph) -> None:
    Builder(graph).input("x", F32)


def unlisted_input(graph: Graph) -> None:
    graph.inputs.clear()


def broken_body(graph: Graph) -> None:
    body = chain()
    x = Builder(graph).tensor(Value(0))
    x.emit("call", body=body)
    wrong_type(body)


FAULTS: list[tuple[Callable[[Graph], None], str]] = [
    (wrong_type, '%1 "h" = exp (digits.nn:20): has the type f32[4], not f32[3]'),
    (too_many_results, '%1 "h" = exp (digits.nn:20): has the type f32[3], f32[3], not f32[3]'),
    (unknown_op, "there is no op `exponential`"),
    (refused_operand, '%1 "h" = exp (digits.nn:20): `exp` takes floats, not i32'),
    (stale_edge, "%2 = neg (digits.nn:20): its edges are not its operands"),
    (no_such_result, "%2 = neg (digits.nn:20): reads %1:1, which is not"),
    (dangling_output, "the output `z` reads %9:0, which is not"),
    (cycle, "depends on itself"),
    (second_input_of_one_name, "two inputs have one name: ['x', 'x']"),
    (unlisted_input, "the inputs are %[0], and listed are %[]"),
    (broken_body, '%3 = call: %1 "h" = exp (digits.nn:20): has the type'),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS, ids=lambda x: getattr(x, "__name__", ""))
def test_faults_are_named(fault: Callable[[Graph], None], message: str) -> None:
    graph = chain()
    verify(graph)
    fault(graph)
    with pytest.raises(GraphError) as found:
        verify(graph)
    assert message in str(found.value)


@settings(max_examples=30, deadline=None)
@given(graphs())
def test_what_the_builder_makes_is_valid(graph: Graph) -> None:
    verify(graph)
    verify(graph.copy())
