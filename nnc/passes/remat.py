"""Rematerialization: a step that takes less memory by computing parts of it twice.

A program asks for it: `memory = 2GB` wants the cheapest way that fits, `remat = auto` that nothing
cheap be kept, `remat = full` the least memory.  It runs last, on the ops of a backend, since only
there it is known what a step takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from nnc.ir.graph import Graph
from nnc.ir.liveness import Peak, step_liveness
from nnc.ir.program import Remat, Step
from nnc.language.diagnostics import NncError, error
from nnc.passes.checkpoints import Plan, narrow_places, plan
from nnc.passes.recompute import Halves, rebuilt

#: into how many stretches a forward pass is divided
STRETCHES = (1, 2, 4, 6, 8, 12, 16, 24, 32)
LARGEST = 3  # values that a message names
PARTS = 2  # of the stretches of a division, how finely those are counted that are computed again


@dataclass(frozen=True)
class Made:
    """A graph, what it takes at its peak, and what it computes twice."""

    graph: Graph
    most: int
    cost: int


def rematerialize(step: Step, backend: str, keeps: int = 0) -> Graph:
    """The graph of `step` as it asks for, or as it is; arrays of less than `keeps` bytes live on.

    NncError E0437 where it cannot be made to fit.
    """
    asked, graph = step.remat, step.graph
    if asked is None or asked.policy == "none":
        return graph
    before = Made(graph, step_liveness(graph, keeps).most, 0)
    if asked.budget is not None and before.most <= asked.budget:
        return graph
    halves = Halves.of(graph)
    is_cheap = asked.budget is None and asked.policy == "auto"
    tried = [before]
    for each in sorted(plans(halves, is_cheap), key=lambda plan: plan.cost):
        made = rebuilt(halves, each.groups)
        tried.append(Made(made, step_liveness(made, keeps).most, each.cost))
        if asked.budget is not None and tried[-1].most <= asked.budget:
            return made
    best = min(tried, key=lambda made: (made.most, made.cost))
    if asked.budget is not None:
        raise too_small(step.name, asked, step_liveness(best.graph, keeps).peak(), backend)
    return best.graph


def plans(halves: Halves, is_cheap: bool) -> Iterator[Plan]:
    """Ways to recompute; with `is_cheap` those alone that compute no product again."""
    seen: set[tuple[frozenset[int], ...]] = set()
    divisions: set[tuple[int, ...]] = set()
    for stretches in STRETCHES:
        places = narrow_places(halves, stretches)
        if tuple(places) in divisions:
            continue
        divisions.add(tuple(places))
        counts = {round(len(places) * part / PARTS) for part in range(PARTS + 1)}
        for count in [0] if is_cheap else sorted(counts):
            found = plan(halves, places, range(count))
            if found.groups and found.groups not in seen:
                seen.add(found.groups)
                yield found


def too_small(name: str, asked: Remat, peak: Peak, backend: str) -> NncError:
    """That nothing makes step `name` fit; `peak` is the smallest that was found."""
    parts = [f"{kind} {megabytes(size)}" for kind, size in peak.parts.items() if size >= 10**4]
    values = [held for held in peak.values if held.kind != "state"][:LARGEST]
    largest = ", ".join(f"{held.name} ({megabytes(held.bytes)}, {held.place})" for held in values)
    return error(
        "E0437",
        f"the step `{name}` does not fit into this memory on the backend `{backend}`: the least is "
        f"{megabytes(peak.bytes)}",
        asked.place,
        help=f"that is {', '.join(parts)}; beside the state the largest are {largest}",
    )


def megabytes(size: int) -> str:
    """In the unit of `memory`, rounded up, so that it is enough."""
    return f"{math.ceil(size / 10**4) / 100:.2f}MB"
