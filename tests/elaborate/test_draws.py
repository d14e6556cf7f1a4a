"""Initial weights and random draws come from named streams (semantics 11)."""

from __future__ import annotations

import math

import numpy as np

from nnc import random
from tests.elaborate.harness import out, run

F = np.float32
X = np.ones((3, 4), F)


def uniform(path: str, count: int, **place: int) -> np.ndarray:
    return (random.draw_bits(place.pop("seed", 0), path, count=count, **place) >> 8) * 2.0**-24


def normal(path: str, count: int, **place: int) -> np.ndarray:
    """Box-Muller in float64 on two words an element: all of the first, then all of the second."""
    bits = random.draw_bits(place.pop("seed", 0), path, count=2 * count, **place).astype(np.float64)
    u1, u2 = (bits[:count] + 1) * 2.0**-32, bits[count:] * 2.0**-32
    return np.sqrt(-2 * np.log(u1)) * np.cos(2 * math.pi * u2)


# ---------------------------------------------------------------- initial values
def test_initial_weights_are_those_of_the_stream_of_their_path() -> None:
    text = """
    block Layer()(x: f32[N, D]) -> f32[N, 5] {
      param a: f32[D, 5] = uniform(low = -0.5, high = 0.25)
      param b: f32[5] = normal(std = 0.02)
      param c: f32[5] = normal(mean = 1, std = 2)
      param d: f32 = uniform()
      return x @ a + b + c + d
    }
    block Net()(x: f32[N, D]) = x |> Layer() |> Layer()
    """
    for seed in (0, 7):
        state = run(text, X, counters={"seed": seed}).state
        for i, inputs in ((0, 4), (1, 5)):
            at = f"init/net.layer_{i}"
            a = uniform(f"{at}.a", inputs * 5, seed=seed).astype(F) * F(0.75) + F(-0.5)
            np.testing.assert_array_equal(state[f"net.layer_{i}.a"], a.reshape(inputs, 5))
            b = normal(f"{at}.b", 5, seed=seed).astype(F) * F(0.02)
            np.testing.assert_array_equal(state[f"net.layer_{i}.b"], b)
            c = normal(f"{at}.c", 5, seed=seed).astype(F) * F(2) + F(1)
            np.testing.assert_array_equal(state[f"net.layer_{i}.c"], c)
            assert state[f"net.layer_{i}.d"] == uniform(f"{at}.d", 1, seed=seed).astype(F)[0]


def test_an_initializer_is_a_function_of_the_language() -> None:
    text = """
    fn he() -> f32[...] = normal(std = sqrt(2 / fan_in()))
    fn half(x: f32[...]) -> f32[...] = 0.5 * x
    block Net()(x: f32[N, D]) {
      param w: f32[D, 8] = he()
      param v: f32[3, 3, D, 8] = uniform(low = -1 / fan_in(), high = 1 / fan_out())
      param u: f32[D] = half(ones())
      param t: f32[D, 2] = 3
      return (w = x @ w, v = v, u = u, t = t)
    }
    """
    state = run(text, X).state
    np.testing.assert_array_equal(
        state["net.w"].ravel(), normal("init/net.w", 32).astype(F) * F(math.sqrt(2 / 4))
    )
    low, high = -1 / 36, 1 / 72
    np.testing.assert_array_equal(
        state["net.v"].ravel(), uniform("init/net.v", 288).astype(F) * F(high - low) + F(low)
    )
    np.testing.assert_array_equal(state["net.u"], F([0.5] * 4))
    np.testing.assert_array_equal(state["net.t"], np.full((4, 2), 3, F))


def test_equal_seeds_give_equal_weights() -> None:
    text = """
    block Net()(x: f32[N, D]) {
      param w: f32[D, D] = normal()
      return x @ w
    }
    """
    one, same, other = (run(text, X, counters={"seed": s}).state["net.w"] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.any(one == other)


def test_a_weight_does_not_depend_on_what_else_is_drawn() -> None:
    layer = """
    block Layer()(x: f32[N, D]) -> f32[N, D] {
      param w: f32[D, D] = normal()
      return x @ w
    }
    """
    alone = run(layer + "block Net()(x: f32[N, D]) {\n let f = Layer()\n return x |> f }", X)
    among = run(
        layer + "block Net()(x: f32[N, D]) {\n let f = Layer()\n"
        " return x |> Layer() |> f |> Layer() }",
        X,
    )
    np.testing.assert_array_equal(alone.state["net.f.w"], among.state["net.f.w"])


# ---------------------------------------------------------------- draws
NOISE = """
block Noise()(x: f32[N, D]) -> f32[N, D] = if training { x + uniform([N, D]) } else { x }
block Drop(rate: f32)(x: f32[...]) -> f32[...] =
  if training { where(bernoulli(x, 1 - rate), x / (1 - rate), 0) } else { x }
"""


def test_a_draw_is_that_of_its_place_and_step() -> None:
    text = NOISE + "block Net()(x: f32[N, D]) = x |> Noise()"
    for draw, seed in [(0, 0), (1, 0), (5, 3)]:
        found = out(text, 0 * X, training=True, counters={"draw": draw, "seed": seed})
        wanted = uniform("uniform/net.noise_0", 12, seed=seed, step=draw).reshape(3, 4)
        np.testing.assert_array_equal(found, wanted.astype(F))


def test_there_are_none_in_evaluation() -> None:
    text = NOISE + "block Net()(x: f32[N, D]) = x |> Noise() |> Drop(50%)"
    result = run(text, X)
    np.testing.assert_array_equal(result.out, X)
    assert not [n for n in result.graph if n.op == "random_bits"]


def test_two_applications_draw_differently() -> None:
    text = (
        NOISE
        + """
    block Net()(x: f32[N, D]) {
      let noise = Noise()
      return (a = noise(x), b = noise(x), c = x |> Noise())
    }
    """
    )
    result = run(text, 0 * X, training=True, counters={"draw": 2}).out
    for key, path, ordinal in [
        ("a", "net.noise", 0),
        ("b", "net.noise", 1),
        ("c", "net.noise_1", 0),
    ]:
        wanted = uniform(f"uniform/{path}", 12, step=2, ordinal=ordinal).reshape(3, 4).astype(F)
        np.testing.assert_array_equal(result[key], wanted)


def test_a_mask_compares_bits_with_a_threshold() -> None:
    text = NOISE + "block Net()(x: f32[N, D]) = x |> Drop(30%)"
    found = out(text, X, training=True)
    bits = random.draw_bits(0, "bernoulli/net.drop_0", count=12, width=16).reshape(3, 4)
    kept = bits < round(0.7 * 2**16)
    np.testing.assert_array_equal(found, np.where(kept, F(1) / F(0.7), 0).astype(F))
    assert 0 < kept.sum() < 12


def test_two_draws_in_one_body_differ() -> None:
    text = (
        "block Net()(x: f32[N, D]) = (a = normal([N, D]), b = normal([N, D]), c = normal_like(x))"
    )
    result = run(text, X, training=True).out
    for ordinal, key in enumerate("abc"):
        wanted = normal("normal/net", 12, ordinal=ordinal).reshape(3, 4).astype(F)
        np.testing.assert_array_equal(result[key], wanted)


def test_a_value_is_drawn_once_and_shared() -> None:
    text = """
    block Net()(x: f32[N, D]) {
      let z = normal([N, D])
      return (a = z, b = z + 0, g = gradient(sum(z * x), x))
    }
    """
    result = run(text, X, training=True).out
    np.testing.assert_array_equal(result["a"], result["b"])
    np.testing.assert_array_equal(result["a"], result["g"])


def test_a_draw_in_a_loop_over_rounds_differs_in_each() -> None:
    text = NOISE + "block Net()(x: f32[N, D]) = x |> repeat 2 { Noise() }"
    found = out(text, 0 * X, training=True)
    wanted = sum(uniform(f"uniform/net.noise_0.{i}", 12).reshape(3, 4).astype(F) for i in range(2))
    np.testing.assert_array_equal(found, wanted)
