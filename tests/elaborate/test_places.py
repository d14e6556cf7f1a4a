"""Names of places: where weights live, and what is shared (semantics 6 and 10)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.elaborate.harness import refused, run

X = np.float32([[1, -2, 3], [0.5, 1, -1]])
DENSE = """
block Dense(out: int, bias: bool = true)(x: f32[..., D]) -> f32[..., out] {
  param w: f32[D, out] = normal()
  param b: f32[out] = zeros()
  return if bias { x @ w + b } else { x @ w }
}
block Free(out: int)(x: f32[..., D]) -> f32[..., out] = x |> Dense(out, bias = false)
block BatchNorm()(x: f32[N, D]) -> f32[N, D] {
  param scale: f32[D] = ones()
  return x * scale
}
block LSTMCell(H: int)(x: f32[N, D], h: f32[N, H]) -> f32[N, H] =
  tanh((x |> Free(H)) + (h |> Free(H)))
"""


def paths(body: str, **options: object) -> list[str]:
    """The weights of a block with these statements; `w` only of each layer."""
    text = DENSE + f"block Net(big: bool = false, n: int = 2)(x: f32[N, D]) {{\n{body}\n}}"
    return run(text, X, **options).paths


def places(body: str, **options: object) -> list[str]:
    return [
        p.removeprefix("net.").removesuffix(".w")
        for p in paths(body, **options)
        if p.endswith(".w")
    ]


def test_a_block_is_called_after_itself_with_a_number() -> None:
    assert places("return x |> Dense(4) |> Dense(5) |> Dense(2)") == [
        "dense_0",
        "dense_1",
        "dense_2",
    ]
    assert paths("return x |> BatchNorm()") == ["net.batch_norm_0.scale"]
    assert places("return LSTMCell(4)(x, zeros([N, 4]))") == [
        "lstm_cell_0.free_0.dense_0",
        "lstm_cell_0.free_1.dense_0",
    ]


def test_numbers_follow_the_text_and_not_the_order_of_evaluation() -> None:
    assert places("let f = tanh |> Free(2)\n return x |> Free(3) |> f") == [
        "free_1.dense_0",
        "f.free_0.dense_0",
    ]


def test_a_let_gives_its_name() -> None:
    assert places("let head = Dense(4)\n return x |> Dense(5) |> head |> Dense(2)") == [
        "dense_1",
        "head",
        "dense_2",
    ]


def test_an_untaken_branch_counts() -> None:
    body = "return x |> if big { Dense(9) |> Dense(3) } |> Dense(3)"
    assert places(body) == ["dense_2"]
    assert places(body, static={"big": True}) == ["dense_0", "dense_1", "dense_2"]


def test_statements_count_together() -> None:
    body = "let a = x |> Dense(3)\n let b = x |> Dense(3)\n return a + b + (x |> Dense(3))"
    assert places(body) == ["dense_0", "dense_1", "dense_2"]


def test_a_param_of_an_untaken_branch_does_not_exist() -> None:
    assert paths("return x |> Dense(2, bias = false)") == ["net.dense_0.w"]
    text = (
        DENSE
        + """
    block Net()(x: f32[N, D]) {
      let d = Dense(2, bias = false)
      let y = d(x)
      return y + sum(weights(d)) + d.b
    }
    """
    )
    assert refused(text, X) == "E0208"
    result = run(text.replace(" + d.b", ""), X)
    np.testing.assert_allclose(
        result.out, X @ result.state["net.d.w"] + result.state["net.d.w"].sum(), rtol=1e-5
    )


def test_rounds_add_their_number() -> None:
    assert places("return x |> repeat 2 { Dense(3) |> Dense(3) }") == [
        "dense_0.0",
        "dense_1.0",
        "dense_0.1",
        "dense_1.1",
    ]
    assert places("return x |> for k in [4, 5] { Dense(k) }") == ["dense_0.0", "dense_0.1"]
    assert places("return x |> repeat 2 { repeat 2 { Dense(3) } }") == [
        "dense_0.0.0",
        "dense_0.0.1",
        "dense_0.1.0",
        "dense_0.1.1",
    ]
    assert places("return x |> for k in 0..2 { repeat n { Dense(3) } |> Dense(3) }") == [
        "dense_0.0.0",
        "dense_0.0.1",
        "dense_1.0",
        "dense_0.1.0",
        "dense_0.1.1",
        "dense_1.1",
    ]


def test_the_rounds_of_an_inner_block_are_its_own() -> None:
    text = (
        DENSE
        + """
    block Two()(x: f32[N, D]) -> f32[N, D] = x |> repeat 2 { Free(D) }
    block Net()(x: f32[N, D]) = x |> repeat 2 { Two() }
    """
    )
    assert run(text, X).paths == [
        f"net.two_0.{i}.free_0.{j}.dense_0.w" for i in range(2) for j in range(2)
    ]


def test_pairs_and_lists() -> None:
    assert places("let a, b = (Dense(3), Dense(3))\n return x |> b |> a") == ["b", "a"]
    assert places("let pair = (Dense(3), Dense(3))\n return x |> pair[1] |> pair[0]") == [
        "pair.1",
        "pair.0",
    ]
    assert places("let nets = (a = Dense(3), b = Dense(3))\n return x |> nets.a |> nets.b") == [
        "nets.a",
        "nets.b",
    ]
    assert places("let l = [for k in [3, 4] { Dense(k) }]\n return x |> l[0] |> l[1]") == [
        "l.0",
        "l.1",
    ]
    assert places("let l = [Dense(3), Dense(4)]\n return x |> l[0] |> l[1]") == [
        "l.0",
        "l.1",
    ]


def test_layers_in_pairs_and_lists() -> None:
    body = "let f, g = (Dense(4) |> tanh, Dense(3) |> tanh)\n return x |> f |> g"
    assert places(body) == ["f.dense_0", "g.dense_0"]
    body = "let r = (a = Dense(4) |> tanh, b = Dense(3))\n return x |> r.a |> r.b"
    assert places(body) == ["r.a.dense_0", "r.b"]
    body = "let l = [for k in [4, 3] { Dense(k) |> tanh |> Dense(k) }]\n return x |> l[0] |> l[1]"
    assert places(body) == [f"l.{i}.dense_{j}" for i in range(2) for j in range(2)]
    body = "let l = [tanh |> Dense(4), Dense(3) |> tanh]\n return x |> l[0] |> l[1]"
    assert places(body) == ["l.0.dense_0", "l.1.dense_0"]


def test_a_layer_may_be_part_of_another() -> None:
    body = "let f = Dense(3) |> tanh\n let g = f |> Dense(2)\n return x |> f |> g"
    assert places(body) == ["f.dense_0", "g.dense_0"]


def test_a_stage_with_a_name_is_a_place() -> None:
    assert places("let mlp = Dense(4) |> relu |> Dense(2)\n return x |> mlp") == [
        "mlp.dense_0",
        "mlp.dense_1",
    ]
    assert places("let mlp = repeat 2 { Dense(3) }\n return x |> mlp") == [
        "mlp.dense_0.0",
        "mlp.dense_0.1",
    ]
    body = "let f = Dense(4) |> tanh\n let g = Dense(2) |> tanh\n return x |> Dense(3) |> f |> g"
    assert places(body) == ["dense_2", "f.dense_0", "g.dense_0"]


def test_lets_inside_lets() -> None:
    text = (
        DENSE
        + """
    block Inner()(x: f32[N, D]) -> f32[N, D] {
      let head = Dense(D)
      return x |> head
    }
    block Net()(x: f32[N, D]) {
      let inner = Inner()
      return x |> inner |> Inner()
    }
    """
    )
    assert run(text, X).paths == [
        "net.inner.head.w",
        "net.inner.head.b",
        "net.inner_1.head.w",
        "net.inner_1.head.b",
    ]


# ---------------------------------------------------------------- sharing
def test_a_name_is_one_set_of_weights() -> None:
    text = (
        DENSE
        + """
    block Net()(x: f32[N, D]) {
      let f = Dense(D)
      return f(f(x)) + (x |> f)
    }
    """
    )
    result = run(text, X)
    assert result.paths == ["net.f.w", "net.f.b"]
    w = result.state["net.f.w"]
    np.testing.assert_allclose(result.out, X @ w @ w + X @ w, rtol=1e-5)


def test_a_name_is_shared_in_rounds_and_what_stands_there_is_fresh() -> None:
    assert places("let f = Dense(D)\n return x |> repeat 3 { f |> Dense(3) }") == [
        "f",
        "dense_1.0",
        "dense_1.1",
        "dense_1.2",
    ]
    assert places("let f = Dense(D) |> tanh\n return x |> repeat 3 { f }") == ["f.dense_0"]


def test_an_instance_given_to_a_block_keeps_its_place() -> None:
    text = (
        DENSE
        + """
    block Twice(f: net)(x: f32[N, D]) -> f32[N, D] = x |> f |> f
    block Net()(x: f32[N, D]) {
      let g = Dense(D)
      return (x |> Twice(g)) + (x |> Twice(Dense(D)))
    }
    """
    )
    assert run(text, X).paths == ["net.g.w", "net.g.b", "net.dense_1.w", "net.dense_1.b"]


def test_a_default_instance_is_a_place_of_its_own() -> None:
    text = (
        DENSE
        + """
    block Twice(f: net = Dense(3))(x: f32[N, D]) -> f32[N, D] = x |> f
    block Net()(x: f32[N, D]) = x |> Twice() |> Twice()
    """
    )
    assert run(text, X).paths == [f"net.twice_{i}.f.{p}" for i in range(2) for p in "wb"]


def test_one_place_has_one_shape() -> None:
    body = "let f = Dense(3)\n return f(f(x)) + f(x[0..N, 0..2])"
    assert refused(DENSE + f"block Net()(x: f32[N, D]) {{\n{body}\n}}", X) == "E0241"


def test_weights_are_found_by_their_path() -> None:
    text = (
        DENSE
        + """
    block Net()(x: f32[N, D]) {
      let f = Dense(D)
      let y = f(x)
      return y @ transpose(f.w)
    }
    """
    )
    result = run(text, X)
    w = result.state["net.f.w"]
    np.testing.assert_allclose(result.out, X @ w @ w.T, rtol=1e-5)


# ---------------------------------------------------------------- compile-time recursion
def test_a_block_may_use_itself() -> None:
    text = (
        DENSE
        + """
    block Tree(depth: int)(x: f32[N, D]) -> f32[N, D] =
      if depth == 0 { x |> Free(D) } else { (x |> Tree(depth - 1)) + (x |> Tree(depth - 1)) }
    block Net()(x: f32[N, D]) = x |> Tree(2)
    """
    )
    result = run(text, X)
    assert result.paths == [
        f"net.tree_0.tree_{i}.tree_{j}.free_0.dense_0.w" for i in range(2) for j in range(2)
    ]
    np.testing.assert_allclose(result.out, X @ sum(result.state.values()), rtol=1e-4, atol=1e-5)


def test_a_function_may_use_itself() -> None:
    text = """
    fn power(x: f32[...], n: int) -> f32[...] = if n == 0 { x } else { power(x, n - 1) * 2 }
    block Net()(x: f32[N, D]) = power(x, 20)
    """
    np.testing.assert_array_equal(run(text, X).out, X * 2**20)


def test_recursion_without_an_end_is_an_error() -> None:
    text = "fn f(x: f32[...]) -> f32[...] = f(x)\nblock Net()(x: f32[N, D]) = f(x)"
    assert refused(text, X) == "E0271"


@pytest.mark.parametrize("depth", [50, 150])
def test_deep_recursion(depth: int) -> None:
    text = f"""
    fn add(x: f32[...], n: int) -> f32[...] = if n == 0 {{ x }} else {{ add(x + 1, n - 1) }}
    block Net()(x: f32[N, D]) = add(x, {depth})
    """
    np.testing.assert_array_equal(run(text, X).out, X + depth)


def test_a_function_owns_nothing() -> None:
    assert (
        refused(
            DENSE + "fn f(x: f32[N, D]) -> f32[N, 3] = x |> Dense(3)\n"
            "block Net()(x: f32[N, D]) = f(x)",
            X,
        )
        == "E0221"
    )
    assert (
        refused(
            "fn f(x: f32[N, D]) -> f32[N, D] {\n param w: f32[D] = zeros()\n return x * w }\n"
            "block Net()(x: f32[N, D]) = f(x)",
            X,
        )
        == "E0233"
    )
