"""Rematerialization: a step that takes less memory by computing parts of it twice.

A program asks for it: `memory = 2GB` wants the cheapest way that fits, `remat = auto` that nothing
cheap be kept, `remat = full` the least memory.  It runs last, on the ops of a backend, since only
there it is known what a step takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from nnc.ir.graph import Graph
from nnc.ir.liveness import Liveness, Peak, step_liveness
from nnc.ir.program import Remat, Step, Training
from nnc.language.diagnostics import error
from nnc.passes.checkpoints import Plan, narrow_places, plan
from nnc.passes.recompute import Halves, rebuilt

#: into how many stretches a forward pass is divided
STRETCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
PARTS = 4  # of the stretches of a division, how finely those are counted that are computed again


@dataclass(frozen=True)
class Made:
    """A graph, what it takes at its peak, and what it computes twice."""

    graph: Graph
    most: int
    cost: int


def rematerialized(training: Training, backend: str, keeps: int = 0) -> Training:
    """A copy of `training` whose steps recompute as they ask for.

    Arrays of less than `keeps` bytes live to the end of a step.  NncError E0436 where what a step
    asks for cannot be met.
    """
    done: dict[int, Graph] = {}

    def made(step: Step) -> Step:
        if step.remat is None:
            return step
        if id(step.graph) not in done:
            done[id(step.graph)] = fitted(step, step.remat, backend, keeps)
        return replace(step, graph=done[id(step.graph)])

    phases = [replace(p, steps=[made(step) for step in p.steps]) for p in training.phases]
    return replace(training, phases=phases)


def fitted(step: Step, asked: Remat, backend: str, keeps: int) -> Graph:
    """The graph of `step` as `asked`."""
    before = Made(step.graph, step_liveness(step.graph, keeps).most, 0)
    if asked.policy == "none" or (asked.budget is not None and before.most <= asked.budget):
        return step.graph
    halves = Halves.of(step.graph)
    tried = [before]
    for each in sorted(plans(halves, asked.policy != "auto"), key=lambda p: p.cost):
        graph = rebuilt(halves, each.groups)
        tried.append(Made(graph, step_liveness(graph, keeps).most, each.cost))
        if asked.budget is not None and tried[-1].most <= asked.budget:
            return graph
    best = min(tried, key=lambda made: (made.most, made.cost))
    if asked.budget is not None:
        raise too_small(step, asked.budget, step_liveness(best.graph, keeps), backend)
    return best.graph


def plans(halves: Halves, with_products: bool) -> Iterator[Plan]:
    """Ways to recompute, those that compute products again too if they may."""
    seen: set[tuple[frozenset[int], ...]] = set()
    divisions: set[tuple[int, ...]] = set()
    for stretches in STRETCHES:
        places = narrow_places(halves, stretches)
        if tuple(places) in divisions:
            continue
        divisions.add(tuple(places))
        counts = {round(len(places) * part / PARTS) for part in range(PARTS + 1)}
        for count in sorted(counts) if with_products else [0]:
            found = plan(halves, places, range(count))
            if found.groups and found.groups not in seen:
                seen.add(found.groups)
                yield found


def too_small(step: Step, budget: int, best: Liveness, backend: str) -> Exception:
    peak: Peak = best.peak()
    return error("E0436", f"{step.name} {budget} {peak.bytes} {backend}")
