"""Types, sizes and axis labels (semantics 3)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.elaborate.harness import codes, expression, out, refused, run

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
NTD = "x: f32[N, T, D]"


def value(text: str, types: str = NTD, x: np.ndarray = X) -> np.ndarray:
    return expression(text, x, types=types).out


def labels(text: str, types: str = NTD, x: np.ndarray = X, more: str = "") -> tuple:
    return expression(text, x, types=types, more=more).names


# ---------------------------------------------------------------- sizes
def test_a_declared_type_binds_its_names() -> None:
    np.testing.assert_array_equal(value("x * N + T * D"), X * 2 + 12)


def test_dims_have_arithmetic() -> None:
    text = "block Half()(x: f32[N, T, D]) -> f32[N, T, D // 2] = x[D = 0..D // 2]"
    assert out(text + "\nblock Net()(x: f32[N, T, D]) = x |> Half()", X).shape == (2, 3, 2)
    text = "block Net(K: int = 2)(x: f32[N, 2 * K - 1, K + 2]) = x * K"
    np.testing.assert_array_equal(out(text, X), X * 2)
    assert refused("block Net()(x: f32[N, 2 * K - 1, D]) = x", X) == "E0201"  # nothing is solved


def test_a_size_known_before_is_checked() -> None:
    text = "block Net(K: int = 3)(x: f32[N, K, D]) = x"
    np.testing.assert_array_equal(out(text, X), X)
    assert refused("block Net(K: int = 5)(x: f32[N, K, D]) = x", X) == "E0301"
    assert refused("block Net()(x: f32[N, T, T]) = x", X) == "E0301"
    assert refused("block Net()(x: f32[N, D]) = x", X) == "E0302"
    assert refused("block Net()(x: f32[N, 4, _]) = x", X) == "E0301"


def test_two_inputs_share_their_names() -> None:
    text = "block Net()(a: f32[N, T, D], b: f32[N, T, D]) = a + b"
    np.testing.assert_array_equal(out(text, X, X), X + X)
    assert refused(text, X, X[:, :2]) == "E0301"


def test_an_inferred_dim() -> None:
    text = "block Net()(x: f32[N, _, _]) -> f32[N, _] = x[1 = 0]"
    assert refused(text, X) != ""
    text = "block Net()(x: f32[N, _, _]) -> f32[N, _] = x[_, 0]"
    assert refused(text, X) != ""
    text = "block Net()(x: f32[N, _, _]) -> f32[N, _] = x[0..N, 0]"
    np.testing.assert_array_equal(out(text, X), X[:, 0])


def test_a_result_type_is_checked() -> None:
    assert refused("block Net()(x: f32[N, T, D]) -> f32[N, D, T] = x", X) == "E0301"
    assert refused("block Net()(x: f32[N, T, D]) -> f32[N, T] = x", X) == "E0302"
    assert refused("block Net()(x: f32[N, T, D]) -> i32[N, T, D] = x", X) == "E0312"
    assert refused("block Net()(x: f32[N, T, D]) -> f32[N, T, Q] = x", X) == "E0303"


def test_any_leading_dims() -> None:
    text = """
    fn last(x: f32[..., D]) -> f32[...] = sum(x, axis = D)
    block Net()(x: f32[N, T, D]) = last(x)
    """
    np.testing.assert_array_equal(out(text, X), X.sum(-1))
    text = """
    fn same(a: f32[...], b: f32[...]) -> f32[...] = a + b
    block Net()(x: f32[N, T, D]) = same(x, x[T = 0..2])
    """
    assert refused(text, X) == "E0301"


# ---------------------------------------------------------------- labels
def test_labels_come_from_the_declared_types() -> None:
    assert labels("x") == ("N", "T", "D")
    assert labels("x", "x: f32[N, _, D]") == ("N", None, "D")
    assert labels("x", "x: f32[_, K = 3, 4]") == (None, "K", None)
    more = "fn f(a: f32[B, S, C]) -> f32[B, S, C] = a\n"
    assert labels("f(x)", more=more) == ("B", "S", "C")  # a result has its declared names
    more = "fn f(a: f32[B, S, C]) -> f32[_, _, _] = a\n"
    assert labels("f(x)", more=more) == ("B", "S", "C")
    more = "fn f(a: f32[...]) -> f32[...] = a\n"
    assert labels("f(x)", more=more) == ("N", "T", "D")


def test_labels_travel() -> None:
    assert labels("-x + 1 |> tanh") == ("N", "T", "D")
    assert labels("sum(x, axis = T)") == ("N", "D")
    assert labels("sum(x, axis = T, keep = true)") == ("N", None, "D")
    assert labels("x[T = 0]") == ("N", "D")
    assert labels("x[T = 0..2]") == ("N", "T", "D")
    assert labels("transpose(x)") == ("N", "D", "T")
    assert labels("expand(x, axis = 1)") == ("N", None, "T", "D")
    assert labels("reshape(x, [N, T, 2, 2])") == ("N", "T", None, None)
    assert labels("flatten(x)") == ("N", None)
    assert labels("where(x > 0, x, 0)") == ("N", "T", "D")
    assert labels("where(x > 0, 1, 0)") == ("N", "T", "D")
    assert labels("1 - x") == ("N", "T", "D")
    assert labels("x + x[N = 0]") == ("N", "T", "D")
    assert labels("x[N = 0] + x") == ("N", "T", "D")
    assert labels("argmax(x)") == ("N", "T")
    assert labels('rearrange(x, "n t d -> t (n d)")') == ("T", None)
    assert labels("x @ ones([D, 5])") == ("N", "T", None)


def test_a_let_renames_and_checks() -> None:
    text = """
    block Net()(x: f32[N, T, D]) {
      let p: f32[N, K = 3, D] = x
      let q: f32[N, K = 3, _] = p * 2
      return sum(q, axis = K) * K
    }
    """
    np.testing.assert_array_equal(out(text, X), X.sum(1) * 6)
    wrong = "block Net()(x: f32[N, T, D]) {\n let p: f32[N, K = 4, D] = x\n return p }"
    assert refused(wrong, X) == "E0301"
    binding = "block Net()(x: f32[N, T, D]) {\n let p: f32[N, A, B] = x\n return p * A + B }"
    np.testing.assert_array_equal(out(binding, X), X * 3 + 4)


def test_one_label_for_two_sizes_is_an_error() -> None:
    text = """
    block Net()(x: f32[N, T, D]) {
      let p: f32[N, K = 3, D] = x
      let q: f32[N, T, K = 4] = x
      return p
    }
    """
    assert refused(text, X) == "E0301"


# ---------------------------------------------------------------- indices
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("x[T = -1]", X[:, -1]),
        ("x[T = 0..T - 1]", X[:, :-1]),
        ("x[T = 1..T]", X[:, 1:]),
        ("x[T = 1..T, D = 0]", X[:, 1:, 0]),
        ("x[D = 0, N = 1]", X[1, :, 0]),
        ("x[0]", X[0]),
        ("x[1, 2, 3]", X[1, 2, 3]),
        ("x[0, T = 1]", X[0, 1]),
        ("x[0..1, 1..3]", X[:1, 1:3]),
        ("x[..., 0]", X[..., 0]),
        ("x[..., 1..3]", X[..., 1:3]),
        ("x[0, ..., -1]", X[0, :, -1]),
        ("x[T = -2..T]", X[:, -2:]),
        ("x[T = 0..-1]", X[:, :-1]),
        ("x[T = i32(ones([2]))]", X[:, [1, 1]]),
        ("x[T = T - 1]", X[:, -1]),
        ("x[D = D // 2..D]", X[..., 2:]),
        ("x", X),
    ],
)
def test_index(text: str, wanted: np.ndarray) -> None:
    np.testing.assert_array_equal(value(text), wanted)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x[S = 0]", "E0323"),
        ("x[T = 3]", "E0322"),
        ("x[T = -4]", "E0322"),
        ("x[T = 0..4]", "E0322"),
        ("x[T = 2..1]", "E0322"),
        ("x[0, 0, 0, 0]", "E0321"),
        ("x[0, N = 0]", "E0321"),
        ("x[x > 0]", "E0321"),
        ("x[T = 0.5]", "E0321"),
    ],
)
def test_bad_index(text: str, code: str) -> None:
    assert refused(f"block Net()({NTD}) = {text}", X) == code


def test_two_axes_of_one_label() -> None:
    square = np.ones((3, 3), np.float32)
    assert refused("block Net()(x: f32[T, T]) = x[T = 0]", square) == "E0323"
    assert refused("block Net()(x: f32[T, T]) = sum(x, axis = T)", square) == "E0323"
    np.testing.assert_array_equal(value("x[0..T, 0]", "x: f32[T, T]", square), square[:, 0])


# ---------------------------------------------------------------- axes as arguments
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("sum(x, axis = T)", X.sum(1)),
        ("sum(x, axis = (N, D))", X.sum((0, 2))),
        ("sum(x, axis = [N, D])", X.sum((0, 2))),
        ("mean(x, axis = -1)", X.mean(-1)),
        ("sum(x)", X.sum()),
        ("max(x, axis = D, keep = true)", X.max(-1, keepdims=True)),
        ("cumsum(x, axis = T)", X.cumsum(1)),
        ("concat(x, x, axis = T)", np.concatenate([X, X], 1)),
        ("stack(x, x, axis = 1)", np.stack([X, X], 1)),
        ("x |> split(2, axis = D) |> _[1]", X[..., 2:]),
        ("size(x, axis = T) * x", X * 3),
        ("flip(x, axis = T)", X[:, ::-1]),
    ],
)
def test_axis(text: str, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(value(text), wanted, rtol=1e-6)


def test_an_axis_that_is_not_there() -> None:
    assert refused(f"block Net()({NTD}) = sum(x, axis = S)", X) == "E0323"
    assert refused(f"block Net()({NTD}) = sum(x, axis = 3)", X) == "E0324"


def test_a_static_parameter_may_hold_an_axis() -> None:
    text = """
    fn total(x: f32[...], axis: axis) -> f32[...] = sum(x, axis = axis)
    block Net()(x: f32[N, T, D]) = total(x, axis = T)
    """
    np.testing.assert_array_equal(out(text.replace("-> f32[...] = s", "= s"), X), X.sum(1))


# ---------------------------------------------------------------- squeeze
def test_squeeze_keeps_named_axes() -> None:
    one = np.ones((1, 3, 1), np.float32)
    assert value("squeeze(x)", "x: f32[N, T, 1]", one).shape == (1, 3)
    assert value("squeeze(x)", "x: f32[_, T, K]", one).shape == (3, 1)
    assert value("squeeze(x, axis = K)", "x: f32[N, T, K]", one).shape == (1, 3)
    assert refused("block Net()(x: f32[N, T, K]) = squeeze(x, axis = T)", one) == "E0324"
    dense = """
    block Dense(out: int)(x: f32[..., D]) -> f32[..., out] {
      param w: f32[D, out] = ones()
      return x @ w
    }
    block Net()(x: f32[N, T, D]) = x |> Dense(1) |> squeeze
    """
    assert run(dense, one).names == ("N", "T")


# ---------------------------------------------------------------- "same" padding
@pytest.mark.parametrize("size", [5, 6, 7, 8])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_same_padding(size: int, stride: int, kernel: int) -> None:
    x = np.arange(1, size + 1, dtype=np.float32).reshape(1, size, 1)
    text = f"conv(x, ones([{kernel}, 1, 1]), stride = {stride})"
    found = value(text, "x: f32[N, S, C]", x)
    count = (size + stride - 1) // stride
    pad = max((count - 1) * stride + kernel - size, 0)
    padded = np.pad(x[0, :, 0], (pad // 2, pad - pad // 2))  # the odd one at the end
    wanted = [padded[i * stride : i * stride + kernel].sum() for i in range(count)]
    np.testing.assert_array_equal(found[0, :, 0], wanted)


def test_a_whole_program_names_every_dim() -> None:
    text = """
    block A()(x: f32[N, D]) -> f32[N, E] = x
    model M()(x: f32[N, 4]) -> f32[N, 4] = x |> A()
    """
    assert codes(text) == ["E0303"]
