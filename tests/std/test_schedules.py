"""Schedules over a whole phase against closed forms written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnc.elaborate.context import Context
from nnc.elaborate.values import Host
from nnc.elaborate.world import World
from nnc.ir.graph import Graph
from nnc.ir.host import evaluate
from nnc.language.diagnostics import NncError
from tests.std.program import compiled

STEPS = 100


def curve(text: str, steps: int = STEPS) -> list[float]:
    """The schedule in each step of a phase; an epoch has 10 steps."""
    program = compiled(f"let schedule = {text}\n")
    cx = Context(
        World(program.data, steps=steps, epochs=steps // 10, steps_per_epoch=10),
        Graph("schedule"), training=True,
    )  # fmt: skip
    value = cx.eval(program.program.items[0].value, program.module.scope)  # type: ignore[union-attr]
    if not isinstance(value, Host):
        return [value] * steps
    counters = [{"step": t, "updates": 0, "seed": 0, "draw": 0} for t in range(steps)]
    return [evaluate(value.expr, each) for each in counters]


def half_cosine(start: float, stop: float, part: float) -> float:
    return stop + (start - stop) * (1 + math.cos(math.pi * part)) / 2


def one_cycle(t: int, peak: float, rise: float = 0.3) -> float:
    # As torch.optim.lr_scheduler.OneCycleLR with its defaults has it.
    top, low = rise * STEPS - 1, peak / 25
    if t < top:
        return half_cosine(low, peak, t / top)
    return half_cosine(peak, low / 1e4, (t - top) / (STEPS - 1 - top))


CLOSED_FORMS = {
    "constant(0.3)": lambda t: 0.3,
    "warmup(0.6, 10)": lambda t: 0.6 * min((t + 1) / 10, 1),
    "warmup(0.6, 2epochs)": lambda t: 0.6 * min((t + 1) / 20, 1),
    "cosine(0.4)": lambda t: half_cosine(0.4, 0, t / STEPS),
    "cosine(0.4, warmup = 20, floor = 0.1)": lambda t: (
        0.4 * (t + 1) / 20 if t < 20 else half_cosine(0.4, 0.1, (t - 20) / 80)
    ),
    "cosine(0.4, warmup = 3epochs)": lambda t: (
        0.4 * (t + 1) / 30 if t < 30 else half_cosine(0.4, 0, (t - 30) / 70)
    ),
    "linear(0.4, warmup = 20, floor = 0.1)": lambda t: (
        0.4 * (t + 1) / 20 if t < 20 else 0.4 - 0.3 * (t - 20) / 80
    ),
    "one_cycle(0.5)": lambda t: one_cycle(t, 0.5),
    "one_cycle(0.5, rise = 50%)": lambda t: one_cycle(t, 0.5, 0.5),
    "step_decay(1, 30)": lambda t: 0.1 ** (t // 30),
    "step_decay(1, 1epochs, factor = 0.5)": lambda t: 0.5 ** (t // 10),
    "exponential(2, 0.5, every = 10)": lambda t: 2 * 0.5 ** (t / 10),
    "exponential(2, 0.97)": lambda t: 2 * 0.97**t,
    "piecewise([(0, 0.1), (15steps, 0.01), (4epochs, 0.001)])": lambda t: (
        0.1 if t < 15 else 0.01 if t < 40 else 0.001
    ),
    "piecewise([(0, warmup(0.1, 5)), (50, 0.01)])": lambda t: (
        0.1 * min((t + 1) / 5, 1) if t < 50 else 0.01
    ),
    "ramp(0, 1, until = 4epochs)": lambda t: min(t / 40, 1),
    "ramp(1, 0.5, until = 50)": lambda t: 1 - 0.5 * min(t / 50, 1),
    "0.5 * ramp(0, 1, until = 10) + 1": lambda t: 1 + 0.5 * min(t / 10, 1),
}


@pytest.mark.parametrize("text", CLOSED_FORMS)
def test_it_is_its_closed_form_in_every_step(text: str) -> None:
    expected = [CLOSED_FORMS[text](t) for t in range(STEPS)]
    np.testing.assert_allclose(curve(text), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("text", CLOSED_FORMS)
def test_it_is_finite_in_phases_of_any_length(text: str) -> None:
    for steps in (1, 2, 3, 20):
        assert np.isfinite(curve(text, steps)).all()


def test_a_warm_up_as_long_as_the_phase_never_anneals() -> None:
    assert curve("cosine(1, warmup = 20)", 20) == [(t + 1) / 20 for t in range(20)]


def test_one_cycle_ends_where_it_is_told() -> None:
    values = curve("one_cycle(1, start = 0.2, floor = 0.01)")
    assert values[0] == pytest.approx(0.2)
    assert max(values) == pytest.approx(1)
    assert values[-1] == pytest.approx(0.01)


@pytest.mark.parametrize(
    "text", ["one_cycle(1, rise = 2)", "piecewise([])", "piecewise([0.1])", "cosine()",
             "cosine(1, warmpu = 3)", "ramp(0, 1)", "step_decay(1, 0.5)",
             "step_decay(1, 0)", "exponential(1, 0.5, every = 0)"],
)  # fmt: skip
def test_a_wrong_use_is_an_error_at_the_call(text: str) -> None:
    with pytest.raises(NncError) as raised:
        curve(text)
    assert all(d.span and d.span.source.path == "program.nn" for d in raised.value.diagnostics)
