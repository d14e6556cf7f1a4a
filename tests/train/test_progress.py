"""What is shown while a run goes on, with a clock that the test turns."""

from __future__ import annotations

import io
from typing import Any

import pytest
import rich.console

from nnc.train import progress
from nnc.train.evaluate import Scores
from nnc.train.progress import Display, LiveDisplay, PlainDisplay, display_for


@pytest.fixture
def clock(monkeypatch: Any) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


class Counting(Display):
    interval = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.drawn = 0

    def draw(self) -> None:
        self.drawn += 1


def test_it_draws_ten_times_a_second_however_fast_the_steps(clock: list[float]) -> None:
    display = Counting()
    display.start(100_000, 0, 100)
    for at in range(1, 10_001):
        clock[0] += 1e-4
        display.step(at, {"step": {"loss": 1.0}})
    assert 9 <= display.drawn <= 10


def test_the_loss_is_smoothed(clock: list[float]) -> None:
    display = Display()
    display.start(10, 0, 10)
    display.step(1, {"step": {"loss": 1.0}})
    assert display.loss == 1.0
    display.step(2, {"step": {"loss": 2.0}})
    assert display.loss == pytest.approx(1.05)


def test_plain_lines_say_where_the_run_stands(clock: list[float]) -> None:
    out = io.StringIO()
    display = PlainDisplay(out)
    display.start(200, 100, 50)
    clock[0] += 1
    display.step(110, {"step": {"loss": 0.5}})
    display.scores(110, [Scores("val", 0.25, {"accuracy": 0.75, "matrix": [[1.0]]})])
    assert out.getvalue() == (
        "step 110/200  epoch 3/4  loss 0.5000  val.loss 0.2500  val.accuracy 0.7500  "
        "10 steps/s  0:00:09 left\n"
    )


def test_plain_lines_are_occasional_and_the_last_is_shown(clock: list[float]) -> None:
    out = io.StringIO()
    display = PlainDisplay(out)
    display.start(1000, 0, 10)
    for at in range(1, 1001):
        clock[0] += 0.01
        display.step(at, {"step": {"loss": 0.5}})
        if at % 10 == 0:
            display.scores(at, [Scores("val", 0.25, {})])
    display.stop()
    lines = out.getvalue().splitlines()
    assert 4 <= len(lines) <= 7
    assert lines[-1].startswith("step 1000/1000")


def test_a_terminal_gets_the_live_display(monkeypatch: Any) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    assert isinstance(display_for(Terminal()), LiveDisplay)
    assert isinstance(display_for(io.StringIO()), PlainDisplay)
    monkeypatch.setenv("CI", "true")
    assert isinstance(display_for(Terminal()), PlainDisplay)


def test_the_live_display_shows_bar_figures_and_time(clock: list[float]) -> None:
    out = io.StringIO()
    display = LiveDisplay(out)
    display.console = rich.console.Console(file=out, force_terminal=True, width=100)
    display.live.console = display.console
    display.start(100, 0, 10)
    clock[0] += 1
    display.step(50, {"step": {"loss": 0.5}})
    display.stop()
    text = out.getvalue()
    for part in ("epoch 5/10", "50/100", "50 steps/s", "0:00:01 left", "loss 0.5000"):
        assert part in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5000"), (0.0, "0.0000"), (12345.678, "1.235e+04"), (1e-5, "1.000e-05")],
)
def test_figures_have_four_digits(value: float, text: str) -> None:
    assert progress.figure(value) == text
