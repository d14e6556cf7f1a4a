"""Which passes run, in which order, over which graphs of a program.

`--passes a,b,c` names them, `--no-pass a` leaves one out, `--dump-after a` is a hook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from nnc.ir.graph import Graph
from nnc.ir.program import Training
from nnc.language.diagnostics import error, suggest
from nnc.passes.base import Pass
from nnc.passes.common import common
from nnc.passes.dead_code import dead_code
from nnc.passes.fold_constants import fold_constants
from nnc.passes.hoist import hoist
from nnc.passes.legalize import has_markers
from nnc.passes.simplify import simplify

#: Constants before rules that look for them, and again for those that rules make; rules before
#: `common`, since they give equal forms.
DEFAULT: tuple[Pass, ...] = (fold_constants, simplify, fold_constants, hoist, common, dead_code)

PASSES: dict[str, Pass] = {p.name: p for p in DEFAULT}

Hook = Callable[[Pass, Graph], None]


def optimize(graph: Graph, passes: Iterable[Pass] = DEFAULT, after: Hook | None = None) -> None:
    """Run `passes` on `graph` in place; `after` sees the graph after each of them."""
    for each in passes:
        each.run(graph)
        if after is not None:
            after(each, graph)


def select(names: str | None = None, without: Iterable[str] = ()) -> tuple[Pass, ...]:
    """The passes of the comma-separated `names` (default: all) without those of `without`.

    NncError E0904 for a name that is no pass.
    """
    chosen = DEFAULT if names is None else tuple(map(_named, filter(None, names.split(","))))
    left_out = [_named(name) for name in without]
    return tuple(p for p in chosen if p not in left_out)


def _named(name: str) -> Pass:
    name = name.strip()
    if name not in PASSES:
        raise error(
            "E0904",
            f"there is no pass `{name}`",
            help=suggest(name, PASSES) or f"the passes are {', '.join(PASSES)}",
        )
    return PASSES[name]


def graphs(training: Training) -> Iterator[Graph]:
    """Every graph of a program: initial values, steps, evaluations, forwards."""
    yield from (entry.init for entry in training.state.values())
    yield from (step.graph for phase in training.phases for step in phase.steps)
    for evaluation in training.evaluations:
        yield from (evaluation.batch, evaluation.finish)
    for forward in training.forwards:
        yield from (forward.graph, forward.structured)


def optimize_training(
    training: Training, passes: Iterable[Pass] = DEFAULT, after: Hook | None = None
) -> None:
    """`optimize` every graph of `training` in place, a shared one once.

    The structured graph of a net may yet be differentiated, by a framework's autograd.  One that
    says where gradients go is not simplified, since that would leave the saying out.
    """
    passes = tuple(passes)
    nets = {id(f.structured) for f in training.forwards if f.structured is not f.graph}
    for graph in {id(graph): graph for graph in graphs(training)}.values():
        is_marked = id(graph) in nets and has_markers(graph)
        optimize(graph, [p for p in passes if not is_marked or p is not simplify], after)


def map_graphs(
    training: Training,
    change: Callable[[Graph], None],
    change_initial: Callable[[Graph], None] | None = None,
) -> Training:
    """A copy of `training` whose graphs are copies that `change` has been run on.

    Graphs of initial values go through `change_initial` instead where that is given.
    """
    copies: dict[int, Graph] = {}

    def changed(graph: Graph, change: Callable[[Graph], None] = change) -> Graph:
        if id(graph) not in copies:
            copy = graph.copy()
            change(copy)
            copies[id(graph)] = copy
        return copies[id(graph)]

    return replace(
        training,
        state={
            path: replace(entry, init=changed(entry.init, change_initial or change))
            for path, entry in training.state.items()
        },
        phases=[
            replace(phase, steps=[replace(step, graph=changed(step.graph)) for step in phase.steps])
            for phase in training.phases
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
