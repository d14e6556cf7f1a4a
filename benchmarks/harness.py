"""Contenders side by side: processes for each, of which one runs at a time.

Frameworks keep threads that spin for a while after their work, so all but the one whose turn it is
are stopped by a signal: each works as if alone on the machine, with the settings it has by itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

#: a contender whose block takes this many seconds has one turn in each of its processes
SLOW = 5.0


@dataclass(frozen=True)
class Options:
    rounds: int = 15  # timed blocks of each contender
    processes: int = 3  # that they are spread over
    block: float = 0.2  # seconds that a block is to take
    cores: int = 2


@dataclass
class Measured:
    """One contender on one workload."""

    contender: str
    steps: int  # of a block
    first_seconds: float  # until the first step is done, compilation included
    seconds: list[float] = field(default_factory=list)  # of each block
    imported_bytes: int = 0  # peak memory when the framework was imported
    peak_bytes: int = 0  # peak memory at the end

    @property
    def step_seconds(self) -> float:
        return median(self.seconds) / self.steps

    @property
    def fastest(self) -> float:
        """Seconds of a step in the fastest block: what disturbs one only adds to it."""
        return min(self.seconds) / self.steps

    def add(self, other: Measured) -> None:
        """The blocks of another process with as many steps."""
        self.seconds += other.seconds
        self.imported_bytes = max(self.imported_bytes, other.imported_bytes)
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)

    def record(self) -> dict[str, Any]:
        return {**vars(self), "step_seconds": self.step_seconds}


class WorkerError(Exception):
    """A process ended before its time; its traceback is on the terminal."""


class Worker:
    def __init__(self, job: Mapping[str, Any]):
        self.contender = job["contender"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, _cores(job["cores"])),
        )
        try:
            ready = self._receive()
        except BaseException:  # an interrupted parent leaves no worker behind
            self.end()
            raise
        self.result = Measured(self.contender, ready["steps"], ready["first_seconds"])
        self.process.send_signal(signal.SIGSTOP)

    def _receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"{self.contender} ended with {self.process.wait()}")
        message: dict[str, Any] = json.loads(line)
        return message

    def turn(self) -> None:
        """One timed block, while all others are stopped."""
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        message = self._receive()
        self.process.send_signal(signal.SIGSTOP)
        self.result.seconds.append(message["seconds"])
        self.result.imported_bytes = message["imported_bytes"]
        self.result.peak_bytes = message["peak_bytes"]

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


def _cores(count: int) -> list[int]:
    """The cores of a worker: frameworks start as many threads as they see cores."""
    return sorted(os.sched_getaffinity(0))[:count]


@contextmanager
def workers(jobs: Sequence[Mapping[str, Any]]) -> Iterator[list[Worker]]:
    started: list[Worker] = []
    try:
        for job in jobs:
            try:
                started.append(Worker(job))
            except WorkerError as problem:  # the others go on without it
                print(problem, file=sys.stderr)
        yield started
    finally:
        for worker in started:
            worker.end()


def measure(
    workload: str,
    contenders: Sequence[str],
    sizes: Mapping[str, float],
    options: Options,
    folder: Path = Path(),
    data: Path = Path(),
) -> dict[str, Measured]:
    """A block of each contender in turn, `options.rounds` times; odd rounds go backwards.

    They are spread over several processes, one after the other, since one may be slow from its
    first step to its last, by where its memory happens to lie.
    """
    common: dict[str, Any] = {
        "workload": workload,
        "sizes": dict(sizes),
        "folder": str(folder),
        "data": str(data),
    }
    common |= {"block": options.block, "cores": options.cores}
    found: dict[str, Measured] = {}
    for process in range(min(options.processes, options.rounds)):
        jobs = [{**common, "contender": name} for name in contenders]
        for job in jobs:
            if job["contender"] in found:
                job["steps"] = found[job["contender"]].steps
        with workers(jobs) as running:
            turns(running, len(range(process, options.rounds, options.processes)))
        for worker in running:
            if worker.contender in found:
                found[worker.contender].add(worker.result)
            else:
                found[worker.contender] = worker.result
    return found


def turns(running: Sequence[Worker], rounds: int) -> None:
    """`rounds` blocks of each worker; one of a slow one."""
    for number in range(rounds):
        for worker in running[:: -1 if number % 2 else 1]:
            if not number or worker.result.seconds[-1] < SLOW:
                worker.turn()
