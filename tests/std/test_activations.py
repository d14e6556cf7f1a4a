"""Each activation against its formula, and its gradient against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.std.program import run

X = np.array([[-30.0, -3.0, -1.0, -0.25, -1e-3], [1e-3, 0.25, 1.0, 3.0, 30.0]])
erf = np.vectorize(math.erf)

#: how it is written -> its formula in float64
FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu(x)": lambda x: np.maximum(x, 0),
    "leaky_relu(x)": lambda x: np.where(x > 0, x, 0.01 * x),
    "leaky_relu(x, 0.2)": lambda x: np.where(x > 0, x, 0.2 * x),
    "x |> leaky_relu(0.2)": lambda x: np.where(x > 0, x, 0.2 * x),
    "elu(x)": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "elu(x, alpha = 2)": lambda x: np.where(x > 0, x, 2 * (np.exp(x) - 1)),
    "selu(x)": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1))
    ),
    "gelu(x)": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
    "gelu_tanh(x)": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "silu(x)": lambda x: x / (1 + np.exp(-x)),
    "mish(x)": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "sigmoid(x)": lambda x: 1 / (1 + np.exp(-x)),
    "tanh(x)": np.tanh,
    "softplus(x)": lambda x: np.log1p(np.exp(x)),
    "softmax(x)": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
    "log_softmax(x)": lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True)),
    "clip(x, -0.5, 2)": lambda x: np.clip(x, -0.5, 2),
}


@pytest.mark.parametrize("text", FORMULAS)
def test_it_is_its_formula(text: str) -> None:
    np.testing.assert_allclose(run(text, x=X).value, FORMULAS[text](X), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("text", FORMULAS)
def test_its_gradient_is_that_of_the_formula(text: str) -> None:
    # Weights tell the elements of a softmax apart; its gradient by their plain sum would be 0.
    weight = np.linspace(-1, 2, X.size).reshape(X.shape)
    slope = run(f"gradient(sum(w * ({text})), x)", x=X, w=weight).value
    formula, h = FORMULAS[text], 1e-6
    expected = np.empty_like(X)
    for place in np.ndindex(X.shape):
        step = np.zeros_like(X)
        step[place] = h
        expected[place] = (weight * (formula(X + step) - formula(X - step))).sum() / (2 * h)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("text", FORMULAS)
def test_large_inputs_give_finite_values_and_gradients(text: str) -> None:
    far = np.array([[-1e4, -100.0, 0.0, 100.0, 1e4]])
    both = run(f"let y = {text}\nreturn (y, gradient(sum(y), x))", x=far)
    assert all(np.isfinite(values).all() for values in both.outputs.values())


def test_relu_is_zero_at_both_zeros_and_so_is_its_gradient() -> None:
    both = run("(relu(x), gradient(sum(relu(x)), x))", x=np.array([-0.0, 0.0]))
    assert (both.outputs["0"] == 0).all()
    assert (both.outputs["1"] == 0).all()


def test_relu_hides_no_nan() -> None:
    both = run("(relu(x), gradient(sum(x * relu(x)), x))", x=np.array([np.nan]))
    assert np.isnan(both.outputs["0"]).all()
    assert np.isnan(both.outputs["1"]).all()


def test_an_activation_adds_no_needless_node() -> None:
    assert run("relu(x)", x=X).ops == ["maximum"]
    assert run("silu(x)", x=X).ops == ["sigmoid", "mul"]
