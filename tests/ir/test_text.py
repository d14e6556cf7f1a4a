"""The text form says all of a graph, and equality ignores what no result depends on."""

import numpy as np
import pytest
from hypothesis import given, settings

from nnc.ir.builder import Builder
from nnc.ir.dims import symbol
from nnc.ir.graph import Array, Graph, Node, Origin
from nnc.ir.text import graphs_equal, parse_graph, print_graph, structural_hash
from nnc.ir.types import TensorType
from nnc.ir.verify import GraphError, verify
from tests.ir.strategies import graphs
from tests.ir.test_dims import dims

few = settings(max_examples=60, deadline=None)


def dense() -> Graph:
    """relu-free dense layer over a symbolic batch."""
    builder = Builder(Graph("net"))
    x = builder.input("x", TensorType("f32", (symbol("N"), 4)), "batch")
    w = builder.input("net.w", TensorType("f32", (4, 2)), "state")
    with builder.at((Origin("digits.nn", 20, 5, "net.dense_0"), Origin("std.nn", 3, 1))):
        h = builder.emit("dot", x, w, name="h", contract=((1,), (0,)), batch=((), ()))
        y = h + builder.const(np.array([0.5, -1.0], np.float32), "f32")
    builder.graph.outputs = {"output": y.value}
    return builder.graph


def test_one_line_a_node() -> None:
    assert (
        print_graph(dense())
        == """\
graph "net" {
  %0 "x" = input() {kind="batch", name="x"} : f32[N, 4]
  %1 "net.w" = input() {kind="state", name="net.w"} : f32[4, 2]
  %2 "h" = dot(%0, %1) {batch=((), ()), contract=((1,), (0,))} : f32[N, 2]\
  # digits.nn:20:5 net.dense_0, std.nn:3:1
  %3 = const() {dtype="f32", value=array(f32[2], 0.5, -1.0)} : f32[2]\
  # digits.nn:20:5 net.dense_0, std.nn:3:1
  %4 = broadcast(%3) {axes=(1,), shape=(N, 2)} : f32[N, 2]\
  # digits.nn:20:5 net.dense_0, std.nn:3:1
  %5 = add(%2, %4) : f32[N, 2]  # digits.nn:20:5 net.dense_0, std.nn:3:1
  return "output"=%5
}"""
    )


def contents(graph: Graph) -> list[Node]:
    return [graph.node(id) for id in sorted(graph.nx)]


@few
@given(graphs())
def test_the_text_round_trips(graph: Graph) -> None:
    text = print_graph(graph)
    again = parse_graph(text)
    verify(again)
    assert graphs_equal(again, graph)
    assert structural_hash(again) == structural_hash(graph)
    assert print_graph(again) == text
    for a, b in zip(contents(again), contents(graph), strict=True):
        assert (a.id, a.op, a.operands, a.types) == (b.id, b.op, b.operands, b.types)
        assert (a.name, a.origin) == (b.name, b.origin)
    assert (again.name, again.inputs, again.outputs) == (graph.name, graph.inputs, graph.outputs)


@few
@given(dims)
def test_dims_round_trip(dim: object) -> None:
    builder = Builder(Graph())
    node = builder.graph.insert("size", (), {"dim": dim, "dtype": "i32"}, (TensorType("i32"),))
    again = parse_graph(print_graph(builder.graph))
    assert again.node(node.id).attrs["dim"] == dim


@pytest.mark.parametrize(
    "value",
    [0, -3, 2**70, 0.1, -0.0, 1e-300, float("inf"), -float("inf"), True, None, "a \"b\"\n\\", (),
     (1,), ((1, 2), ("x",)), (0.5, False)],
)  # fmt: skip
def test_attributes_keep_value_and_type(value: object) -> None:
    graph = Graph()
    graph.insert("op", (), {"a": value}, ())
    again = parse_graph(print_graph(graph)).node(0).attrs["a"]
    assert repr(again) == repr(value)


@pytest.mark.parametrize(
    "array",
    [
        np.array([0.1, -0.0, np.inf, -np.nan, 1e-45], np.float32),
        np.linspace(0.0, 1.0, 40),
        np.array(7, np.uint64) + np.uint64(2**63),
        np.array([[True], [False]]),
        np.zeros((0, 3), np.int32),
        np.array([1e-7, 65504], np.float16),
    ],
)
def test_arrays_keep_every_bit(array: np.ndarray) -> None:
    graph = Graph()
    graph.insert("op", (), {"a": Array(array)}, ())
    assert parse_graph(print_graph(graph)).node(0).attrs["a"] == Array(array)


def test_an_attribute_that_no_text_says_is_refused() -> None:
    graph = Graph()
    graph.insert("op", (), {"a": np.float32(1)}, ())
    with pytest.raises(TypeError, match="cannot be an attribute"):
        print_graph(graph)


# ---------------------------------------------------------------- equality
def two_terms(
    *, swapped: bool = False, name: str = "", scale: float = 2.0, twice: bool = False
) -> Graph:
    """exp(x) + scale * x, with the terms made in either order."""
    builder = Builder(Graph(name))
    x = builder.input("x", TensorType("f32", (3,)))
    terms = {}
    for term in ("product", "exp") if swapped else ("exp", "product"):
        with builder.at((Origin(f"{name}.nn", 1, 1),)):
            terms[term] = x * scale if term == "product" else x.emit("exp")
    if twice:
        terms["exp"] = x.emit("exp")
    builder.graph.outputs = {"y": (terms["exp"] + terms["product"]).value}
    return builder.graph


def test_equality_ignores_order_of_creation_names_and_places() -> None:
    assert graphs_equal(two_terms(), two_terms(swapped=True, name="other"))
    assert structural_hash(two_terms()) == structural_hash(two_terms(swapped=True, name="other"))


def test_equality_sees_attributes_outputs_and_dead_nodes() -> None:
    assert not graphs_equal(two_terms(), two_terms(scale=3.0))
    assert not graphs_equal(two_terms(), two_terms(twice=True))
    renamed = two_terms()
    renamed.outputs = {"z": renamed.outputs["y"]}
    assert not graphs_equal(two_terms(), renamed)


def test_equality_sees_whether_a_value_is_shared() -> None:
    """x + exp(x) computed once for both outputs, or twice."""
    texts = set()
    for shared in (True, False):
        builder = Builder(Graph())
        x = builder.input("x", TensorType("f32"))
        first = x.emit("exp")
        second = first if shared else x.emit("exp")
        builder.graph.outputs = {"a": first.value, "b": second.value}
        texts.add(structural_hash(builder.graph))
    assert len(texts) == 2


def test_dead_nodes_are_compared_in_any_order() -> None:
    both = []
    for ops in (("exp", "neg"), ("neg", "exp")):
        builder = Builder(Graph())
        x = builder.input("x", TensorType("f32"))
        for op in ops:
            x.emit(op)
        builder.graph.outputs = {"x": x.value}
        both.append(builder.graph)
    assert graphs_equal(*both)


def test_deep_graphs_need_no_stack() -> None:
    builder = Builder(Graph())
    x = builder.input("x", TensorType("f32"))
    for _ in range(3000):
        x = x.emit("neg")
    builder.graph.outputs = {"x": x.value}
    assert graphs_equal(parse_graph(print_graph(builder.graph)), builder.graph)


# ---------------------------------------------------------------- faults
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("graph", "line 1: expected string, found 'the end'"),
        ('graph "" {\n  %0 = exp(%1) : f32\n', "line 2: expected a node defined above, found '%1'"),
        ('graph "" {\n  %0 = iota() : f31\n', "line 2: expected an element type, found 'f31'"),
        ('graph "" { %0 = iota() : f32 %0 =', "a second node of one number"),
        ('graph "" { %0 = iota() : f32 return "y"=%0:1', "%0 has no result 1"),
        ('graph "" {\n\n return ; }', "line 3: ';' is not part of a graph's text"),
        ('graph "" { %0 = c() {v=array(f32[2], 1.0)} : f32[2]', "no array of f32[2]"),
        ('graph "" { %0 = c() {v=array(f32[2], "!")} : f32[2]', "no array of f32[2]"),
        ('graph "" { %0 = c() {v=array(f32[N], 1.0)} : f32', "no array of f32[N]"),
        ('graph "" { %0 = c() : f32  # nowhere\n', "'# nowhere' is not a list of places"),
        ('graph "" { return } }', "expected end, found '}'"),
    ],
)
def test_a_faulty_text_is_refused_at_its_line(text: str, message: str) -> None:
    with pytest.raises(GraphError) as refused:
        parse_graph(text)
    assert message in str(refused.value)
