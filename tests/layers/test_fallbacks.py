"""Where rounds differ a `repeat` stays unrolled, and a remark at its line says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnc.ir.program import Training
from nnc.language.diagnostics import NncError
from tests.layers.programs import CLASSIFIER, MLP, POINTS, program

BODY = "x |> Dense(5) |> repeat 3 { Dense(5) |> tanh |> Dropout(20%) } |> Dense(3)"


def net(body: str, more: str = "", classifier: str = CLASSIFIER) -> str:
    return f"{POINTS}{more}\nmodel Net()(x: f32[N, D]) -> f32[N, 3] {{\n{body}\n}}\n{classifier}"


def stacked(text: str, folder: Path) -> Training:
    return program(text, folder).training(stack_layers=True)


NOISY = "fn noisy(x: f32[N, D]) -> f32[N, D] = if training { x + normal([N, D]) } else { x }"
NUDGED = """
block Nudged()(x: f32[N, D]) -> f32[N, D] {
  let y = x |> Dense(D) |> tanh
  return x - 0.1 * gradient(sum(y^2), x)
}
"""
TIED = """
block Tied()(x: f32[N, D]) -> f32[N, D] {
  let dense = Dense(D)
  return tanh(dense(x)) @ transpose(dense.w)
}
"""
GROUPS = CLASSIFIER.replace("AdamW(", '[("net.dense_0.0.*", SGD(1e-1)), (net, AdamW(').replace(
    "weight_decay = 0.1)", "weight_decay = 0.1))]"
)

CASES = {
    "types": (
        net("return x |> repeat 3 { Dense(5) |> tanh } |> Dense(3)"),
        "its first round makes f32[N = 6, 5] of f32[N = 6, D = 8]",
    ),
    "one round": (net("return x |> repeat 1 { Dense(8) } |> Dense(3)"), "it has one round"),
    "draws": (
        net("return x |> repeat 3 { Dense(8) |> noisy } |> Dense(3)", NOISY),
        "its body draws random numbers for a place that all rounds share",
    ),
    "buffers": (
        net("let norm = BatchNorm()\nreturn x |> repeat 3 { Dense(8) |> norm } |> Dense(3)"),
        "its body sets a buffer that all rounds share",
    ),
    "gradients": (
        net("return x |> repeat 3 { Nudged() } |> Dense(3)", NUDGED),
        "its body takes a gradient",
    ),
    "weights": (
        net("return x |> repeat 3 { Tied() } |> Dense(3)", TIED),
        "its body reads `w` of an instance",
    ),
    "optimizers": (
        net("return x |> repeat 3 { Dense(8) |> tanh } |> Dense(3)", "", GROUPS),
        "its rounds have different optimizers",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_remark_says_why(case: str, tmp_path: Path) -> None:
    text, reason = CASES[case]
    training = stacked(text, tmp_path)
    assert not any(entry.layers for entry in training.state.values())
    line = next(
        n for n, one in enumerate(("language 1\n" + text).split("\n"), 1) if "repeat" in one
    )
    (remark,) = training.remarks
    assert remark.endswith(f": `repeat` stays unrolled: {reason}")
    assert f"layers.nn:{line}:" in remark


def test_other_loops_are_stacked_all_the_same(tmp_path: Path) -> None:
    body = "return x |> repeat 2 { Dense(8) |> noisy } |> repeat 3 { Dense(8) |> tanh } |> Dense(3)"
    training = stacked(net(body, NOISY), tmp_path)
    assert len(training.remarks) == 1
    assert "net.dense_0.1.w" in training.state
    assert training.state["net.dense_1.*.w"].layers == (3,)


def test_loops_without_weights_are_unrolled_without_a_word(tmp_path: Path) -> None:
    training = stacked(net("return x |> repeat 3 { tanh } |> Dense(3)"), tmp_path)
    assert not training.remarks


def test_errors_are_those_of_the_program(tmp_path: Path) -> None:
    text = MLP.replace("Dropout(20%)", "Dropout(2.0)")
    with pytest.raises(NncError) as plain:
        program(text, tmp_path).training()
    with pytest.raises(NncError) as found:
        stacked(text, tmp_path)
    (first,), (second,) = plain.value.diagnostics, found.value.diagnostics
    assert first.span is not None
    assert second.span is not None
    assert (first.message, first.span.start) == (second.message, second.span.start)
