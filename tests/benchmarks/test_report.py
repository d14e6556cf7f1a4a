"""Which ratios a report gives, and which limit each is held to."""

from __future__ import annotations

import pytest

from benchmarks.harness import Measured
from benchmarks.report import bars


def measured(contender: str, *seconds: float, steps: int = 10, peak: int = 100) -> Measured:
    return Measured(contender, steps, 1.0, list(seconds), 50, peak)


def test_medians_are_compared_and_the_fastest_blocks_beside_them() -> None:
    peer = measured("numpy", 4.0, 2.0, 8.0)
    ours = measured("nnc-numpy", 3.0, 1.5, 9.0, steps=20, peak=90)
    step, best, memory = bars({"mlp": {"numpy": peer, "nnc-numpy": ours}})
    assert (step.what, step.limit, step.is_met) == ("nnc-numpy / numpy", 0.9, True)
    assert step.ratio == pytest.approx(0.15 / 0.4)
    assert step.fastest == pytest.approx(0.075 / 0.2)
    assert (best.what, best.ratio) == ("best: nnc-numpy / numpy", step.ratio)
    assert (memory.what, memory.ratio, memory.fastest) == ("memory: nnc-numpy / numpy", 0.9, None)


def test_small_programs_have_limits_of_their_own_and_come_in_chunks() -> None:
    names = ["torch", "nnc-torch", "jax", "nnc-jax", "nnc-jax-chunks"]
    found = {name: measured(name, 1.0) for name in names}
    limits = {bar.what: bar.limit for bar in bars({"tiny": found})}
    assert limits["nnc-torch / torch"] == 0.5
    assert limits["nnc-jax-chunks / jax"] == 0.3
    assert "nnc-jax / jax" not in limits
    limits = {bar.what: bar.limit for bar in bars({"cnn": found})}
    assert limits["nnc-torch / torch"] == 0.9
    assert limits["nnc-jax / jax"] == 0.7


def test_the_best_of_either_side_is_chosen() -> None:
    found = {"torch": measured("torch", 3.0), "jax": measured("jax", 2.0)}
    found |= {"nnc-torch": measured("nnc-torch", 2.5), "nnc-numpy": measured("nnc-numpy", 4.0)}
    best = next(bar for bar in bars({"gpt": found}) if bar.what.startswith("best"))
    assert best.what == "best: nnc-torch / jax"
    assert not best.is_met
