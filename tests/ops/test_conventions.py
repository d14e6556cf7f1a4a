"""The fixed subgradients, where finite differences decide nothing: kinks, ties and zeros."""

from typing import Any

import numpy as np
import pytest

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.reverse import vjp
from nnc.ir.types import TensorType


def gradients(op: str, *arrays: Any, **attrs: Any) -> list[list[float]]:
    """The gradient of the sum of the result with respect to each operand."""
    builder = Builder(Graph())
    values = [np.asarray(x, np.float64) for x in arrays]
    xs = [builder.input(f"x{i}", TensorType("f64", x.shape)) for i, x in enumerate(values)]
    y: Tensor = builder.emit(op, *xs, **attrs)
    found = vjp(builder, [y], [builder.full(1.0, "f64", y.shape)], xs)
    builder.graph.outputs = {str(i): g.value for i, g in enumerate(found) if g is not None}
    return [g.tolist() for g in interpret(builder.graph, values).values()]


def test_abs_has_slope_zero_at_zero() -> None:
    assert gradients("abs", [0.0, -0.0, 2.0, -2.0]) == [[0.0, 0.0, 1.0, -1.0]]


def test_sqrt_has_slope_zero_at_zero_so_that_a_norm_has() -> None:
    assert gradients("sqrt", [0.0, 4.0]) == [[0.0, 0.25]]


def test_equal_operands_leave_the_gradient_to_the_first() -> None:
    assert gradients("maximum", [1.0, 2.0], [1.0, 3.0]) == [[1.0, 0.0], [0.0, 1.0]]
    assert gradients("minimum", [1.0, 2.0], [1.0, 3.0]) == [[1.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize(("op", "sign"), [("max", 1.0), ("min", -1.0)])
def test_equal_extrema_leave_the_gradient_to_the_first(op: str, sign: float) -> None:
    x = sign * np.array([[[1.0, 3.0], [3.0, 3.0]], [[0.0, 0.0], [3.0, 0.0]]])
    (rows,) = gradients(op, x, axes=(2,))
    assert rows == [[[0, 1], [1, 0]], [[1, 0], [1, 0]]]
    (columns,) = gradients(op, x, axes=(0,))
    assert columns == [[[1, 1], [1, 1]], [[0, 0], [0, 0]]]
    (both,) = gradients(op, x, axes=(0, 1))
    assert both == [[[0, 1], [1, 0]], [[0, 0], [0, 0]]]
    (all_axes,) = gradients(op, x, axes=(0, 1, 2))
    assert all_axes == [[[0, 1], [0, 0]], [[0, 0], [0, 0]]]


def test_powers_of_zero() -> None:
    """x^0 is constant, x^1 has slope 1, x^2 slope 0; 0^y is constant for y > 0."""
    base, exponent = gradients("pow", [0.0, 0.0, 0.0], [0.0, 1.0, 2.0])
    assert base == [0.0, 1.0, 0.0]
    assert exponent == [0.0, 0.0, 0.0]


def test_powers_of_negative_bases() -> None:
    base, _ = gradients("pow", [-2.0, -2.0, -2.0], [3.0, 2.0, 0.0])
    assert base == [12.0, -4.0, 0.0]


def test_products_with_zeros() -> None:
    assert gradients("prod", [3.0, 0.0, 2.0], axes=(0,)) == [[0.0, 6.0, 0.0]]
    assert gradients("prod", [0.0, 0.0, 2.0], axes=(0,)) == [[0.0, 0.0, 0.0]]


def test_repeated_indices_add_up() -> None:
    builder = Builder(Graph())
    x = builder.input("x", TensorType("f64", (3,)))
    index = builder.const(np.array([1, 1, 0], np.int32), "i32")
    y = x.emit("take", index, axis=0)
    (gradient,) = vjp(builder, [y], [builder.full(1.0, "f64", y.shape)], [x])
    assert gradient is not None
    builder.graph.outputs = {"dx": gradient.value}
    assert interpret(builder.graph, [np.zeros(3)])["dx"].tolist() == [1.0, 2.0, 0.0]
