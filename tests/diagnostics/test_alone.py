"""Blocks and functions that nothing uses are checked on stand-ins for their arguments."""

import pytest

from nnc.elaborate import check_text


def codes(text: str) -> list[str]:
    return [d.code for d in check_text(text)]


@pytest.mark.parametrize(
    "text",
    [
        # the sizes are free, and it fits all of them
        "block Cell(H: int)(x: f32[N, D], h: f32[N, H]) -> f32[N, H] =\n"
        "  tanh(concat(x, h) |> Dense(H))",
        # it fits some of them: that is enough
        "block Heads(heads: int)(x: f32[N, T, D]) -> f32[N, T, D] {\n"
        '  assert D % heads == 0, "heads must divide the width"\n'
        "  return x |> Dense(D)\n}",
        "block Skip(c: int)(x: f32[N, D]) -> f32[N, c] = x + (x |> Dense(c))",
        "block Net(c: int, depth: int)(x: f32[N, H, W, C]) -> f32[N, H, W, c] {\n"
        "  let a = x |> Conv(c, 3)\n"
        "  let b = if depth == 0 { a } else {\n"
        "    a |> max_pool(2) |> Net(2 * c, depth - 1) |> upsample(2)\n  }\n"
        "  return concat(a, b) |> Conv(c, 3)\n}",
        "fn scaled(x: f32[...], factor: f32, flip: bool) -> f32[...] =\n"
        "  if flip { -factor * x } else { factor * x }",
        "fn penalty(net: weights, x: f32[N]) -> f32 = sum(weights(net)^2) + sum(x)",
        "fn last(x: (a: f32[N, T, D], b: f32[N, D])) -> f32[N, D] = x.a[T = -1] + x.b",
        "block Wrap(inner: stage)(x: f32[N, D]) -> f32[N, D] = x |> inner",
    ],
)
def test_what_can_be_right_is_not_refused(text: str) -> None:
    assert codes(text) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("block Cell(H: int)(x: f32[N, D]) -> f32[N, H] = x |> Dense(H + 1)", "E0301"),
        ("block Two(H: int)(x: f32[N, D]) -> f32[N, H] = Dense(H)(x) + Dense(H + 1)(x)", "E0320"),
        ("block Rank(H: int)(x: f32[N, T, D]) -> f32[N, H] = x |> Dense(H)", "E0302"),
        ("fn mixed(x: f32[...], y: i32[...]) -> f32[...] = x * y", "E0317"),
        ("fn label(x: f32[N, T, D]) -> f32[N, D] = mean(x, axis = S)", "E0323"),
        ("fn count(x: f32[N, D], parts: int) -> f32[N, D] {\n  let a, b = (x, x, x)\n"
         "  return a\n}", "E0232"),
        ("block Deep(n: int)(x: f32[N, D]) -> f32[N, D] = x |> Deep(n)", "E0271"),
    ],
)  # fmt: skip
def test_what_is_wrong_for_all_sizes_is_found(text: str, code: str) -> None:
    assert codes(text) == [code]


def test_messages_speak_of_the_names_of_sizes() -> None:
    (fault,) = check_text(
        "block Two(H: int)(x: f32[N, D]) -> f32[N, H] = Dense(H)(x) + Dense(2 * H)(x)"
    )
    assert fault.message == "mismatched shapes in `+`: f32[N, H] and f32[N, 2 * H]"


def test_what_a_training_uses_is_checked_there_alone() -> None:
    text = """
data digits {
  x: f32[N, 64] = csv("none.csv", columns = 0..64)
  batch = 64
}

block Layer(H: int)(x: f32[N, D]) -> f32[N, H] = x |> Dense(H) |> Dense(H, baias = false)

train encode {
  loss      = mean(Layer(8)(digits.x)^2)
  optimizer = Adam(1e-3)
  epochs    = 1
}
"""
    assert codes(text) == ["E0501", "E0211"]
