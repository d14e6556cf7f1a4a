"""Pipes, stages and the placeholder `_` (semantics 1 and 2)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.elaborate.harness import expression, out, refused, run

X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
MORE = """
fn double(x: f32[...]) -> f32[...] = x * 2
fn power(x: f32[...], n: int) -> f32[...] = x ^ n
fn affine(x: f32[...], factor: f32, offset: f32 = 0.0) -> f32[...] = x * factor + offset
block Times(by: f32 = 3.0)(x: f32[...], also: f32[...] = 1.0) -> f32[...] = x * by * also
block Dense(out: int)(x: f32[..., D]) -> f32[..., out] {
  param w: f32[D, out] = normal()
  return x @ w
}
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x |> double", X * 2),  # a function
        ("x |> double()", X * 2),
        ("x |> power(2)", X**2),  # e(a) is e(x, a)
        ("x |> affine(2, offset = 1)", X * 2 + 1),
        ("x |> affine(offset = 1, factor = 2)", X * 2 + 1),
        ("x |> Times()", X * 3),  # F(a) is F(a)(x)
        ("x |> Times(4)", X * 4),
        ("x |> Times(4)(2 * x)", X * 4 * 2 * X),  # F(a)(m) is F(a)(x, m)
        ("x |> double |> power(2) |> Times(0.5)", (X * 2) ** 2 * 0.5),
        ("x + 1 |> double", (X + 1) * 2),  # `|>` binds least
        ("double(x) |> double", X * 4),
        ("x |> (double)", X * 2),
        ("x |> (double |> power(2))", (X * 2) ** 2),
    ],
)
def test_pipe(text: str, value: np.ndarray) -> None:
    np.testing.assert_allclose(expression(text, X, more=MORE).out, value, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x |> _ + 1", X + 1),
        ("x |> power(_, 2)", X**2),
        ("x |> affine(_, 2, 1)", X * 2 + 1),
        ("x |> _ - (_ |> double)", -X),  # `_` of an inner stage is that stage's own input
        ("x |> _ + (_ + 1 |> double)", X + (X + 1) * 2),
        ("x |> double |> _ * _", (2 * X) ** 2),
        ("x |> repeat 3 { _ + 1 }", X + 3),
        ("x |> repeat 2 { _ + (_ |> double) }", X * 9),
        ("x |> repeat 2 { double |> _ + 1 }", X * 4 + 3),
        ("x |> for k in [1, 2, 3] { _ * k }", X * 6),
        ("x |> for k in 0..3 { _ + k }", X + 3),
        ("x |> for k, m in [(1, 2), (3, 4)] { _ * k + m }", (X + 2) * 3 + 4),
        ("x |> Times(2)(_, _)", X * 2 * X),
        ("x |> where(_ > 0, _, 0)", np.maximum(X, 0)),
        ("x |> (_ |> double) + _", X * 3),
        ("x |> [_, 2 * _][1]", X * 2),
        ("x |> (a = _, b = 2 * _).b", X * 2),
        ("x |> _[0]", X[0]),
        ("x |> -_", -X),
        ("x |> _ ^ 2", X**2),
    ],
)
def test_placeholder(text: str, value: np.ndarray) -> None:
    np.testing.assert_allclose(expression(text, X, more=MORE).out, value, rtol=1e-6)


def test_the_placeholder_is_that_of_the_nearest_stage() -> None:
    text = "x |> repeat 2 { _ + (2 * _ |> repeat 2 { _ + 1 }) }"
    value = X
    for _ in range(2):
        value = value + (2 * value + 2)
    np.testing.assert_allclose(expression(text, X).out, value)


def test_a_placeholder_outside_a_stage_is_an_error() -> None:
    assert refused("block Net()(x: f32[_, _]) = _ + 1", X) == "E0202"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x |> if true { double }", X * 2),
        ("x |> if false { double }", X),  # without `else`: the identity
        ("x |> if false { double } |> _ + 1", X + 1),
        ("x |> if false { double } else { power(2) }", X**2),
        ("x |> if false { double } else if true { power(3) } else { power(2) }", X**3),
        ("x |> if 1 < 2 { _ + 1 }", X + 1),
        ("if true { x } else { 2 * x }", X),
        ("if 3 > 2 and not false { x } else { 2 * x }", X),
        ("x |> repeat 0 { double }", X),
        ("x |> for k in [] { double }", X),
        ("x |> for k in [1, 2] { if k > 1 { double } }", X * 2),
        ("x |> repeat 3 { if true { double } }", X * 8),
    ],
)
def test_control_stages(text: str, value: np.ndarray) -> None:
    np.testing.assert_allclose(expression(text, X, more=MORE).out, value, rtol=1e-6)


@pytest.mark.parametrize(
    ("definition", "value"),
    [
        ("let s = double |> power(2)", (X * 2) ** 2),
        ("let s = power(2)", X**2),  # lacks only its first argument
        ("let s = affine(2, offset = 1)", X * 2 + 1),
        ("let s = Times(2) |> Times(4)", X * 8),
        ("let s = repeat 3 { _ + 1 }", X + 3),
        ("let s = for k in [2, 5] { _ * k }", X * 10),
        ("let s = if true { double }", X * 2),
        ("let s = if false { double }", X),
        ("let s = repeat 2 { double } |> _ + 1", X * 4 + 1),
        ("let s = reshape([3, 2]) |> reshape([2, 3])", X),
        ("let s = if true { double } else { power(2) }", X * 2),
        ("let s = double", X * 2),
    ],
)
def test_stages_are_values(definition: str, value: np.ndarray) -> None:
    text = MORE + f"block Net()(x: f32[_, _]) {{\n  {definition}\n  return x |> s\n}}"
    np.testing.assert_allclose(out(text, X), value, rtol=1e-6)
    text = MORE + f"block Net()(x: f32[_, _]) {{\n  {definition}\n  return s(x)\n}}"
    np.testing.assert_allclose(out(text, X), value, rtol=1e-6)


def test_stages_and_instances_are_arguments() -> None:
    text = (
        MORE
        + """
    fn twice(x: f32[...], f: stage) -> f32[...] = x |> f |> f
    block Around(f: stage)(x: f32[...]) -> f32[...] = x + (x |> f)
    block Net()(x: f32[N, D]) = x |> twice(power(2)) |> Around(double) |> Around(double |> _ + 1)
    """
    )
    value = X**4 * 3
    np.testing.assert_allclose(out(text, X), value + 2 * value + 1, rtol=1e-6)


def test_layers_composed_without_a_tensor_are_a_layer() -> None:
    text = (
        MORE
        + """
    block Net()(x: f32[N, D]) {
      let mlp = Dense(4) |> double |> Dense(2)
      return mlp(x) + mlp(x)
    }
    """
    )
    result = run(text, X)
    a, b = result.state.values()
    assert result.paths == ["net.mlp.dense_0.w", "net.mlp.dense_1.w"]
    np.testing.assert_allclose(result.out, 2 * ((X @ a) * 2 @ b), rtol=1e-5)


def test_a_block_without_inputs_is_a_layer_composed() -> None:
    text = (
        MORE
        + """
    block Mlp(h: int) = Dense(h) |> double |> Dense(2)
    block Net()(x: f32[N, D]) = x |> Mlp(4)
    """
    )
    result = run(text, X)
    a, b = result.state.values()
    assert result.paths == ["net.mlp_0.dense_0.w", "net.mlp_0.dense_1.w"]
    np.testing.assert_allclose(result.out, (X @ a) * 2 @ b, rtol=1e-5)


def test_a_list_of_layers_and_a_loop_over_it() -> None:
    text = (
        MORE
        + """
    block Net()(x: f32[N, D]) {
      let layers = [for h in [4, 5, 2] { Dense(h) }]
      return x |> for layer in layers { layer |> double }
    }
    """
    )
    result = run(text, X)
    assert result.paths == [f"net.layers.{i}.w" for i in range(3)]
    value = X
    for w in result.state.values():
        value = value @ w * 2
    np.testing.assert_allclose(result.out, value, rtol=1e-5)


def test_residuals_with_fresh_layers_in_each_round() -> None:
    text = MORE + "block Net()(x: f32[N, D]) = x |> repeat 3 { _ + (_ |> Dense(D)) }"
    result = run(text, X)
    assert result.paths == [f"net.dense_0.{i}.w" for i in range(3)]
    value = X
    for w in result.state.values():
        value = value + value @ w
    np.testing.assert_allclose(result.out, value, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x |> Times", "E0220"),  # a block without its static call
        ("x |> 3", "E0215"),
        ("x |> nothing", "E0201"),
        ("Times(2) |> x", "E0215"),
    ],
)
def test_what_is_no_stage(text: str, code: str) -> None:
    assert (
        refused(MORE + f"block Net()(x: f32[_, _]) {{\n let y = {text}\n return x |> y }}", X)
        == code
    )
