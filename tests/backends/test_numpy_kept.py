"""What a loop of the forward pass keeps for the loop of the backward pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from nnc_numpy.rewrites import rewrite_for_numpy

from nnc.backend import run_on_bodies
from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.types import TensorType
from nnc.ir.verify import verify
from nnc.passes.dead_code import dead_code
from tests.ops.bodies import I32, body, f64

Loops = Callable[[Builder, Tensor, Tensor], tuple[list[Tensor], list[Tensor]]]
ROUNDS, ROWS, HEADS = 3, f64(2, 4), f64(2, 5, 4)
HOW = {"scale": 0.5, "causal": True}


def loop(
    builder: Builder, step: Graph, carry: Tensor, *sequences: Tensor, reverse: bool
) -> list[Tensor]:
    count = len(step.outputs) - 1
    made = builder.emit(
        "scan", carry, *sequences, body=step, carries=1, sequences=len(sequences),
        axes=(0,) * len(sequences), out_axes=(0,) * count, length=ROUNDS, reverse=reverse,
    )  # fmt: skip
    return list(made)


def gelus(builder: Builder, x: Tensor, dy: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """x through a gelu in each round, and dy back through them; the first loop's results are h, and
    the stack that the second reads."""
    types = {"i": I32, "x": ROWS}
    forward = body(types, lambda i, x: [x.emit("gelu"), x])
    backward = body({"i": I32, "dy": ROWS, "x": ROWS}, lambda i, dy, x: [dy.emit("gelu_grad", x)])
    h, xs = loop(builder, forward, x, reverse=False)
    return [h, xs], loop(builder, backward, dy, xs, reverse=True)


def both_of_gelus(builder: Builder, x: Tensor, dy: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The same where the second loop reads the gelu too, which it still computes."""

    def back(i: Tensor, dy: Tensor, x: Tensor) -> list[Tensor]:
        y, slope = x.emit("gelu_with_slope")
        return [dy * slope + y]

    forward = body({"i": I32, "x": ROWS}, lambda i, x: [x.emit("gelu"), x])
    backward = body({"i": I32, "dy": ROWS, "x": ROWS}, back)
    h, xs = loop(builder, forward, x, reverse=False)
    return [h, xs], loop(builder, backward, dy, xs, reverse=True)


def attentions(builder: Builder, x: Tensor, dy: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The same with attention of x to itself; its log-sum-exp is what is read."""

    def attend(i: Tensor, x: Tensor) -> list[Tensor]:
        y, logsumexp = x.emit("attention", x, x, **HOW)
        return [y, x, y, logsumexp]

    def back(i: Tensor, dy: Tensor, x: Tensor, y: Tensor, logsumexp: Tensor) -> list[Tensor]:
        dq, dk, dv = dy.emit("attention_grad", x, x, x, y, logsumexp, **HOW)
        return [dq + dk + dv]

    h, *stacks = loop(builder, body({"i": I32, "x": HEADS}, attend), x, reverse=False)
    given = {"i": I32, "dy": HEADS, "x": HEADS, "y": HEADS, "logsumexp": f64(2, 5)}
    return [h, stacks[-1]], loop(builder, body(given, back), dy, *stacks, reverse=True)


LOOPS = {
    "gelu": (gelus, ROWS, "gelu_with_slope"),
    "attention": (attentions, HEADS, "attention_grad"),
}


def assert_same_values(loops: Loops, type: TensorType, is_read: bool) -> list[str]:
    """The ops of the second loop after the rewrite, where the stack is an output too or is not."""
    builder = Builder(Graph("test"))
    (h, stack), (dx,) = loops(builder, builder.input("x", type), builder.input("dy", type))
    graph = builder.graph
    graph.outputs = {"h": h.value, "dx": dx.value} | ({"stack": stack.value} if is_read else {})
    draw = np.random.default_rng(0)
    inputs = [draw.normal(size=graph.node(id).type.shape) for id in graph.inputs]
    wanted = interpret(graph, inputs)

    run_on_bodies(graph, rewrite_for_numpy)
    rewrite_for_numpy(graph)
    dead_code.run(graph)
    verify(graph)
    for key, value in interpret(graph, inputs).items():
        np.testing.assert_allclose(value, wanted[key], rtol=1e-12, atol=1e-13, err_msg=key)
    return [node.op for node in [n for n in graph if n.op == "scan"][-1].attrs["body"]]


@pytest.mark.parametrize("is_read", [False, True])
@pytest.mark.parametrize("name", LOOPS)
def test_the_backward_loop_is_given_what_it_computed(name: str, is_read: bool) -> None:
    loops, type, spared = LOOPS[name]
    assert (spared in assert_same_values(loops, type, is_read)) == is_read


def test_what_else_it_reads_it_still_computes() -> None:
    assert "gelu_with_slope" in assert_same_values(both_of_gelus, ROWS, is_read=False)
