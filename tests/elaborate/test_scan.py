"""`scan`: loops over time (semantics 7)."""

from __future__ import annotations

import numpy as np
import pytest

from nnc import random
from nnc.ir.interpret import interpret
from tests.elaborate.harness import expression, out, refused, run

F = np.float32
X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(F)  # [N, T, D]
NTD = "x: f32[N, T, D]"


def value(text: str, *arrays: np.ndarray, types: str = NTD) -> object:
    return expression(text, *(arrays or (X,)), types=types).out


def test_the_value_is_the_final_carry() -> None:
    text = "scan e in x over T with s = zeros([N, D]) { s = 0.5 * s + e }"
    s = np.zeros((2, 3), F)
    for t in range(5):
        s = F(0.5) * s + X[:, t]
    np.testing.assert_allclose(value(text), s, rtol=1e-6)


def test_the_value_is_the_stack_if_it_yields() -> None:
    text = "scan e in x over T with s = zeros([N, D]) { s = s + e\n yield s }"
    np.testing.assert_allclose(value(text), X.cumsum(1), rtol=1e-5)


@pytest.mark.parametrize(("label", "axis"), [("N", 0), ("T", 1), ("D", 2)])
def test_yields_stack_where_the_scanned_axis_stood(label: str, axis: int) -> None:
    result = expression(f"scan e in x over {label} {{ yield 2 * e }}", X, types=NTD)
    np.testing.assert_array_equal(result.out, 2 * X)
    assert result.names == ("N", "T", "D")


def test_a_yield_of_lower_rank_stacks_as_near_as_it_can() -> None:
    np.testing.assert_allclose(
        value("scan e in x over D { yield sum(e) }"), X.sum((0, 1)), rtol=1e-5
    )


def test_several_carries_come_out_as_a_record() -> None:
    text = """scan e in x over T with h = zeros([N, D]), c = ones([N, D]), n = 0 {
      h, c = (h + c * e, c + 1)
      n = n + 1
    }"""
    h, c = np.zeros((2, 3), F), np.ones((2, 3), F)
    for t in range(5):
        h, c = h + c * X[:, t], c + 1
    result = value(text)
    np.testing.assert_allclose(result["h"], h, rtol=1e-5)
    np.testing.assert_array_equal(result["c"], c)
    assert result["n"] == 5


def test_carries_are_set_in_order_and_a_tuple_at_once() -> None:
    text = "scan t in 0..3 with a = 1.0, b = 2.0 { a, b = (b, a + b) }"
    assert value(text) == {"a": 5.0, "b": 8.0}
    text = "scan t in 0..3 with a = 1.0, b = 2.0 { a = b\n b = a + b }"
    assert value(text) == {"a": 8.0, "b": 16.0}


def test_sequences_zip() -> None:
    y = X[..., 0] * 2
    text = "scan a, b in (x, y) over T with s = 0.0 { s = s + sum(a) * sum(b)\n yield s }"
    wanted = np.cumsum(X.sum((0, 2)) * y.sum(0))
    types = "x: f32[N, T, D], y: f32[N, T]"
    np.testing.assert_allclose(value(text, X, y, types=types), wanted, rtol=1e-4)


def test_sequences_of_one_length() -> None:
    text = f"block Net()({NTD}, y: f32[N, S]) = scan a, b in (x, y) over T {{ yield a }}"
    assert refused(text, X, X[:, :4, 0]) == "E0323"
    text = f"block Net()({NTD}, y: f32[N, _]) {{\n let z: f32[N, K] = y\n"
    text += " return scan a, b in (x[0], z) over T { yield a }\n}"
    assert refused(text, X, X[:, :4, 0]) in ("E0323", "E0261")


def test_several_yields() -> None:
    a, b = value("scan e in x over T { yield (e, sum(e)) }")
    np.testing.assert_array_equal(a, X)
    np.testing.assert_allclose(b, X.sum((0, 2)), rtol=1e-5)
    result = value("scan e in x over T { yield (twice = 2 * e, total = sum(e)) }")
    np.testing.assert_array_equal(result["twice"], 2 * X)


def test_a_range() -> None:
    np.testing.assert_array_equal(value("scan t in 0..4 { yield t }"), np.arange(4))
    np.testing.assert_allclose(
        value("scan t in 0..T { yield f32(t) * x[0, 0] }"),
        np.arange(5)[:, None] * X[0, 0],
        rtol=1e-6,
    )
    text = "scan t in 0..3 with h = x { h = h * 2 }"
    np.testing.assert_array_equal(value(text), X * 8)
    assert refused("block Net()(x: f32[N]) = scan t in 1..3 { yield t }", X[0, 0]) == "E0260"


def test_the_loop_counter_indexes_as_a_scanned_operand() -> None:
    for text, wanted in [
        ("scan t in 0..T { yield x[T = t] * 2 }", X.swapaxes(0, 1) * 2),
        ("scan t in 0..3 { yield x[T = t] }", X[:, :3].swapaxes(0, 1)),
        ("scan t in 0..3 { yield sum(x[D = t]) }", X.sum((0, 1))),
        ("scan t in 0..3 { yield x[0, t] + x[T = t, N = 1] }", X[0, :3] + X[1, :3]),
    ]:
        result = expression(text, X, types=NTD)
        np.testing.assert_allclose(result.out, wanted, rtol=1e-5)
        (loop,) = [node for node in result.graph if node.op == "scan"]
        assert loop.attrs["sequences"] >= 1
        assert not [n for n in loop.attrs["body"] if n.op in ("take", "dynamic_slice")]
    assert refused(f"block Net()({NTD}) = scan t in 0..9 {{ yield x[T = t] }}", X) == "E0322"


def test_a_sequence_of_rank_one_needs_no_axis() -> None:
    text = "scan e in x with s = 0.0 { s = s * 2 + e }"
    assert value(text, F([1, 2, 3]), types="x: f32[N]") == 11
    assert refused("block Net()(x: f32[N, T]) = scan e in x { yield e }", X[0]) == "E0262"


def test_outer_values_are_captured() -> None:
    text = f"""
    block Net()({NTD}, y: f32[D]) {{
      let scale = 2 * y
      return scan e in x over T with s = zeros([N, D]) {{
        let z = e * scale + y
        s = s + z
      }}
    }}
    """
    y = F([1, -2, 0.5])
    np.testing.assert_allclose(out(text, X, y), (X * 2 * y + y).sum(1), rtol=1e-5)


def test_nested_loops() -> None:
    text = """scan row in x over N {
      yield scan e in row over T with s = zeros([D]) { s = s + e * sum(x[0, 0]) }
    }"""
    np.testing.assert_allclose(value(text), X.sum(1) * X[0, 0].sum(), rtol=1e-5)
    text = """scan e in x over T with s = 0.0 {
      let inner = scan f in e over D with q = s { q = q + sum(f) }
      s = inner * 0.5
    }"""
    s = 0.0
    for t in range(5):
        s = (s + X[:, t].sum()) * 0.5
    np.testing.assert_allclose(value(text), s, rtol=1e-4)


CELL = """
block Cell(H: int)(x: f32[N, D], h: f32[N, H]) -> f32[N, H] {
  param w: f32[D, H] = normal()
  param u: f32[H, H] = normal()
  return tanh(x @ w + h @ u)
}
"""


def test_weights_are_shared_over_time() -> None:
    text = (
        CELL
        + f"""
    block Net()({NTD}) {{
      let cell = Cell(4)
      let last = scan e in x over T with h = zeros([N, 4]) {{ h = cell(e, h) }}
      return last + cell(x[T = 0], zeros([N, 4]))
    }}
    """
    )
    result = run(text, X)
    assert result.paths == ["net.cell.w", "net.cell.u"]
    w, u = result.state.values()
    h = np.zeros((2, 4), F)
    for t in range(5):
        h = np.tanh(X[:, t] @ w + h @ u)
    np.testing.assert_allclose(result.out, h + np.tanh(X[:, 0] @ w), rtol=1e-5, atol=1e-6)


def test_an_instance_made_inside_is_one_instance() -> None:
    text = (
        CELL
        + f"""
    block Net()({NTD}) = scan e in x over T with h = zeros([N, 4]) {{
      h = Cell(4)(e, h)
    }}
    """
    )
    assert run(text, X).paths == ["net.cell_0.w", "net.cell_0.u"]


def test_a_buffer_is_read_but_not_set_inside() -> None:
    text = f"""
    block Count()(x: f32[...]) -> f32[...] {{
      buffer n: f32 = ones()
      n = n + 1
      return x * n
    }}
    block Net()({NTD}) {{
      let count = Count()
      let inside = scan e in x over T {{ yield count(e) }}
      return inside + count(x)
    }}
    """
    assert refused(text, X, training=True) == "E0243"
    np.testing.assert_array_equal(out(text, X), 2 * X)


def test_draws_differ_in_each_round_and_are_those_of_the_stream() -> None:
    text = f"block Net()({NTD}) = scan e in x over T {{ yield e * 0 + uniform([N, D]) }}"
    result = run(text, X, training=True, counters={"draw": 7, "seed": 3})
    for t in range(5):
        bits = random.draw_bits(3, "uniform/net", step=7, iteration=t, count=6)
        wanted = ((bits >> 8) * 2.0**-24).reshape(2, 3)
        np.testing.assert_array_equal(result.out[:, t], wanted.astype(F))


def test_draws_of_nested_rounds_differ() -> None:
    text = f"""block Net()({NTD}) = scan a in x over T {{
      yield scan b in a over D {{ yield uniform([4]) }}
    }}"""
    draws = run(text, X, training=True).out.reshape(-1, 4)
    assert len({row.tobytes() for row in draws}) == len(draws)


def test_the_gradient_goes_back_through_time() -> None:
    text = f"""
    block Net()({NTD}) {{
      let loss = sum((scan e in x over T with s = zeros([N, D]) {{ s = s * 0.5 + e ^ 2 }}) ^ 2)
      return (loss = loss, g = gradient(loss, x))
    }}
    """
    found = run(text, X.astype(np.float64).astype(F), wide=True)

    def loss(x: np.ndarray) -> float:
        s = np.zeros((2, 3))
        for t in range(5):
            s = s * 0.5 + x[:, t] ** 2
        return float((s**2).sum())

    step = 1e-5
    for index in [(0, 0, 0), (1, 3, 2), (0, 4, 1)]:
        d = np.zeros_like(X, np.float64)
        d[index] = step
        wanted = (loss(X + d) - loss(X - d)) / (2 * step)
        np.testing.assert_allclose(found.out["g"][index], wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("scan e in x over S { yield e }", "E0323"),
        ("scan e in 3 { yield e }", "E0260"),
        ("scan e in x over T with s = 0.0 { s = s + e }", "E0263"),
        ("scan e in x over T with s = 0.0 { q = s + 1 }", "E0231"),
        ("scan e in x over T { return e }", "E0234"),
        ("scan a, b in x over T { yield a }", "E0232"),
        ("scan e in x over T { yield 2 * e\n yield e }", "E0235"),
        ("scan e in x over T { param w: f32[D] = zeros()\n yield e * w }", "E0233"),
        ("scan e in x over T { let q = e }", "E0264"),
    ],
)
def test_what_a_loop_cannot(text: str, code: str) -> None:
    assert refused(f"block Net()({NTD}) = {text}", X) == code


def test_one_pass_over_a_body() -> None:
    """A body is elaborated once, whatever its length."""
    text = "block Net()(x: f32[N]) = scan e in x with s = 0.0 { s = s + tanh(e) }"
    short, long = (run(text, np.ones(n, F)).graph for n in (3, 300))
    assert len(short) == len(long)
    result = interpret(long, {"x0": np.ones(300, F)})["out"]
    np.testing.assert_allclose(result, 300 * np.tanh(1), rtol=1e-4)
