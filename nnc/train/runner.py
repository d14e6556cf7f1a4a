"""Executing cycles: which step runs when, on which batch, with which scalars.

The loop and the replay after a non-finite value both go through `Runner`, so a replayed step is the
step that ran.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from nnc.train.counters import Counters
from nnc.train.module import Plan, StepPlan

#: bytes of data that are kept on a device; of more than that, each batch goes there by itself
LARGEST_DATA = 2**30
#: executions in one call at most
LONGEST = 64

Execution = tuple[StepPlan, int]  # with the number of its cycle within the phase


class Runner:
    """`sources[name].train_batch(index, seed)` gives the batches."""

    def __init__(self, plan: Plan, sources: Mapping[str, Any], seed: int):
        self.plan = plan
        self.sources = sources
        self.seed = seed
        self._on_device: dict[str, Any] = {}  # fields of the data, in the arrays of the framework

    def cycle(self, counters: Counters, ahead: int = 0) -> Iterator[Execution]:
        """The executions of the cycle `ahead` of that at `counters.step`."""
        number = counters.step + ahead
        phase = self.plan.phase_at(number)
        for step in phase.steps:
            for _ in range(step.times):
                yield step, number - phase.first

    def inputs(
        self, step: StepPlan, at: int, counters: Counters
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Batch and scalars of the next execution of `step`."""
        batch: dict[str, Any] = {}
        for source in step.sources:
            index = counters.positions.get(source, 0)
            batch |= self.sources[source].train_batch(index, self.seed)
        return batch, self.scalars(step, at, counters)

    def scalars(self, step: StepPlan, at: int, counters: Counters) -> dict[str, Any]:
        updates = counters.updates.get(step.counter, 0)
        return step.scalars(at, updates, self.seed, counters.draw)

    def advance(self, step: StepPlan, counters: Counters) -> None:
        """Count one execution of `step`."""
        for source in step.sources:
            counters.positions[source] = counters.positions.get(source, 0) + 1
        counters.updates[step.counter] = counters.updates.get(step.counter, 0) + 1
        counters.draw += 1

    def execute(
        self, state: Any, step: StepPlan, at: int, counters: Counters
    ) -> tuple[Any, dict[str, Any]]:
        """Run `step` once; `state` is consumed, `counters` moves on."""
        batch, scalars = self.inputs(step, at, counters)
        state, out = step.run(state, batch, scalars)
        self.advance(step, counters)
        return state, out

    # ------------------------------------------------------------ several in one call
    def execute_all(
        self, state: Any, executions: Sequence[Execution], counters: Counters
    ) -> tuple[Any, list[dict[str, Any]]]:
        """Run `executions` in order; their outputs.  Where a file can run many at once, it does.

        It then runs a single one in the same way, so that results do not depend on the cut.
        """
        outs: list[dict[str, Any]] = []
        for _, group in groupby(executions, key=lambda execution: id(execution[0])):
            same = list(group)
            if self.runs_many(same[0][0]):
                for first in range(0, len(same), LONGEST):
                    part = same[first : first + LONGEST]
                    state, found = self._many(state, part, counters)
                    outs += found
            else:
                for step, at in same:
                    state, out = self.execute(state, step, at, counters)
                    outs.append(out)
        return state, outs

    def runs_many(self, step: StepPlan) -> bool:
        """Whether `step` has a function for many executions, and its data fits the device."""
        if step.run_many is None:
            return False
        return sum(self._field(field).nbytes for field in step.fields) <= LARGEST_DATA

    def _many(
        self, state: Any, executions: Sequence[Execution], counters: Counters
    ) -> tuple[Any, list[dict[str, Any]]]:
        step = executions[0][0]
        assert step.run_many is not None
        rows: dict[str, list[np.ndarray]] = {source: [] for source in step.sources}
        scalars: list[dict[str, Any]] = []
        for _, at in executions:
            for source in step.sources:
                index = counters.positions.get(source, 0)
                rows[source].append(self.sources[source].train_rows(index, self.seed))
            scalars.append(self.scalars(step, at, counters))
            self.advance(step, counters)
        missing = {f: self._field(f) for f in step.fields if f not in self._on_device}
        self._on_device |= self.plan.border.from_numpy(missing)
        state, outs = step.run_many(
            state,
            {field: self._on_device[field] for field in step.fields},
            {source: np.array(places, np.int32) for source, places in rows.items()},
            {name: np.array([each[name] for each in scalars]) for name in scalars[0]},
        )
        return state, [{k: v[i] for k, v in outs.items()} for i in range(len(executions))]

    def _field(self, name: str) -> np.ndarray:
        source, _, field = name.partition(".")
        array: np.ndarray = self.sources[source].arrays[field]
        return array
