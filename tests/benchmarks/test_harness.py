"""Blocks of several processes are those of one contender."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from benchmarks import harness
from benchmarks.harness import SLOW, Measured, Options


class FakeWorker:
    """Says that 7 steps fill a block where it is told nothing; a block takes the next second."""

    def __init__(self, job: Mapping[str, Any], started: list[Mapping[str, Any]]):
        started.append(job)
        self.contender = job["contender"]
        self.result = Measured(self.contender, job.get("steps", 7), float(len(started)))
        self.start = SLOW if self.contender == "slow" else 0

    def turn(self) -> None:
        self.result.seconds.append(self.start + len(self.result.seconds))
        self.result.peak_bytes = 100 + len(self.result.seconds)


@pytest.mark.parametrize(("rounds", "of_each"), [(6, [2, 2, 2]), (5, [2, 2, 1])])
def test_rounds_are_spread_over_processes(
    rounds: int, of_each: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Mapping[str, Any]] = []

    @contextmanager
    def workers(jobs: Sequence[Mapping[str, Any]]) -> Iterator[list[FakeWorker]]:
        yield [FakeWorker(job, started) for job in jobs]

    monkeypatch.setattr(harness, "workers", workers)
    found = harness.measure("tiny", ["quick", "slow"], {}, Options(rounds, 3))
    assert len(started) == 6
    assert [job.get("steps") for job in started] == [None, None, 7, 7, 7, 7]
    quick, slow = found["quick"], found["slow"]
    assert quick.seconds == [second for count in of_each for second in range(count)]
    assert slow.seconds == [SLOW] * 3
    assert (quick.first_seconds, quick.peak_bytes, slow.peak_bytes) == (1, 102, 101)
