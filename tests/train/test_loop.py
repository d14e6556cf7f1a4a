"""The loop: counters, evaluations, early stopping, and runs that are interrupted and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnc.ir.program import Stop
from nnc.language.diagnostics import NncError
from nnc.train import checkpoint
from nnc.train.checkpoint import state_hash
from nnc.train.loop import FINISHED, INTERRUPTED, STOPPED_EARLY, Loop

from .conftest import EMITTED, make_loop, training


def rows(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_counters_follow_the_phases() -> None:
    loop = make_loop()
    loop.run()
    calls = loop.plan.phases[0].steps[0].scalars.__globals__["CALLS"]
    # (cycle in the phase, updates of the optimizer, seed, draw): updates and draws go on.
    assert calls[:2] == [(0, 0, 0, 0), (1, 1, 0, 1)]
    assert calls[19:23] == [(19, 19, 0, 19), (0, 20, 0, 20), (0, 21, 0, 21), (1, 22, 0, 22)]
    assert len(calls) == 20 + 2 * 10
    assert loop.counters.positions == {"points": 40}
    assert loop.counters.updates == {"adam": 40}


def test_the_loop_computes_what_its_functions_compute() -> None:
    loop = make_loop()
    module = loop.plan.init.__globals__
    state, source = module["init"](0), loop.training.sources["points"]
    for n in range(40):
        at = n if n < 20 else (n - 20) // 2
        scalars = module["step_scalars"](at, n, 0, n)
        state, _ = module["step"](state, source.train_batch(n, 0), scalars)
    assert state_hash(loop.run().state) == state_hash(state)


def test_validation_runs_each_epoch_and_the_test_at_the_end(tmp_path: Path) -> None:
    result = make_loop(tmp_path).run()
    found = rows(tmp_path)
    assert [r["step"] for r in found if r["split"] == "val"] == [5, 10, 15, 20, 25, 30]
    assert [r["step"] for r in found if r["split"] == "test"] == [30]
    assert [r["step"] for r in found if r["split"] == "train"] == [5, 10, 15, 20, 25, 30]
    assert [r["epoch"] for r in found if r["split"] == "val"] == [1, 2, 3, 4, 5, 6]
    assert found[0].keys() == {"step", "epoch", "split", "loss", "metrics"}
    assert result.reason == FINISHED
    assert [s.name for s in result.scores] == ["val", "test"]
    assert result.scores[0].loss == found[-2]["loss"]


def test_an_evaluation_sees_every_sample_once() -> None:
    result = make_loop().run()
    source = make_loop().training.sources["points"]
    x, y = source.data["test"]
    p = 1 / (1 + np.exp(-(x @ result.state["net.w"])))
    test = result.scores[1]
    assert test.metrics["accuracy"] == np.mean((p > 0.5) == y)
    assert test.metrics["worst"] == pytest.approx(np.max(np.abs(p - y)), rel=1e-6)
    expected = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert test.loss == pytest.approx(expected, rel=1e-6)


def test_an_evaluation_may_have_its_own_interval(tmp_path: Path) -> None:
    program = training()
    program.evaluations[1].every = 7
    make_loop(tmp_path, program=program).run()
    steps = [r["step"] for r in rows(tmp_path) if r["split"] == "test"]
    assert steps == [7, 14, 21, 28, 30]


# ---------------------------------------------------------------- early stopping


def test_patience_stops_and_keeps_the_best_weights(tmp_path: Path) -> None:
    stop = Stop("accuracy", "val", steps=10, mode="max")
    emitted = EMITTED.replace(
        'accumulators["right"] / count', "1.0 if SEEN.append(0) or len(SEEN) == 2 else 0.5"
    ).replace("CALLS = []", "CALLS, SEEN = [], []")
    result = make_loop(tmp_path, emitted, training(stop)).run()
    assert result.reason == STOPPED_EARLY
    assert result.counters.best_step == 10
    assert result.counters.step == 20
    at_ten = make_loop(program=training(counts=(10, 0)), emitted=emitted).run().state
    assert state_hash(result.state) == state_hash(at_ten)
    best = checkpoint.load(tmp_path / checkpoint.BEST)
    assert state_hash(best.state) == state_hash(at_ten)
    last = checkpoint.load(tmp_path / checkpoint.LAST)
    assert last.meta["counters"]["step"] == 20
    assert rows(tmp_path)[-1]["split"] == "test"
    assert rows(tmp_path)[-1]["step"] == 10


def test_an_array_cannot_be_watched() -> None:
    emitted = EMITTED.replace('"metrics/worst": accumulators["worst"]', '"metrics/worst": [1, 2]')
    with pytest.raises(NncError, match=r"`val\.worst`, which is not one number"):
        make_loop(None, emitted, training(Stop("worst", "val", 10))).run()


def test_a_metric_that_is_not_a_number_is_no_improvement() -> None:
    emitted = EMITTED.replace('"loss": accumulators["loss"] / count', '"loss": float("nan")')
    result = make_loop(None, emitted, training(Stop("loss", "val", 10))).run()
    assert (result.reason, result.counters.step, result.counters.best) == (STOPPED_EARLY, 10, None)


# ---------------------------------------------------------------- interrupt and resume
def resumed(directory: Path, **more: Any) -> Loop:
    loop = make_loop(directory, **more)
    loop.resume(checkpoint.load_last(directory)[0])
    return loop


@pytest.mark.parametrize("calls", [1, 4, 5, 6, 7, 13, 27, 40, 43])
@pytest.mark.parametrize("stop", [None, Stop("loss", "val", 15)])
def test_a_resumed_run_is_the_straight_run(
    tmp_path: Path, stop_after: Any, calls: int, stop: Stop | None
) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    straight.mkdir()
    broken.mkdir()
    expected = make_loop(straight, program=training(stop)).run()
    first = make_loop(broken, program=training(stop), stop_requested=stop_after(calls)).run()
    assert first.reason == INTERRUPTED
    second = resumed(broken, program=training(stop)).run()
    assert second.reason == expected.reason
    assert state_hash(second.state) == state_hash(expected.state)
    assert second.scores == expected.scores
    assert second.counters == expected.counters
    assert (broken / "metrics.jsonl").read_text() == (straight / "metrics.jsonl").read_text()
    for name in (checkpoint.LAST, checkpoint.BEST):
        if (straight / name).exists():
            assert (broken / name).read_bytes() == (straight / name).read_bytes()


def test_a_run_interrupted_many_times_is_the_straight_run(tmp_path: Path, stop_after: Any) -> None:
    expected = make_loop().run()
    result = make_loop(tmp_path, stop_requested=stop_after(3)).run()
    while result.reason == INTERRUPTED:
        result = resumed(tmp_path, stop_requested=stop_after(5)).run()
    assert state_hash(result.state) == state_hash(expected.state)


def test_resuming_cuts_the_records_of_after_the_checkpoint(tmp_path: Path, stop_after: Any) -> None:
    make_loop(tmp_path, stop_requested=stop_after(12)).run()
    before = rows(tmp_path)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 99}\n{"torn')
    loop = resumed(tmp_path)
    assert rows(tmp_path) == before
    loop.run()
    assert {r["step"] for r in rows(tmp_path)} == {5, 10, 15, 20, 25, 30}


def test_a_finished_run_resumes_to_itself(tmp_path: Path) -> None:
    expected = make_loop(tmp_path).run()
    text = (tmp_path / "metrics.jsonl").read_text()
    again = resumed(tmp_path).run()
    assert state_hash(again.state) == state_hash(expected.state)
    assert (tmp_path / "metrics.jsonl").read_text() == text
