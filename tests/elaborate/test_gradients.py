"""Gradients as values, own gradients, weights as values (semantics 8 and 9)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.elaborate.harness import expression, out, refused, run

F = np.float32
X = F([[1, -2, 3], [0.5, 1.5, -1]])
DENSE = """
block Dense(out: int)(x: f32[..., D]) -> f32[..., out] {
  param w: f32[D, out] = normal()
  param b: f32[out] = normal()
  return x @ w + b
}
"""


def gradient(text: str, *arrays: np.ndarray, more: str = "") -> np.ndarray:
    """The gradient of a scalar expression by `x`."""
    return expression(f"gradient({text}, x)", *(arrays or (X,)), more=more).out


def differences(f: Callable[[np.ndarray], float], x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    found = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        d = np.zeros(x.shape)
        d[index] = step
        found[index] = (f(x + d) - f(x - d)) / (2 * step)
    return found


# ---------------------------------------------------------------- gradient(y, wrt)
def test_the_gradient_by_a_tensor() -> None:
    np.testing.assert_allclose(gradient("sum(x ^ 3)"), 3 * X**2, rtol=1e-6)
    np.testing.assert_allclose(gradient("mean(tanh(x))"), (1 - np.tanh(X) ** 2) / 6, rtol=1e-5)
    np.testing.assert_allclose(gradient("sum(x * y)", X, 2 * X), 2 * X)
    np.testing.assert_allclose(gradient("sum(y)", X, X), 0 * X)  # it does not depend on it


def test_a_gradient_is_a_tensor_like_any_other() -> None:
    text = "x - 0.1 * gradient(sum(x ^ 2), x)"
    np.testing.assert_allclose(expression(text, X).out, X - 0.2 * X, rtol=1e-6)


def test_the_gradient_by_something_in_between() -> None:
    text = """
    block Net()(x: f32[N, D]) {
      let h = x * 2
      return gradient(sum(h ^ 2) + sum(x), h)
    }
    """
    np.testing.assert_allclose(out(text, X), 4 * X)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("gradient(sum(gradient(sum(x ^ 3), x)), x)", 6 * X),
        ("gradient(sum(gradient(sum(x ^ 3), x) ^ 2), x)", 36 * X**3),
        ("gradient(sum(gradient(sum(gradient(sum(x ^ 4), x)), x)), x)", 24 * X),
        ("gradient(sum(gradient(sum(tanh(x)), x)), x)", -2 * np.tanh(X) * (1 - np.tanh(X) ** 2)),
    ],
)
def test_gradients_of_gradients(text: str, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(expression(text, X).out, wanted, rtol=1e-4, atol=1e-5)


def test_only_a_scalar_has_a_gradient() -> None:
    assert refused("block Net()(x: f32[N, D]) = gradient(x, x)", X) == "E0330"
    assert refused("block Net()(x: f32[N, D]) = gradient(sum(x), 3)", X) == "E0310"


# ---------------------------------------------------------------- own gradients
def test_with_gradient_goes_forward_one_way_and_back_another() -> None:
    spike = """
    fn spike(v: f32[...]) -> f32[...] = with_gradient(f32(v > 0), via = v / (1 + 10 * abs(v)))
    """
    np.testing.assert_array_equal(expression("spike(x)", X, more=spike).out, X > 0)
    wanted = 1 / (1 + 10 * np.abs(X)) ** 2
    np.testing.assert_allclose(gradient("sum(spike(x))", more=spike), wanted, rtol=1e-5)


def test_the_value_of_with_gradient_gets_no_gradient() -> None:
    np.testing.assert_allclose(gradient("sum(with_gradient(x ^ 3, via = 2 * x))"), 2 + 0 * X)
    np.testing.assert_allclose(gradient("sum(with_gradient(x, via = -5 * x))"), -5 + 0 * X)
    np.testing.assert_allclose(gradient("sum(with_gradient(x ^ 3, via = 0))"), 0 * X)


def test_on_gradient_transforms_what_comes_back() -> None:
    text = "sum(on_gradient(x, stage = minimum(0.5)) ^ 2)"
    np.testing.assert_allclose(gradient(text), np.minimum(2 * X, 0.5))
    np.testing.assert_allclose(gradient("sum(on_gradient(x, tanh))"), np.tanh(1 + 0 * X), rtol=1e-6)
    more = "fn half(g: f32[...]) -> f32[...] = g / 2\n"
    np.testing.assert_allclose(gradient("sum(on_gradient(x, half))", more=more), 0.5 + 0 * X)


def test_on_gradient_may_read_other_values() -> None:
    text = """
    block Net()(x: f32[N, D], y: f32[N, D]) {
      let scaled = on_gradient(x, repeat 1 { _ * y })
      return gradient(sum(scaled ^ 2), x)
    }
    """
    np.testing.assert_allclose(out(text, X, 3 * X), 2 * X * 3 * X)


def test_stop_gradient() -> None:
    np.testing.assert_allclose(gradient("sum(x * stop_gradient(x))"), X)
    np.testing.assert_allclose(gradient("sum(stop_gradient(x ^ 2))"), 0 * X)


def test_own_gradients_hold_inside_a_loop() -> None:
    text = """
    block Net()(x: f32[N, D]) =
      gradient(sum(scan e in x over D with s = zeros([N]) {
        s = s + with_gradient(e ^ 2, via = 7 * e)
      }), x)
    """
    np.testing.assert_allclose(out(text, X), 7 + 0 * X)


# ---------------------------------------------------------------- weights as values
def test_a_tree_of_weights_has_arithmetic_and_a_sum() -> None:
    text = (
        DENSE
        + """
    block Net()(x: f32[N, D]) {
      let f = Dense(2)
      let y = f(x)
      let w = weights(f)
      return (l2 = sum(w ^ 2), mix = sum(2 * w - w / 2 + w * w), neg = sum(-w),
        root = sum(sqrt(w ^ 2)), one = sum(w.b), y = y)
    }
    """
    )
    result = run(text, X)
    w, b = result.state["net.f.w"], result.state["net.f.b"]
    total = lambda f: f(w).sum() + f(b).sum()  # noqa: E731
    np.testing.assert_allclose(result.out["l2"], total(np.square), rtol=1e-5)
    np.testing.assert_allclose(result.out["mix"], total(lambda v: 1.5 * v + v * v), rtol=1e-5)
    np.testing.assert_allclose(result.out["neg"], -total(lambda v: v), rtol=1e-5)
    np.testing.assert_allclose(result.out["root"], total(np.abs), rtol=1e-5)
    np.testing.assert_allclose(result.out["one"], b.sum(), rtol=1e-5)


def test_the_gradient_by_a_tree_of_weights() -> None:
    text = (
        DENSE
        + """
    block Net()(x: f32[N, D]) {
      let f = Dense(2)
      let loss = sum(f(x) ^ 2)
      let g = gradient(loss, weights(f))
      return (w = g.w, b = g.b, norm = sum(g ^ 2))
    }
    """
    )
    result = run(text, X, wide=True)
    w, b = (result.state[f"net.f.{p}"].astype(np.float64) for p in "wb")
    by_w = differences(lambda v: float(((X @ v + b) ** 2).sum()), w)
    by_b = differences(lambda v: float(((X @ w + v) ** 2).sum()), b)
    np.testing.assert_allclose(result.out["w"], by_w, rtol=1e-6)
    np.testing.assert_allclose(result.out["b"], by_b, rtol=1e-6)
    np.testing.assert_allclose(result.out["norm"], (by_w**2).sum() + (by_b**2).sum(), rtol=1e-6)


def test_a_net_with_other_weights_is_a_net() -> None:
    text = (
        DENSE
        + """
    block Inner()(x: f32[N, D]) -> f32[N, D] = x |> Dense(4) |> tanh |> Dense(D)
    block Net()(x: f32[N, D]) {
      let f = Inner()
      let y = f(x)
      let g = with_weights(f, weights(f) * 2)
      return (y = y, z = g(x), again = f(x))
    }
    """
    )
    result = run(text, X)
    w0, b0, w1, b1 = result.state.values()
    np.testing.assert_allclose(result.out["y"], np.tanh(X @ w0 + b0) @ w1 + b1, rtol=1e-5)
    np.testing.assert_allclose(
        result.out["z"], np.tanh(X @ w0 * 2 + b0 * 2) @ w1 * 2 + b1 * 2, rtol=1e-5
    )
    np.testing.assert_array_equal(result.out["again"], result.out["y"])
    assert len(result.state) == 4


def test_a_step_of_meta_learning() -> None:
    """MAML: the gradient of a loss after an inner step, by the first weights (Finn 2017, eq. 1)."""
    text = (
        DENSE
        + """
    block Net()(x: f32[N, D]) {
      let f = Dense(2)
      let inner = sum(f(x) ^ 2)
      let fast = with_weights(f, weights(f) - 0.01 * gradient(inner, weights(f)))
      let outer = sum(fast(2 * x) ^ 4)
      let g = gradient(outer, weights(f))
      return (loss = outer, w = g.w, b = g.b)
    }
    """
    )
    result = run(text, X, wide=True)
    w, b = (result.state[f"net.f.{p}"].astype(np.float64) for p in "wb")

    def outer(w: np.ndarray, b: np.ndarray) -> float:
        r = X @ w + b
        fast_w, fast_b = w - 0.01 * 2 * X.T @ r, b - 0.01 * 2 * r.sum(0)
        return float(((2 * X @ fast_w + fast_b) ** 4).sum())

    np.testing.assert_allclose(result.out["loss"], outer(w, b), rtol=1e-6)
    np.testing.assert_allclose(result.out["w"], differences(lambda v: outer(v, b), w), rtol=1e-5)
    np.testing.assert_allclose(result.out["b"], differences(lambda v: outer(w, v), b), rtol=1e-5)


def test_several_inner_steps() -> None:
    text = (
        DENSE
        + """
    fn descend(f: net, x: f32[N, D], w: weights) -> weights {
      let g = with_weights(f, w)
      return w - 0.01 * gradient(sum(g(x) ^ 2), w)
    }
    block Net()(x: f32[N, D]) {
      let f = Dense(2)
      let y = f(x)
      let w = weights(f) |> repeat 3 { descend(f, x, _) }
      return with_weights(f, w)(x)
    }
    """
    )
    result = run(text, X)
    w, b = (result.state[f"net.f.{p}"].astype(np.float64) for p in "wb")
    for _ in range(3):
        r = X @ w + b
        w, b = w - 0.02 * X.T @ r, b - 0.02 * r.sum(0)
    np.testing.assert_allclose(result.out, X @ w + b, rtol=1e-4)


def test_a_frozen_net_has_no_gradient_and_lets_one_through() -> None:
    text = (
        DENSE
        + """
    block Net()(x: f32[N, D]) {
      let f = Dense(D)
      let first = f(x)
      let loss = sum(frozen(f)(f(x)) ^ 2)
      let g = gradient(loss, weights(f))
      return (w = g.w, x = gradient(loss, x))
    }
    """
    )
    result = run(text, X, wide=True)
    w, b = (result.state[f"net.f.{p}"].astype(np.float64) for p in "wb")
    by_w = differences(lambda v: float((((X @ v + b) @ w + b) ** 2).sum()), w)
    by_x = differences(lambda v: float((((v @ w + b) @ w + b) ** 2).sum()), X.astype(np.float64))
    np.testing.assert_allclose(result.out["w"], by_w, rtol=1e-5)
    np.testing.assert_allclose(result.out["x"], by_x, rtol=1e-5)


def test_a_frozen_net_is_as_in_evaluation() -> None:
    text = """
    block Counter()(x: f32[N, D]) -> f32[N, D] {
      buffer n: f32 = ones()
      n = n + 1
      return if training { x * n } else { -x * n }
    }
    block Net()(x: f32[N, D]) {
      let c = Counter()
      return (once = c(x), still = frozen(c)(x), twice = c(x))
    }
    """
    result = run(text, X, training=True)
    np.testing.assert_array_equal(result.out["once"], 2 * X)
    np.testing.assert_array_equal(result.out["still"], -2 * X)
    np.testing.assert_array_equal(result.out["twice"], 3 * X)
    assert result.written == {"net.c.n": 3}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("weights(f) + weights(g)", "E0318"),
        ("with_weights(f, weights(g))", "E0318"),
        ("weights(f) + x", "E0318"),
        ("weights(x)", "E0310"),
        ("with_weights(f, x)", "E0310"),
        ("gradient(sum(x), f)", ""),
    ],
)
def test_trees_that_do_not_fit(text: str, code: str) -> None:
    program = (
        DENSE
        + f"""
    block Two()(x: f32[N, D]) -> f32[N, D] = x |> Dense(D) |> Dense(D)
    block Net()(x: f32[N, D]) {{
      let f = Dense(2)
      let g = Two()
      let y = sum(f(x)) + sum(g(x))
      let q = {text}
      return x
    }}
    """
    )
    if code:
        assert refused(program, X) == code
    else:
        np.testing.assert_array_equal(out(program, X), X)


def test_weights_before_the_first_application() -> None:
    text = (
        DENSE
        + """
    block Net()(x: f32[N, D]) {
      let f = Dense(2)
      return sum(weights(f)) + sum(f(x))
    }
    """
    )
    assert refused(text, X) == "E0209"
