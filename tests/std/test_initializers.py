"""Initial values: their moments and ranges, where their shape comes from, and as arguments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.std.program import error_of, run

FAN_IN, FAN_OUT = 300, 200
X = np.zeros((1, FAN_IN))


def drawn(text: str, seed: int = 0) -> np.ndarray:
    """The weights [300, 200] of a Dense layer with this initializer."""
    result = run(f"x |> Dense({FAN_OUT}, init = {text})", x=X, seed=seed)
    return result.state["net.dense_0.w"].astype(float)


#: initializer -> (standard deviation, largest absolute value or None)
SPREAD = {
    "glorot_uniform()": (math.sqrt(2 / 500), math.sqrt(6 / 500)),
    "glorot_normal()": (math.sqrt(2 / 500), None),
    "he_uniform()": (math.sqrt(2 / 300), math.sqrt(6 / 300)),
    "he_normal()": (math.sqrt(2 / 300), None),
    "lecun_uniform()": (math.sqrt(1 / 300), math.sqrt(3 / 300)),
    "lecun_normal()": (math.sqrt(1 / 300), None),
    "uniform(low = -2, high = 2)": (4 / math.sqrt(12), 2),
    "normal(std = 0.02)": (0.02, None),
    # A Gaussian cut at two standard deviations has 0.8796 of its standard deviation.
    "truncated_normal(std = 0.5)": (0.5 * 0.87962566, 1.0),
}


@pytest.mark.parametrize("text", SPREAD)
def test_its_spread_is_that_of_its_formula(text: str) -> None:
    values, (std, bound) = drawn(text), SPREAD[text]
    count = FAN_IN * FAN_OUT
    assert abs(values.mean()) < 5 * std / math.sqrt(count)
    assert values.std() == pytest.approx(std, rel=0.01)
    if bound is None:
        assert np.abs(values).max() > 3.5 * std
    else:
        assert 0.99 * bound < np.abs(values).max() <= bound * (1 + 1e-6)


def test_constants() -> None:
    assert (drawn("zeros()") == 0).all()
    assert (drawn("ones()") == 1).all()
    assert (drawn("full(0.25)") == 0.25).all()
    assert (drawn("0.25") == 0.25).all()


def test_orthogonal_has_orthonormal_columns_times_its_gain() -> None:
    w = drawn("orthogonal(gain = 2)")
    np.testing.assert_allclose(w.T @ w, 4 * np.eye(FAN_OUT), atol=1e-5)


def test_a_tall_and_a_wide_matrix_are_both_orthogonal() -> None:
    w = run("x |> Dense(7, init = orthogonal())", x=np.zeros((1, 3))).state["net.dense_0.w"]
    np.testing.assert_allclose(w @ w.T, np.eye(3), atol=1e-6)


def test_each_seed_and_each_place_has_its_own_values() -> None:
    assert (drawn("he_normal()", seed=1) != drawn("he_normal()", seed=2)).mean() > 0.99
    state = run("x |> Dense(300) |> Dense(300)", x=X).state
    assert (state["net.dense_0.w"] != state["net.dense_1.w"]).mean() > 0.99


def test_fans_of_a_filter_count_its_taps() -> None:
    image = np.zeros((1, 8, 8, 100))
    w = run("x |> Conv(60, 5, init = he_normal())", x=image).state["net.conv_0.w"]
    assert w.std() == pytest.approx(math.sqrt(2 / (25 * 100)), rel=0.02)
    w = run("x |> Conv(60, 5, init = glorot_uniform())", x=image).state["net.conv_0.w"]
    assert w.std() == pytest.approx(math.sqrt(2 / (25 * 160)), rel=0.02)


def test_an_initializer_is_any_expression_and_passes_through_blocks() -> None:
    definitions = """
block Head(k: int, init: initializer = ones())(x: f32[N, D]) -> f32[N, k] =
  x |> Dense(k, init = init)
"""
    text = "x |> Head(2) |> Head(2, init = 3 * ones() - 1)"
    state = run(text, x=X, definitions=definitions).state
    assert (state["net.head_0.dense_0.w"] == 1).all()
    assert (state["net.head_1.dense_0.w"] == 2).all()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x |> Dense(2, init = he_norml())", "E0201"),
        ("x |> Dense(2, init = normal([3, 4]))", "E0301"),
        ('x |> Dense(2, init = "ones")', "E0311"),
        ("normal()", "E0212"),
        ("he_normal()", "E0212"),
        ("x |> Dense(2, init = x)", "E0244"),
    ],
)
def test_a_wrong_use_is_an_error_at_the_users_place(text: str, code: str) -> None:
    message = error_of(text, x=X)
    assert f"error[{code}]" in message
    assert "--> program.nn:3" in message
