"""Products leave loops: before them, after them, or as one where a loop only adds them up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node
from nnc.ir.interpret import interpret
from nnc.ir.reverse import vjp
from nnc.ir.types import TensorType
from nnc.ir.verify import verify
from nnc.passes.dead_code import dead_code
from nnc.passes.loops import loops
from tests.ops.bodies import I32, body, cell, f64, matmul

LENGTH = 4
Step = Callable[..., list[Tensor]]


def scanned(
    step: Step | Graph,
    carries: dict[str, TensorType],
    sequences: dict[str, tuple[TensorType, int]],
    captures: dict[str, TensorType],
    out_axes: tuple[int, ...] = (),
    reverse: bool = False,
) -> Graph:
    """A graph with one loop: `sequences` by the type of a slice and the scanned axis."""
    builder = Builder(Graph("test"))
    slices = {name: type for name, (type, _) in sequences.items()}
    if not isinstance(step, Graph):
        step = body({"i": I32, **carries, **slices, **captures}, step)
    wholes = {
        name: type.with_shape((*type.shape[:axis], LENGTH, *type.shape[axis:]))
        for name, (type, axis) in sequences.items()
    }
    operands = [builder.input(n, t) for n, t in (*carries.items(), *wholes.items())]
    operands += [builder.input(n, t) for n, t in captures.items()]
    results = builder.emit(
        "scan", *operands, body=step, carries=len(carries), sequences=len(sequences),
        axes=tuple(axis for _, axis in sequences.values()), out_axes=out_axes, length=LENGTH,
        reverse=reverse,
    )  # fmt: skip
    builder.graph.outputs = {f"r{i}": result.value for i, result in enumerate(results)}
    return builder.graph


def improved(original: Graph) -> Graph:
    """The graph after the pass, which must compute what it did before."""
    changed = original.copy()
    loops.run(changed)
    dead_code.run(changed)
    verify(changed)
    draw = np.random.default_rng(0)
    inputs = [draw.normal(size=original.node(id).type.shape) for id in original.inputs]
    wanted, found = interpret(original, inputs), interpret(changed, inputs)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-13, err_msg=name)
    return changed


def loop_of(graph: Graph) -> Node:
    (node,) = (node for node in graph if node.op == "scan")
    return node


def ops(graph: Graph, op: str) -> int:
    return sum(node.op == op for node in graph)


def inside(graph: Graph, op: str) -> int:
    return ops(loop_of(graph).attrs["body"], op)


# ---------------------------------------------------------------- before the loop
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_product_of_a_sequence_is_one_product_before_the_loop(axis: int) -> None:
    def step(i: Tensor, h: Tensor, x: Tensor, w: Tensor) -> list[Tensor]:
        return [(matmul(x, w) + h).emit("tanh")]

    changed = improved(scanned(step, {"h": f64(2, 3)}, {"x": (f64(2, 5), axis)}, {"w": f64(5, 3)}))
    assert (ops(changed, "dot"), inside(changed, "dot")) == (1, 0)


def test_so_is_one_whose_other_operand_is_the_sequence() -> None:
    def step(i: Tensor, h: Tensor, x: Tensor, w: Tensor) -> list[Tensor]:
        return [(w.emit("dot", x, contract=((0,), (1,)), batch=((), ())) + h).emit("tanh")]

    changed = improved(scanned(step, {"h": f64(3, 2)}, {"x": (f64(2, 5), 1)}, {"w": f64(5, 3)}))
    assert (ops(changed, "dot"), inside(changed, "dot")) == (1, 0)


def test_batches_of_products_leave_too() -> None:
    def step(i: Tensor, h: Tensor, x: Tensor, w: Tensor) -> list[Tensor]:
        product = x.emit("dot", w, contract=((2,), (1,)), batch=((0,), (0,)))
        return [(product + h).emit("tanh")]

    types = {"h": f64(6, 2, 3)}, {"x": (f64(6, 2, 5), 2)}, {"w": f64(6, 5, 3)}
    changed = improved(scanned(step, *types))
    assert (ops(changed, "dot"), inside(changed, "dot")) == (1, 0)


def test_what_depends_on_a_carry_stays() -> None:
    types = {"h": f64(2, 3)}, {"x": (f64(2, 2), 0)}, {"w": f64(2, 3), "u": f64(3, 3)}
    changed = improved(scanned(cell(), *types, out_axes=(1,)))
    assert (ops(changed, "dot"), inside(changed, "dot")) == (1, 1)


def test_invariants_are_computed_once() -> None:
    def step(i: Tensor, h: Tensor, w: Tensor) -> list[Tensor]:
        return [matmul(h, (w * w).emit("tanh"))]

    changed = improved(scanned(step, {"h": f64(2, 3)}, {}, {"w": f64(3, 3)}))
    assert (ops(changed, "tanh"), inside(changed, "tanh"), inside(changed, "mul")) == (1, 0, 0)


# ---------------------------------------------------------------- after the loop
def test_a_product_that_is_only_collected_is_one_product_after_the_loop() -> None:
    def step(i: Tensor, h: Tensor, u: Tensor, v: Tensor) -> list[Tensor]:
        new = matmul(h, u).emit("tanh")
        return [new, matmul(new, v)]

    for axis in range(3):
        types = {"h": f64(2, 3)}, {}, {"u": f64(3, 3), "v": f64(3, 5)}
        changed = improved(scanned(step, *types, out_axes=(axis,)))
        assert (ops(changed, "dot"), inside(changed, "dot")) == (1, 1)


def test_one_that_the_next_round_needs_stays() -> None:
    def step(i: Tensor, h: Tensor, u: Tensor) -> list[Tensor]:
        new = matmul(h, u)
        return [new.emit("tanh"), new]

    changed = improved(scanned(step, {"h": f64(2, 3)}, {}, {"u": f64(3, 3)}, out_axes=(0,)))
    assert (ops(changed, "dot"), inside(changed, "dot")) == (0, 1)


# ---------------------------------------------------------------- sums over rounds
def outer(x: Tensor, y: Tensor) -> Tensor:
    product: Tensor = x.emit("dot", y, contract=((0,), (0,)), batch=((), ()))
    return product


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axes", [(0, 0), (1, 0), (2, 1)])
def test_a_sum_of_products_is_one_product(axes: tuple[int, int], reverse: bool) -> None:
    def step(i: Tensor, total: Tensor, bias: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
        return [total + outer(x, y), bias + y.sum((0,))]

    carries = {"total": f64(3, 5), "bias": f64(5)}
    sequences = {"x": (f64(2, 3), axes[0]), "y": (f64(2, 5), axes[1])}
    changed = improved(scanned(step, carries, sequences, {}, reverse=reverse))
    assert [ops(changed, op) for op in ("scan", "dot", "sum")] == [0, 1, 1]


def test_other_terms_stay_in_the_loop() -> None:
    def step(i: Tensor, total: Tensor, x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
        return [(z * z) + (total + (outer(x, y) + z.emit("exp")))]

    sequences = {"x": (f64(2, 3), 0), "y": (f64(2, 5), 0), "z": (f64(3, 5), 0)}
    changed = improved(scanned(step, {"total": f64(3, 5)}, sequences, {}))
    assert (ops(changed, "dot"), inside(changed, "dot"), inside(changed, "add")) == (1, 0, 2)


def reads_its_sum(i: Tensor, total: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
    return [total + outer(x, y), total]


def yields_its_sum(i: Tensor, total: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
    new = total + outer(x, y)
    return [new, new]


def doubles_its_sum(i: Tensor, total: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
    return [total + total + outer(x, y), x]


def scales_its_sum(i: Tensor, total: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
    return [total * 0.5 + outer(x, y), x]


@pytest.mark.parametrize("step", [reads_its_sum, yields_its_sum, doubles_its_sum, scales_its_sum])
def test_a_sum_that_is_more_than_that_stays(step: Step) -> None:
    sequences = {"x": (f64(2, 3), 0), "y": (f64(2, 5), 0)}
    changed = improved(scanned(step, {"total": f64(3, 5)}, sequences, {}, out_axes=(0,)))
    assert (ops(changed, "dot"), inside(changed, "dot")) == (0, 1)


# ---------------------------------------------------------------- a recurrent layer
def test_the_gradients_of_the_weights_are_one_product_each() -> None:
    types = {"h": f64(2, 3)}, {"x": (f64(2, 2), 1)}, {"w": f64(2, 3), "u": f64(3, 3)}
    graph = scanned(cell(), *types, out_axes=(1,))
    builder = Builder(graph)
    final, stack = (builder.tensor(graph.outputs[name]) for name in ("r0", "r1"))
    wrt = [builder.tensor(graph.input_named(name)) for name in ("h", "x", "w", "u")]
    found = vjp(builder, [final, stack], [builder.full(1, "f64", (2, 3)), stack], wrt)
    graph.outputs |= {f"d{i}": x.value for i, x in enumerate(found) if x is not None}
    assert len(found) == 4
    changed = improved(graph)
    bodies: list[Any] = [node.attrs["body"] for node in changed if node.op == "scan"]
    # With u and its transpose; and with that of w, since x has another term in its gradient.
    assert [ops(each, "dot") for each in bodies] == [1, 2]
    assert ops(changed, "dot") == 3  # x @ w, the gradients of w and u
