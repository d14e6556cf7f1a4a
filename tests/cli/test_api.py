"""nnc from Python is the command line from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nnc
from nnc.cli import main
from nnc.train.checkpoint import load, state_hash
from nnc.train.module import execution

from ..train.conftest import make_loop


def test_steps_by_hand_are_the_run(program: Path) -> None:
    model = nnc.load("fit.nn").compile("numpy", steps=9)
    state = model.init()
    for index in range(9):
        state, out = model.step(state, model.batch(index))
    assert np.isfinite(out["loss"])
    assert main(["train", "fit.nn", "--out", "run", "--steps", "9"]) == 0
    assert state_hash(state) == state_hash(load("run/last.safetensors").state)
    assert model.source == Path("run/train_numpy.py").read_text()


def test_a_step_can_be_told_where_it_stands(program: Path) -> None:
    model = nnc.load("fit.nn").compile()
    first = model.step(model.init(), model.batch(0), at=5)[0]
    again = model.step(model.init(), model.batch(0), at=5)[0]
    other = model.step(model.init(), model.batch(0), at=6)[0]
    assert state_hash(first) == state_hash(again) != state_hash(other)


def test_training_evaluating_and_predicting(program: Path) -> None:
    built = nnc.load("fit.nn", width=4)
    assert built.trainings == ["fit"]
    assert "width: int = 4" in built.expanded()
    model = built.compile(train="fit", seed=3, epochs=2)
    result = model.train(out="run")
    assert result.counters.step == 8
    scores = model.evaluate(result.state, "test")
    assert scores == result.scores[1]
    x = model.batch(0)["points.x"]
    output = model.predict(model.load_state("run"), x)
    assert output.shape == (8, 2)
    np.testing.assert_array_equal(output, model.predict(result.state, x=x))
    with pytest.raises(nnc.NncError, match="given: shape"):
        model.predict(result.state, x[:, :1])
    with pytest.raises(nnc.NncError, match="takes `x`"):
        model.predict(result.state, x, x)
    longer = built.compile(seed=3, epochs=3)
    assert longer.train(resume="run").counters.step == 12


def test_errors_are_nnc_errors_with_diagnostics(program: Path) -> None:
    with pytest.raises(nnc.NncError) as problem:
        nnc.load("fit.nn", widht=4)
    assert "did you mean `width`?" in problem.value.diagnostics[0].help
    with pytest.raises(nnc.NncError, match="no backend `nunpy`"):
        nnc.load("fit.nn").compile("nunpy")


def test_the_place_of_a_step_in_a_plan_follows_from_its_number() -> None:
    loop = make_loop()
    loop.run()
    calls = loop.plan.phases[0].steps[0].scalars.__globals__["CALLS"]
    for number, (cycle, updates, _, draw) in enumerate(calls):
        assert draw == number
        assert execution(loop.plan, number)[1:] == (cycle, updates)
    assert execution(loop.plan, 50)[1:] == (15, 50)
