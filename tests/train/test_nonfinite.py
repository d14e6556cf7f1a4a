"""A run that goes bad stops, keeps the last good state, and names the op that did it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.types import TensorType
from nnc.language.diagnostics import NncError
from nnc.train import checkpoint, nonfinite

from .conftest import EMITTED, make_loop

VECTOR = TensorType("f32", (3,))


def cause(build: Any, **inputs: list[float]) -> str | None:
    """The op that `first_bad_node` blames in the graph of `build(x, ...)`."""
    graph = Graph()
    builder = Builder(graph)
    tensors = {name: builder.input(name, VECTOR) for name in inputs}
    result: Tensor = build(**tensors)
    graph.outputs["@loss"] = result.value
    arrays = {name: np.float32(value) for name, value in inputs.items()}
    node = nonfinite.first_bad_node(graph, arrays)
    return node.op if node else None


def test_the_first_op_is_blamed_not_the_last() -> None:
    # exp overflows; what follows only carries the infinity on, and makes NaN of it.
    assert cause(lambda x: (x.emit("exp") / x.emit("exp")).sum((0,)), x=[1, 2, 100]) == "exp"


def test_a_division_of_zero_by_zero_is_blamed() -> None:
    assert cause(lambda x, y: x / y, x=[0, 1, 2], y=[0, 1, 2]) == "div"


def test_an_infinity_that_is_never_selected_is_innocent() -> None:
    def build(x: Tensor) -> Tensor:
        safe = (x > 0).where(x.emit("log"), 0.0)  # log(0) = -inf, but not taken
        return (safe - x.emit("exp").emit("exp")).sum((0,))

    assert cause(build, x=[0, 1, 2]) is None
    assert cause(build, x=[0, 1, 50]) == "exp"


def test_a_constant_infinity_blames_the_op_that_reads_it() -> None:
    def build(x: Tensor) -> Tensor:
        return x * x.builder.full(float("inf"), "f32", (3,)) * 0.0

    assert cause(build, x=[1, 1, 1]) == "mul"


def test_a_bad_input_is_named_as_such() -> None:
    assert cause(lambda x: x + 1.0, x=[np.nan, 0, 0]) == "input"


# ---------------------------------------------------------------- in a run
EXPLODING = EMITTED.replace("w -= np.float32(", "w += np.float32(1e6 if scalars['draw'] > 6 else ")


def test_a_run_stops_at_the_step_with_the_place_in_the_program(
    tmp_path: Path, monkeypatch: Any
) -> None:
    program = tmp_path / "model.nn"
    program.write_text("one\n  p = sigmoid(dot(x, w))\n  loss = log(p)\n")
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(NncError) as problem:
        make_loop(run, EXPLODING).run()
    (diagnostic,) = problem.value.diagnostics
    assert diagnostic.code == "E0701"
    assert "the loss is " in diagnostic.message
    assert "at step 8: `log`" in diagnostic.message
    assert diagnostic.span is not None
    assert (diagnostic.span.line, diagnostic.span.text) == (3, "loss = log(p)")


def test_only_good_states_are_saved(tmp_path: Path) -> None:
    with pytest.raises(NncError):
        make_loop(tmp_path, EXPLODING).run()
    found = checkpoint.load(tmp_path / checkpoint.LAST)
    assert all(np.isfinite(value).all() for value in found.state.values())
    assert found.meta["counters"]["step"] <= 8


def test_a_weight_that_goes_bad_behind_a_finite_loss_is_found(tmp_path: Path) -> None:
    hidden = EMITTED.replace(
        'return state, {"loss": loss,',
        'm[0] = np.inf if scalars["draw"] == 33 else m[0]\n    return state, {"loss": 0.5,',
    ).replace("w -= ", "w = w - 0 * ")
    with pytest.raises(NncError) as problem:
        make_loop(tmp_path, hidden).run()
    # Draw 33 is the second execution of the cycle at step 26 (20 + 2 * 7 - 1).
    assert "`@opt/adam/m/net.w` is not finite at step 26" in str(problem.value)
