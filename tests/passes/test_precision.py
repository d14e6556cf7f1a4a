"""Mixed precision: which products are short, before and after differentiation."""

from __future__ import annotations

import numpy as np
import pytest

from nnc.ir.builder import Tensor
from nnc.ir.graph import Graph, Value
from nnc.ir.interpret import interpret
from nnc.ir.types import TensorType
from nnc.ir.verify import verify
from nnc.passes.autodiff import expand_gradients
from nnc.passes.pipeline import optimize
from nnc.passes.precision import PRODUCTS, multiply_in
from nnc.passes.simplify import simplify
from tests.ops.bodies import I32, body
from tests.passes.graphs import assert_becomes, graph

X, W = TensorType("f32", (2, 3)), TensorType("f32", (3, 3))
SHORT = TensorType("bf16", (2, 3))
MATRICES = {"contract": ((1,), (0,)), "batch": ((), ())}


def dot(x: Tensor, w: Tensor) -> Tensor:
    product: Tensor = x.emit("dot", w, **MATRICES)
    return product


def ops(made: Graph, *names: str) -> list[str]:
    """The element types of the results of these ops, in bodies too."""
    found = []
    for node in made:
        found += [type.dtype for type in node.types] if node.op in names else []
        if node.op == "scan":
            found += ops(node.attrs["body"], *names)
    return found


def products_of_step(precision: str) -> Graph:
    """The gradients of a net of two products, one weight used twice."""

    def net(x: Tensor, w: Tensor) -> list[Tensor]:
        y = dot(dot(x, w).emit("tanh"), w)
        loss = (y * y).sum((0, 1))
        return [loss, loss.emit("gradient", w)[0]]

    made = graph(net, X, W)
    multiply_in(made, precision)
    expand_gradients(made)
    optimize(made)
    verify(made)
    return made


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_products_are_short_forward_and_backward(precision: str) -> None:
    made = products_of_step(precision)
    assert ops(made, *PRODUCTS) == [precision] * 5
    assert set(ops(made, "tanh", "mul", "add", "sum", "sub")) == {"f32"}


def test_a_weight_is_cast_once_and_its_cotangents_are_added_in_f32() -> None:
    made = products_of_step("bf16")
    w = made.input_named("x1")
    assert [user.op for user, _ in made.users(w)] == ["cast"]
    assert made.type(made.outputs["y1"]) == W
    assert made.producer(made.outputs["y1"]).op == "add"


def test_f32_changes_nothing() -> None:
    assert "cast" not in {node.op for node in products_of_step("f32")}


def test_the_value_is_that_of_short_operands() -> None:
    made = graph(dot, X, W)
    multiply_in(made, "bf16")
    x, w = np.full((2, 3), 1 + 2.0**-9), np.eye(3)
    assert np.all(interpret(made, [x, w])["y0"] == 1)


def test_products_of_other_types_stay() -> None:
    for dtype in ("f64", "f16", "i32"):
        made = graph(dot, X.with_dtype(dtype), W.with_dtype(dtype))
        multiply_in(made, "bf16")
        assert [node.op for node in made] == ["input", "input", "dot"]


def test_nodes_of_the_optimizer_stay() -> None:
    made = graph(lambda x, w: [dot(x, w)], X, W)
    multiply_in(made, "bf16", end=2)
    assert ops(made, "dot") == ["f32"]


def loop() -> Graph:
    step = body({"i": I32, "h": X, "w": W}, lambda i, h, w: [dot(h, w)])
    attrs = {"carries": 1, "sequences": 0, "axes": (), "out_axes": (), "length": 4}

    def run(x: Tensor, w: Tensor) -> list[Tensor]:
        (h,) = x.emit("scan", w, body=step, reverse=False, **attrs)
        return [h, (h * h).sum((0, 1)).emit("gradient", w)[0]]

    made = graph(run, X, W)
    multiply_in(made, "bf16")
    expand_gradients(made)
    return made


def test_what_a_loop_captures_is_cast_before_it() -> None:
    made = loop()
    arrays = [np.ones((2, 3)), np.full((3, 3), 0.3)]
    before = interpret(made, arrays)
    optimize(made)
    verify(made)
    assert ops(made, "dot") == ["bf16"] * 3
    for scan in (node for node in made if node.op == "scan"):
        inner: Graph = scan.attrs["body"]
        first = 1 + scan.attrs["carries"] + scan.attrs["sequences"]
        readers = [user for id in inner.inputs[first:] for user, _ in inner.users(Value(id))]
        assert {user.op for user in readers} == {"dot"}
    for name, value in interpret(made, arrays).items():
        np.testing.assert_array_equal(value, before[name])


def test_cotangents_of_what_a_loop_captures_add_up_in_f32() -> None:
    made = loop()
    optimize(made)
    (backward,) = (n for n in made if n.op == "scan" and n.attrs["reverse"])
    assert {type.dtype for type in backward.types} == {"f32"}


# ---------------------------------------------------------------- casts that meet
def test_casts_meet_through_what_moves_elements() -> None:
    def there_and_back(x: Tensor) -> Tensor:
        return x.cast("f32").transpose((1, 0)).reshape((6,)).cast("bf16")

    assert_becomes(simplify, there_and_back, lambda x: x.transpose((1, 0)).reshape((6,)), SHORT)


def test_rounding_that_loses_something_stays() -> None:
    made = graph(lambda x: x.cast("bf16").cast("f32"), X)
    optimize(made)
    assert [node.op for node in made] == ["input", "cast", "cast"]
