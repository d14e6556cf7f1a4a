"""`scan` and `call` as NumPy source, and the rewrites that pay there."""

import numpy as np
import pytest
from nnc_numpy.rewrites import rewrite_for_numpy

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.reverse import vjp
from nnc.ir.types import TensorType
from tests.backends.harness import assert_computes, source_of
from tests.ops.bodies import I32, cell
from tests.ops.bodies import body as make_body
from tests.passes.graphs import graph

SCALAR = TensorType("f64")
VECTOR = TensorType("f64", (5,))


def scan(loop: Graph, carries: int, sequences: int, out_axes: tuple[int, ...], *types: TensorType,
         length: int = 5, axis: int = 0, reverse: bool = False) -> Graph:  # fmt: skip
    """A graph that runs `loop` on inputs a0, a1, ...; outputs are its results."""
    builder = Builder(Graph("loop"))
    operands = [builder.input(f"a{i}", type) for i, type in enumerate(types)]
    results = builder.emit(
        "scan", *operands, body=loop, carries=carries, sequences=sequences,
        axes=(axis,) * sequences, out_axes=out_axes, length=length, reverse=reverse,
    )  # fmt: skip
    builder.graph.outputs = {f"r{i}": result.value for i, result in enumerate(results)}
    return builder.graph


def arrays(made: Graph) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.normal(size=made.node(id).type.shape) for id in made.inputs]


def check(made: Graph) -> str:
    """The source of a graph that computes what it should."""
    return assert_computes(made, arrays(made), 1e-12).split("def forward")[1]


def test_carries_that_need_each_other_change_at_once() -> None:
    swap = make_body({"i": I32, "a": SCALAR, "b": SCALAR}, lambda i, a, b: [b, a])
    made = scan(swap, 2, 0, (), SCALAR, SCALAR)
    assert "a, b = b, a" in check(made)


def test_a_carry_changes_after_the_last_that_needs_the_old_one() -> None:
    fibonacci = make_body({"i": I32, "a": SCALAR, "b": SCALAR}, lambda i, a, b: [b, a + b])
    check(scan(fibonacci, 2, 0, (), SCALAR, SCALAR))


def test_a_stack_of_old_carries() -> None:
    sums = make_body({"i": I32, "s": SCALAR, "x": SCALAR}, lambda i, s, x: [s + x, s])
    text = check(scan(sums, 1, 1, (0,), SCALAR, VECTOR))
    assert text.index("[t] = s") < text.index("s = s +")


def test_the_iteration_counts_down_in_reverse() -> None:
    count = make_body(
        {"i": I32, "s": SCALAR}, lambda i, s: [s * 2.0 + i.cast("f64"), i.cast("f64") * 0.5]
    )
    assert "for t in reversed(range(5)):" in check(scan(count, 1, 0, (0,), SCALAR, reverse=True))


def test_a_loop_in_a_loop() -> None:
    inner = make_body({"i": I32, "s": SCALAR, "k": SCALAR}, lambda i, s, k: [s * k])

    def outer(i: Tensor, s: Tensor, x: Tensor) -> list[Tensor]:
        (power,) = s.builder.emit(
            "scan", s, x, body=inner, carries=1, sequences=0, axes=(), out_axes=(), length=3,
            reverse=False,
        )  # fmt: skip
        return [power, power]

    text = check(
        scan(make_body({"i": I32, "s": SCALAR, "x": SCALAR}, outer), 1, 1, (0,), SCALAR, VECTOR)
    )
    assert "for t in range(5):" in text
    assert "for t_2 in range(3):" in text


def test_what_a_loop_reads_from_outside_is_computed_once() -> None:
    loop = make_body({"i": I32, "s": SCALAR, "x": SCALAR}, lambda i, s, x: [s + x])
    builder = Builder(Graph("outside"))
    s, x = builder.input("s", SCALAR), builder.input("x", VECTOR)
    (total,) = builder.emit(
        "scan", s, x.emit("exp"), body=loop, carries=1, sequences=1, axes=(0,), out_axes=(),
        length=5, reverse=False,
    )  # fmt: skip
    builder.graph.outputs = {"r": total.value}
    text = check(builder.graph)
    assert text.index("np.exp(x)") < text.index("for t in")


def test_the_gradient_of_a_recurrent_net() -> None:
    builder = Builder(Graph("rnn"))
    shapes = ((2, 3), (2, 3, 2), (2, 3), (3, 3))
    operands = [builder.input(f"a{i}", TensorType("f64", s)) for i, s in enumerate(shapes)]
    _, ys = builder.emit(
        "scan", *operands, body=cell(), carries=1, sequences=1, axes=(1,), out_axes=(1,), length=3,
        reverse=False,
    )  # fmt: skip
    found = vjp(builder, [ys.sum((0, 1, 2))], [builder.const(1, "f64")], operands)
    builder.graph.outputs = {f"d{i}": x.value for i, x in enumerate(found) if x is not None}
    assert check(builder.graph).count("for t in") == 2


def test_a_call_is_its_body() -> None:
    square = make_body({"x": VECTOR}, lambda x: [x * x, x.sum((0,))])
    made = graph(lambda x: list((x + 1.0).emit("call", body=square)), VECTOR)
    assert "def " not in check(made)


# ---------------------------------------------------------------- rewrites
def pieces(x: Tensor) -> list[Tensor]:
    cut = ((0, 2), (2, 3), (3, 5))
    return [x.emit("slice", start=(a,), stop=(b,), step=(1,)) for a, b in cut]


def test_the_gradient_of_splitting_is_joining() -> None:
    def make(x: Tensor) -> Tensor:
        a, b, c = pieces(x)
        y = a.emit("sin").sum((0,)) + b.emit("exp").sum((0,)) + c.emit("cos").sum((0,))
        (dx,) = vjp(x.builder, [y], [x.builder.const(1, "f64")], [x])
        assert dx is not None
        return dx

    text = check(graph(make, VECTOR))
    assert "np.concatenate" in text
    assert "np.pad" not in text


def padded(x: Tensor, low: int) -> Tensor:
    """x [5] inside 11 zeros."""
    result: Tensor = x.emit("pad", low=(low,), high=(11 - 5 - low,), value=0.0)
    return result


@pytest.mark.parametrize("second", [4, 6])
def test_pieces_that_overlap_or_leave_gaps_are_added(second: int) -> None:
    made = graph(lambda x, y: padded(x, 0) + padded(y, second), VECTOR, VECTOR)
    assert "np.concatenate" not in check(made)


def test_the_gradient_of_picking_one_is_a_comparison() -> None:
    def make(x: Tensor) -> Tensor:
        index = x.builder.const(np.array([[1], [0], [2]], np.int32), "i32")
        zeros = x.builder.full(0, "f64", (3, 4))
        result: Tensor = zeros.emit("scatter_add_along", index, x, axis=1)
        return result

    made = graph(make, TensorType("f64", (3, 1)))
    text = check(made)
    assert "np.arange(4, dtype=np.int32) ==" in text
    assert "_scatter_add_along" not in source_of(made)


def test_a_cross_entropy_and_its_gradient_share_an_exp() -> None:
    index = np.array([[2, 0], [1, 1], [0, 2]], np.int32)

    def both(x: Tensor, labels: Tensor) -> Tensor:
        logs = x.emit("log_softmax", axis=2)
        picked = logs.emit("take_along", labels.reshape((3, 2, 1)), axis=2)
        return logs.emit("exp") * picked.reshape((3, 2)).broadcast((3, 2, 4), (0, 1))

    made = graph(both, TensorType("f64", (3, 2, 4)), TensorType("i32", (3, 2)))
    rewrite_for_numpy(made)
    assert [node.op for node in made if "softmax" in node.op] == ["pick_log_softmax"]
    assert_computes(made, [np.random.default_rng(0).normal(size=(3, 2, 4)), index], 1e-12)


def test_a_log_softmax_that_is_read_otherwise_stays() -> None:
    def both(x: Tensor, labels: Tensor) -> Tensor:
        logs = x.emit("log_softmax", axis=1)
        return logs.emit("take_along", labels, axis=1).sum((1,)) + (logs * logs.emit("exp")).sum(
            (1,)
        )

    made = graph(both, TensorType("f64", (3, 4)), TensorType("i32", (3, 1)))
    rewrite_for_numpy(made)
    assert "log_softmax" in {node.op for node in made}
