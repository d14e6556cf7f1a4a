"""What no output needs goes: nodes, and the parts of loops that nothing reads."""

import numpy as np
from hypothesis import given, settings

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node
from nnc.ir.interpret import interpret
from nnc.ir.types import TensorType
from nnc.ir.verify import verify
from nnc.passes.dead_code import dead_code
from tests.passes.graphs import F64, assert_same_meaning, graph, random_graphs

SCALAR = TensorType("f64")


@settings(max_examples=40, deadline=None)
@given(random_graphs())
def test_not_a_bit_changes(original: Graph) -> None:
    assert_same_meaning(dead_code, original)


def test_unread_nodes_go_and_inputs_stay() -> None:
    def make(x: Tensor, y: Tensor) -> Tensor:
        (x * y).emit("exp")
        return x + 1.0

    changed = graph(make, F64, F64)
    dead_code.run(changed)
    assert sorted(node.op for node in changed) == ["add", "broadcast", "const", "input", "input"]


def loop(read: set[int]) -> Graph:
    """Carries: h (read by y), k (by itself alone), c (by h). Stacks: y = h * x, z = k."""

    def body() -> Graph:
        builder = Builder(Graph("body"))
        builder.input("t", TensorType("i32"))
        h, k, c, x, unread = (builder.input(n, SCALAR) for n in ("h", "k", "c", "x", "unread"))
        w = builder.input("w", SCALAR)
        new = {"h": h + c, "k": k * w, "c": c + x, "y": h * x, "z": k + unread}
        builder.graph.outputs = {name: value.value for name, value in new.items()}
        return builder.graph

    builder = Builder(Graph("loop"))
    start = [builder.input(name, SCALAR) for name in ("h", "k", "c")]
    sequences = [builder.input(name, TensorType("f64", (4,))) for name in ("x", "unread")]
    results = builder.emit(
        "scan", *start, *sequences, builder.input("w", SCALAR), body=body(), carries=3,
        sequences=2, axes=(0, 0), out_axes=(0, 0), length=4, reverse=False,
    )  # fmt: skip
    builder.graph.outputs = {f"out{i}": results[i].value for i in sorted(read)}
    return builder.graph


def pruned(read: set[int]) -> Node:
    original, changed = loop(read), loop(read)
    dead_code.run(changed)
    verify(changed)
    inputs = [np.asarray(v) for v in (0.5, 2.0, 1.0)]
    inputs += [np.arange(4.0), np.arange(4.0) - 2, np.asarray(3.0)]
    for before, after in zip(
        interpret(original, inputs).values(), interpret(changed, inputs).values(), strict=True
    ):
        np.testing.assert_array_equal(after, before)
    (scan,) = [node for node in changed if node.op == "scan"]
    return scan


def test_a_carry_that_serves_itself_alone_goes_with_all_it_reads() -> None:
    scan = pruned({3})
    assert (scan.attrs["carries"], scan.attrs["sequences"]) == (2, 1)
    assert scan.attrs["body"].input_names == ["t", "h", "c", "x"]
    assert list(scan.attrs["body"].outputs) == ["h", "c", "y"]


def test_a_carry_that_another_one_reads_stays() -> None:
    scan = pruned({0})
    assert list(scan.attrs["body"].outputs) == ["h", "c"]


def test_a_stack_keeps_what_it_reads() -> None:
    scan = pruned({4})
    assert scan.attrs["body"].input_names == ["t", "k", "unread", "w"]
    assert len(scan.types) == 2


def test_a_loop_that_is_read_whole_stays_as_it_is() -> None:
    scan = pruned({0, 1, 2, 3, 4})
    assert len(scan.operands) == 6
