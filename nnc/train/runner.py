"""Executing cycles: which step runs when, on which batch, with which scalars.

The loop and the replay after a non-finite value both go through `Runner`, so a replayed step is the
step that ran.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nnc.train.counters import Counters
from nnc.train.module import Plan, StepPlan


class Runner:
    """`sources[name].train_batch(index, seed)` gives the batches; nothing here keeps state."""

    def __init__(self, plan: Plan, sources: Mapping[str, Any], seed: int):
        self.plan = plan
        self.sources = sources
        self.seed = seed

    def cycle(self, counters: Counters) -> Iterator[tuple[StepPlan, int]]:
        """The executions of the cycle at `counters.step`, each with the cycle within its phase."""
        phase = self.plan.phase_at(counters.step)
        for step in phase.steps:
            for _ in range(step.times):
                yield step, counters.step - phase.first

    def inputs(
        self, step: StepPlan, at: int, counters: Counters
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Batch and scalars of the next execution of `step`."""
        batch: dict[str, Any] = {}
        for source in step.sources:
            index = counters.positions.get(source, 0)
            batch |= self.sources[source].train_batch(index, self.seed)
        updates = counters.updates.get(step.counter, 0)
        return batch, step.scalars(at, updates, self.seed, counters.draw)

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
