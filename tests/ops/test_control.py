"""Where gradients go, and loops: values, errors, and the shape of their gradients."""

from typing import Any

import numpy as np
import pytest

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.reverse import vjp
from nnc.ir.types import TensorType
from nnc.ir.verify import verify
from nnc.ops.registry import OpError
from nnc.passes.dead_code import dead_code
from tests.gradcheck import normal
from tests.ops.bodies import I32, body, cell, f64, matmul

COUNT = body(
    {"i": I32, "total": f64(), "x": f64(2)},
    lambda i, total, x: [total + x.sum((0,)), x * i.cast("f64").expand((2,)), i],
)


def scan(*operands: Tensor, **attrs: Any) -> tuple[Tensor, ...]:
    defaults = {"carries": 1, "sequences": 1, "axes": (0,), "out_axes": (), "reverse": False}
    result: tuple[Tensor, ...] = operands[0].builder.emit(
        "scan", *operands, **{**defaults, **attrs}
    )
    return result


# ------------------------------------------------------------------------------------------- scan
@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_stacks_at_the_index_that_it_reads(reverse: bool) -> None:
    builder = Builder(Graph())
    start, xs = builder.input("start", f64()), builder.input("xs", f64(2, 3))
    results = scan(start, xs, body=COUNT, axes=(1,), out_axes=(1, 0), length=3, reverse=reverse)
    builder.graph.outputs = {f"y{i}": y.value for i, y in enumerate(results)}
    verify(builder.graph)
    x = normal(2, 3)
    total, stack, places = interpret(builder.graph, [np.float64(1), x]).values()
    np.testing.assert_allclose(total, 1 + x.sum())
    np.testing.assert_array_equal(stack, x * np.arange(3))
    np.testing.assert_array_equal(places, [0, 1, 2])


def test_a_reversed_scan_carries_from_last_to_first() -> None:
    sums = body({"i": I32, "s": f64(), "x": f64()}, lambda i, s, x: [s + x, s + x])
    builder = Builder(Graph())
    start, xs = builder.input("start", f64()), builder.input("xs", f64(3))
    stack = scan(start, xs, body=sums, out_axes=(0,), length=3, reverse=True)[1]
    builder.graph.outputs = {"y": stack.value}
    found = interpret(builder.graph, [np.float64(0), np.array([1.0, 2.0, 4.0])])["y"]
    np.testing.assert_array_equal(found, [7, 6, 4])


def rnn(builder: Builder, unrolled: bool) -> dict[str, Tensor]:
    """The loss of four steps of `cell`, with a scan or written out; and its operands."""
    h0, xs = builder.input("h0", f64(2, 3)), builder.input("xs", f64(4, 2, 2))
    w, u = builder.input("w", f64(2, 3)), builder.input("u", f64(3, 3))
    if unrolled:
        h, ys = h0, []
        for t in range(4):
            x = xs.emit("slice", start=(t, 0, 0), stop=(t + 1, 2, 2), step=(1, 1, 1)).reshape(
                (2, 2)
            )
            h = (matmul(x, w) + matmul(h, u)).emit("tanh")
            ys.append((h * h * x.sum((1,)).broadcast((2, 3), (0,))).sum((0, 1)))
        total = ys[0] + ys[1] + ys[2] + ys[3]
    else:
        h, stack = scan(h0, xs, w, u, body=cell(), out_axes=(0,), length=4)
        total = stack.sum((0, 1, 2))
    return {"loss": total + (h * h).sum((0, 1)), "h0": h0, "xs": xs, "w": w, "u": u}


@pytest.mark.parametrize("order", [1, 2])
def test_the_gradient_of_a_scan_is_that_of_the_loop_written_out(order: int) -> None:
    arrays = [normal(2, 3), normal(4, 2, 2), normal(2, 3), normal(3, 3)]
    found = []
    for unrolled in (False, True):
        builder = Builder(Graph())
        loss, *wrt = rnn(builder, unrolled).values()
        for _ in range(order):
            gradients = vjp(builder, [loss], [builder.const(1.0, "f64")], wrt)
            squares = [(g * g).sum(tuple(range(g.rank))) for g in gradients if g is not None]
            assert len(squares) == len(wrt)
            loss = squares[0] + squares[1] + squares[2] + squares[3]
        builder.graph.outputs = {str(i): g.value for i, g in enumerate(gradients) if g is not None}
        verify(builder.graph)
        found.append(interpret(builder.graph, arrays))
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=1e-9, atol=1e-10)


def differentiated(names: list[str]) -> Graph:
    builder = Builder(Graph())
    values = rnn(builder, unrolled=False)
    wrt = [values[name] for name in names]
    gradients = vjp(builder, [values["loss"]], [builder.const(1.0, "f64")], wrt)
    outputs = dict(zip(names, gradients, strict=True))
    builder.graph.outputs = {"loss": values["loss"].value} | {
        name: g.value for name, g in outputs.items() if g is not None
    }
    dead_code.run(builder.graph)
    return builder.graph


def test_a_loop_and_its_gradient_run_once_each() -> None:
    """The forward loop gives what its gradient reads: there is no third loop, nor a tanh in it."""
    first, second = (node for node in differentiated(["h0", "xs", "w", "u"]) if node.op == "scan")
    assert [node.op for node in second.attrs["body"]].count("tanh") == 0
    assert not first.attrs["reverse"]
    assert second.attrs["reverse"]


def test_the_gradient_loop_computes_only_what_is_asked_for() -> None:
    second = [node for node in differentiated(["h0"]) if node.op == "scan"][1]
    assert second.attrs["carries"] == len(second.types) == 1


def test_a_gradient_that_nothing_reaches_is_none() -> None:
    builder = Builder(Graph())
    start, xs = builder.input("start", f64()), builder.input("xs", f64(3, 2))
    results = scan(start, xs, body=COUNT, out_axes=(0, 0), length=3)
    assert vjp(builder, [results[1]], [results[1]], [start]) == [None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 4}, "`x` has 3 steps on axis 0; the scan takes 4"),
        ({"length": 0}, "at least one step"),
        ({"axes": (2,)}, r"`x` is scanned over axis 2; f64\[3, 2\] has 2 axes"),
        ({"axes": (1,), "length": 2}, r"`x`, inside the scan, is f64\[2\]; it cannot be f64\[3\]"),
        ({"out_axes": (0,)}, "gives 3 values for 2 results"),
        ({"out_axes": (0, 1)}, "cannot be stacked on axis 1"),
        ({"sequences": 0, "axes": ()}, "`x`, inside the scan,"),
    ],
)
def test_scans_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    builder = Builder(Graph())
    start, xs = builder.input("start", f64()), builder.input("xs", f64(3, 2))
    attrs = {"body": COUNT, "out_axes": (0, 0), "length": 3, **change}
    with pytest.raises(OpError, match=message):
        scan(start, xs, **attrs)


def test_a_carry_keeps_its_type() -> None:
    grows = body({"i": I32, "h": f64(2), "x": f64()}, lambda i, h, x: [h.emit("concat", h, axis=0)])
    builder = Builder(Graph())
    h, xs = builder.input("h", f64(2)), builder.input("xs", f64(3))
    with pytest.raises(OpError, match=r"the carry `h` starts as f64\[2\] and becomes f64\[4\]"):
        scan(h, xs, body=grows, length=3)


# ----------------------------------------------------------------------------- gradients rerouted
def test_with_gradient_sends_the_cotangent_to_via_alone() -> None:
    builder = Builder(Graph())
    x = builder.input("x", f64(3))
    y = (x * 3.0).emit("with_gradient", x * 5.0)
    (dx,) = vjp(builder, [y], [builder.full(1.0, "f64", (3,))], [x])
    assert dx is not None
    builder.graph.outputs = {"y": y.value, "dx": dx.value}
    found = interpret(builder.graph, [np.ones(3)])
    np.testing.assert_array_equal(found["y"], [3, 3, 3])
    np.testing.assert_array_equal(found["dx"], [5, 5, 5])


def test_stop_gradient_stops_it() -> None:
    builder = Builder(Graph())
    x = builder.input("x", f64())
    y = x * x.emit("stop_gradient")
    (dx,) = vjp(builder, [y], [builder.const(1.0, "f64")], [x])
    assert dx is not None
    builder.graph.outputs = {"dx": dx.value}
    assert interpret(builder.graph, [np.float64(4)])["dx"] == 4


# ------------------------------------------------------------------------------- call, gradient
def test_a_call_has_the_types_of_its_body() -> None:
    double = body({"x": f64(2)}, lambda x: [x + x, x.sum((0,))], "double")
    builder = Builder(Graph())
    x = builder.input("x", f64(2))
    twice, total = builder.emit("call", x, body=double)
    assert (twice.type, total.type) == (f64(2), f64())
    with pytest.raises(OpError, match=r"`x` of `double` is f64\[2\]; it cannot be f64"):
        builder.emit("call", total, body=double)
    with pytest.raises(OpError, match="`double` takes 1 values, not 2"):
        builder.emit("call", x, x, body=double)


def test_gradient_has_the_types_of_wrt() -> None:
    builder = Builder(Graph())
    x, y = builder.input("x", f64(2, 3)), builder.input("y", f64(4))
    loss = x.sum((0, 1))
    assert [g.type for g in builder.emit("gradient", loss, x, y)] == [f64(2, 3), f64(4)]
    with pytest.raises(OpError, match=r"needs a scalar; this is f64\[4\]; sum or mean it first"):
        builder.emit("gradient", y, x)
    with pytest.raises(OpError, match="only floats have gradients; this is i32"):
        builder.emit("gradient", loss, builder.input("i", TensorType("i32")))


# ------------------------------------------------------------------------------------ on_gradient
def test_on_gradient_passes_the_cotangent_through_its_body() -> None:
    """Forward the value itself; backward the cotangent times a captured scale."""
    scaled = body({"d": f64(3), "scale": f64(3)}, lambda d, scale: [d * scale])
    builder = Builder(Graph())
    x, scale = builder.input("x", f64(3)), builder.input("scale", f64(3))
    y = x.emit("on_gradient", scale, body=scaled)
    dx, dscale = vjp(builder, [(y * y).sum((0,))], [builder.const(1.0, "f64")], [x, scale])
    assert dscale is None
    builder.graph.outputs = {"y": y.value, "dx": dx.value}
    verify(builder.graph)
    at, by = np.array([1.0, 2.0, 3.0]), np.array([10.0, 0.0, -1.0])
    found = interpret(builder.graph, [at, by])
    np.testing.assert_array_equal(found["y"], at)
    np.testing.assert_array_equal(found["dx"], 2 * at * by)
