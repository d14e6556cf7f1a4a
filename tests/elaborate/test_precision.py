"""The setting `precision`: where it holds, what it leaves alone, and the loss scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnc.ir.graph import Graph
from nnc.ir.program import Training
from nnc.passes.precision import PRECISIONS as KNOWN
from nnc.passes.precision import PRODUCTS
from tests.elaborate.harness import Run, codes, save, train
from tests.elaborate.test_training import DATA, FIT, LAYERS, X, Y

PRECISE = FIT.replace("  epochs", "  precision = bf16\n  epochs")


def products(graph: Graph) -> set[str]:
    """The element types of matrix products, those in bodies too."""
    found: set[str] = set()
    for node in graph:
        found |= {node.type.dtype} if node.op in PRODUCTS else set()
        for body in (v for v in node.attrs.values() if isinstance(v, Graph)):
            found |= products(body)
    return found


def made(tmp_path: Path, text: str) -> Training:
    save(tmp_path, d={"x": X, "y": Y})
    return train(DATA + LAYERS + text, tmp_path)


@pytest.mark.parametrize("precision", KNOWN)
def test_it_holds_in_steps_evaluation_and_inference(tmp_path: Path, precision: str) -> None:
    text = FIT.replace("  epochs", f"  metrics = (error = 1)\n  precision = {precision}\n  epochs")
    training = made(tmp_path, text.replace("error = 1", "error = mean(abs(net(d.x)))"))
    (evaluation,), (forward,) = training.evaluations, training.forwards
    graphs = [training.phases[0].steps[0].graph, evaluation.batch, forward.graph]
    for graph in (*graphs, forward.structured):
        assert products(graph) == {precision}
    assert {entry.type.dtype for entry in training.state.values()} <= {"f32", "i32"}


def test_phases_inherit_it_and_may_change_it(tmp_path: Path) -> None:
    text = PRECISE.replace("  epochs = 2\n", "") + "}"
    text = text.replace(
        "}\n}", "  phase a(steps = 1) {}\n  phase b(steps = 1) { precision = f32 }\n}"
    )
    training = made(tmp_path, text)
    assert [products(p.steps[0].graph) for p in training.phases] == [{"bf16"}, {"f32"}]
    assert products(training.forwards[0].graph) == {"bf16"}


def test_what_the_optimizer_multiplies_stays_in_f32(tmp_path: Path) -> None:
    block = """
block Whitened(lr: f32)(p: f32[A, B], grad: f32[A, B]) -> f32[A, B] =
  p - lr * (grad @ (transpose(grad) @ grad))
"""
    text = block + PRECISE.replace("Descent(0.1)", "Whitened(0.1)")
    graph = made(tmp_path, text).phases[0].steps[0].graph
    dtypes = [node.type.dtype for node in graph if node.op == "dot"]
    assert dtypes == ["bf16", "bf16", "f32", "f32"]


def test_f16_has_a_scale_for_each_section(tmp_path: Path) -> None:
    steps = """
  step one { loss = mean((net(d.x) - d.y) ^ 2) }
  step two { loss = mean(abs(net(d.x) - d.y)) }
"""
    text = FIT.replace("  loss = mean((net(d.x) - d.y) ^ 2)\n", steps)
    training = made(tmp_path, text.replace("  epochs", "  precision = f16\n  epochs"))
    scales = [path for path in training.state if path.startswith("@scale/")]
    assert scales == [
        f"@scale/{section}/{name}" for section in ("one", "two") for name in ("scale", "good_steps")
    ]
    assert {training.state[path].kind for path in scales} == {"scale"}
    assert not any(path.startswith("@scale/") for path in made(tmp_path, PRECISE).state)


def test_gradients_are_clipped_after_they_are_divided(tmp_path: Path) -> None:
    """Else a scale of 2^16 would leave nothing of them."""
    text = FIT.replace("loss = mean", "loss = 0.1 * mean").replace("Descent(0.1)", "Descent(1.0)")
    plain, scaled = (
        Run(made(tmp_path, text.replace("  epochs", f"{extra}\n  clip_norm = 0.5\n  epochs")))
        for extra in ("", "  precision = f16")
    )
    for run in (plain, scaled):
        run.step(run.training.phases[0].steps[0])
    assert scaled.state["@scale/step/good_steps"] == 1
    np.testing.assert_allclose(scaled.state["net.w"], plain.state["net.w"], 1e-2, 1e-3)


@pytest.mark.parametrize("value", ["f64", "bfloat16", '"bf16"', "16", "f16 + 1"])
def test_other_values_are_refused(tmp_path: Path, value: str) -> None:
    save(tmp_path, d={"x": X, "y": Y})
    text = DATA + LAYERS + PRECISE.replace("= bf16", f"= {value}")
    assert codes(text, tmp_path) == ["E0435"]


# ---------------------------------------------------------------- weights of short floats
def test_a_short_weight_is_initialized_and_updated_in_f32(tmp_path: Path) -> None:
    short = """
block Short(out: int)(x: f32[..., D]) -> f32[..., out] {
  param w: bf16[D, out] = normal()
  return f32(bf16(x) @ w)
}
"""
    training = made(tmp_path, short + FIT.replace("Dense(2)", "Short(2)"))
    run = Run(training)
    before = run.state["net.w"].copy()
    run.step(training.phases[0].steps[0])
    assert str(training.state["net.w"].type.dtype) == "bf16"
    assert not np.array_equal(run.state["net.w"], before)
    bits = run.state["net.w"].view(np.uint32)
    assert not np.any(bits & 0xFFFF)
