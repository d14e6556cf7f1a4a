"""What a user sees while a run goes on: a live display on a terminal, plain lines elsewhere.

`Loop` calls `step` after every cycle, so it must cost next to nothing: it smooths the loss, looks
at the clock and draws at most ten times a second.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from nnc.train.evaluate import Scores

REDRAW_SECONDS = 0.1
LINE_SECONDS = 2.0
#: weight of the old value in the smoothed loss
SMOOTHING = 0.95


class Display:
    """Shows nothing, and keeps what the displays below show."""

    interval = float("inf")

    def __init__(self) -> None:
        self.loss: float | None = None
        self.latest: dict[str, float] = {}  # "val.loss" and so on
        self.at = self.total = self.first = 0
        self.steps_per_epoch = 1
        self.began = self.drawn_at = 0.0

    def start(self, total: int, done: int, steps_per_epoch: int) -> None:
        self.total, self.first, self.at = total, done, done
        self.steps_per_epoch = steps_per_epoch
        self.began = self.drawn_at = time.monotonic()

    def step(self, at: int, outs: Mapping[str, Mapping[str, Any]]) -> None:
        """`outs` has the outputs of each step section's last execution in the cycle."""
        self.at = at
        for out in outs.values():
            loss = out.get("loss")
            if loss is not None:
                old = self.loss
                self.loss = loss if old is None else SMOOTHING * old + (1 - SMOOTHING) * loss
        now = time.monotonic()
        if now - self.drawn_at >= self.interval:
            self.drawn_at = now
            self.draw()

    def scores(self, at: int, scores: Sequence[Scores]) -> None:
        for result in scores:
            values = {"loss": result.loss, **result.metrics}
            for name, value in values.items():
                if isinstance(value, float):
                    self.latest[f"{result.name}.{name}"] = value

    def draw(self) -> None:
        """Show the present state."""

    def message(self, text: str) -> None:
        """Show a remark."""

    def stop(self) -> None:
        """The run is over."""

    # ------------------------------------------------------------ parts of the picture
    @property
    def rate(self) -> float:
        """Cycles a second since the run began."""
        return (self.at - self.first) / max(time.monotonic() - self.began, 1e-9)

    def figures(self) -> str:
        loss = {"loss": self.loss} if self.loss is not None else {}
        return "  ".join(
            f"{name} {figure(value)}" for name, value in {**loss, **self.latest}.items()
        )

    def time_left(self) -> str:
        if self.at == self.first:
            return "-:--:--"
        return clock((self.total - self.at) / self.rate)

    def epochs(self) -> str:
        now, total = (max(-(-at // self.steps_per_epoch), 1) for at in (self.at, self.total))
        return f"epoch {now}/{total}"


class PlainDisplay(Display):
    """A line after an evaluation, and every few seconds in a long epoch."""

    def __init__(self, out: TextIO):
        super().__init__()
        self.out = out
        self.interval = 5 * LINE_SECONDS
        self.line_at = float("-inf")
        self.line_step = -1

    def scores(self, at: int, scores: Sequence[Scores]) -> None:
        super().scores(at, scores)
        if time.monotonic() - self.line_at >= LINE_SECONDS:
            self.draw()

    def draw(self) -> None:
        self.line_at = self.drawn_at = time.monotonic()
        self.line_step = self.at
        parts = [f"step {self.at}/{self.total}", self.epochs(), self.figures()]
        parts += [f"{self.rate:,.0f} steps/s", f"{self.time_left()} left"]
        print("  ".join(parts), file=self.out, flush=True)

    def message(self, text: str) -> None:
        print(text, file=self.out, flush=True)

    def stop(self) -> None:
        if self.at not in (self.line_step, self.first):
            self.draw()


class LiveDisplay(Display):
    """A bar and a line of figures that redraw in place."""

    def __init__(self, out: TextIO):
        from rich.console import Console
        from rich.live import Live

        super().__init__()
        self.interval = REDRAW_SECONDS
        self.console = Console(file=out)
        # Redrawing from the loop itself, not from rich's thread, costs no locks between steps.
        self.live = Live(console=self.console, auto_refresh=False, transient=True)

    def start(self, total: int, done: int, steps_per_epoch: int) -> None:
        super().start(total, done, steps_per_epoch)
        self.live.start()
        self.draw()

    def draw(self) -> None:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        row = Table.grid(padding=(0, 1))
        row.add_row(
            Text(self.epochs()),
            ProgressBar(total=max(self.total, 1), completed=self.at, width=30),
            Text(f"{self.at}/{self.total}"),
            Text(f"{self.rate:,.0f} steps/s"),
            Text(f"{self.time_left()} left", style="cyan"),
        )
        figures = Text(self.figures(), style="bold", overflow="ellipsis", no_wrap=True)
        self.live.update(Group(row, figures), refresh=True)

    def scores(self, at: int, scores: Sequence[Scores]) -> None:
        super().scores(at, scores)
        if time.monotonic() - self.drawn_at >= self.interval:
            self.drawn_at = time.monotonic()
            self.draw()

    def message(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        self.live.stop()


def display_for(out: TextIO = sys.stderr) -> Display:
    """Live on a terminal that can redraw; lines in files, pipes and CI."""
    dumb = os.environ.get("TERM") == "dumb" or os.environ.get("CI")
    return LiveDisplay(out) if out.isatty() and not dumb else PlainDisplay(out)


def figure(value: float) -> str:
    """Four significant digits; in the plain notation where that is short."""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3e}"


def clock(seconds: float) -> str:
    minutes, rest = divmod(max(round(seconds), 0), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
