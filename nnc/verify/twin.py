"""The float64 twin of a training: the same program, computing and keeping its state in float64.

What a program means is judged there, where rounding hides nothing (docs/verify.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from nnc.ir.graph import Graph
from nnc.ir.interpret import as_float64
from nnc.ir.program import StateEntry, Training

Arrays = dict[str, np.ndarray]


def in_float64(training: Training) -> Training:
    """`training` with every float in float64; graphs that it shares stay shared."""
    return map_training(training, as_float64, _entry)


def _entry(entry: StateEntry, change: Callable[[Graph], Graph]) -> StateEntry:
    type = entry.type.with_dtype("f64") if entry.type.is_float else entry.type
    return replace(entry, type=type, init=change(entry.init))


def map_training(
    training: Training,
    change: Callable[[Graph], Graph],
    entry: Callable[[StateEntry, Callable[[Graph], Graph]], StateEntry],
) -> Training:
    """A copy of `training` with `change` of each graph, once for each."""
    made: dict[int, Graph] = {}

    def changed(graph: Graph) -> Graph:
        if id(graph) not in made:
            made[id(graph)] = change(graph)
        return made[id(graph)]

    return replace(
        training,
        state={path: entry(each, changed) for path, each in training.state.items()},
        phases=[
            replace(p, steps=[replace(s, graph=changed(s.graph)) for s in p.steps])
            for p in training.phases
        ],
        evaluations=[
            replace(e, batch=changed(e.batch), finish=changed(e.finish))
            for e in training.evaluations
        ],
        forwards=[
            replace(f, graph=changed(f.graph), structured=changed(f.structured))
            for f in training.forwards
        ],
    )


def widened(arrays: Arrays) -> Arrays:
    """`arrays` with floats in float64: their values stay what they are."""
    return {
        name: value.astype(np.float64) if value.dtype.kind == "f" else value
        for name, value in arrays.items()
    }
