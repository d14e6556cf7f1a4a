"""Short texts that would need hours or all memory are refused, long ones that are harmless pass."""

from pathlib import Path

import pytest

from nnc.elaborate import check_text

MODELS = Path(__file__).parents[2] / "models"
NET = "model Net()(x: f32[N, 64]) -> f32[N, _] = x |> "
TRAIN = """
data digits {
  x: f32[N, 64] = csv("data/digits.csv.gz", columns = 0..64)
  batch = 64
  split = (train = 80%, val = 20%)
}

train encode {
  let net   = Net()
  loss      = mean(net(digits.x)^2)
  optimizer = Adam(1e-3)
  epochs    = 1
}
"""


def codes(text: str) -> list[str]:
    return [d.code for d in check_text(text, root=MODELS)]


def lets(count: int, step: str, first: str) -> str:
    """`let v1 = ... v0 ... v0`, again and again."""
    head = f"let v0 = {first}\n"
    return head + "".join(f"let v{i} = {step.format(f'v{i - 1}')}\n" for i in range(1, count))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (NET + "repeat 1_000_000 { relu }", "E0274"),
        (NET + "repeat 1000 { repeat 1000 { repeat 1000 { _ } } }", "E0274"),
        ("let a = [for i in 0..1_000_000_000 { i }]", "E0274"),
        ("let a = [for i in 0..10_000 { [for j in 0..10_000 { j }] }]", "E0274"),
        (NET + "repeat 10_000 { Dense(64) }", "E0273"),
        (NET + "Dense(1_000_000_000)", "E0273"),
        ("let a = 9^9^9", "E0316"),
        ("let a = 2^60 * 2^60", "E0316"),
        ("let a = 99999999999999999999999", "E0316"),
        (lets(200, "{0} * {0}", "3"), "E0316"),
        (lets(60, "{0} + {0}", '"abcdefghij"'), "E0316"),
        ("fn f(x: f32[A, B, C]) -> f32 {\n  let n = (A + B + C)^200\n  return sum(x)\n}", "E0316"),
        ("block Deep()(x: f32[N, 8]) -> f32[N, 8] = x |> Deep()", "E0271"),
        ("fn f(x: f32[N], n: int) -> f32[N] = f(x, n + 1) + f(x, n + 1)", "E0271"),
    ],
)
def test_bombs_are_refused(text: str, code: str) -> None:
    found = codes(text)
    assert found
    assert set(found) == {code}


def test_a_chain_of_definitions_is_followed_or_refused() -> None:
    text = "".join(f"let a{i} = a{i + 1} + 1\n" for i in range(3_000)) + "let a3000 = 1\n"
    assert set(codes(text)) <= {"E0271"}


def test_refused_loops_are_refused_once_for_all_graphs_of_a_training() -> None:
    assert codes(NET + "repeat 10_000 { Dense(64) }\n" + TRAIN) == ["E0273"]


def test_no_more_than_a_screenful_of_wrong_definitions_is_looked_at() -> None:
    text = "".join(f"fn f{i}(x: f32[N]) -> f32[N] = x + missing_{i}\n" for i in range(300))
    assert codes(text) == ["E0201"] * 50


@pytest.mark.parametrize(
    "text",
    [
        "fn f(x: f32[N]) -> f32[N] = " + " + ".join(["x"] * 1_000),
        "fn f(x: f32[N]) -> f32[N] = x" + " |> relu" * 300,
        "fn f(x: f32[N, T = 1_000_000_000]) -> f32[N] = scan s in x over T with h = zeros([N]) {\n"
        "  h = h + s\n}",
        "fn f(x: f32[N]) -> f32 = sum(f32(iota(1_000_000_000_000)))",
        lets(500, "{0} + 1", "0"),
        "let a = " + "[" * 90 + "1" + "]" * 90,
        NET + "repeat 100 { Dense(64) |> relu }\n" + TRAIN,
    ],
)
def test_long_programs_are_fine(text: str) -> None:
    assert codes(text) == []
