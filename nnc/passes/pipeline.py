"""Which passes run, in which order, over which graphs of a program.

The whole way of a graph, in order; a name in brackets is that of a pass:

1. elaboration: (precision) where the program asks for short floats, then those of `BEFORE`, then
   (autodiff);
2. `optimize_training`: those of `AFTER`;
3. at the border of a backend: (legalize), the backend's own (rewrite), where these changed a
   graph those of `AFTER` again, and (remat) where the program asks to make do with less memory.

`--passes a,b,c` names those of `BEFORE` and `AFTER` that run, `--no-pass a` leaves one out; what is
in `NEEDED` always runs.  `--dump-after` and `--timings` are hooks and know both.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

from nnc.ir.graph import Graph
from nnc.ir.program import Step, Training
from nnc.language.diagnostics import error, suggest
from nnc.passes.base import AFTER, Pass, Scalars
from nnc.passes.common import common
from nnc.passes.dead_code import dead_code
from nnc.passes.fold_constants import fold_constants
from nnc.passes.legalize import has_markers
from nnc.passes.loops import loops
from nnc.passes.reassociate import reassociate
from nnc.passes.recognize import recognize
from nnc.passes.scalars import scalars
from nnc.passes.simplify import simplify

#: Constants before rules that look for them, and again for those that rules make; rules before
#: `common`, since they give equal forms.
DEFAULT: tuple[Pass, ...] = (
    recognize,
    fold_constants,
    simplify,
    fold_constants,
    loops,
    common,
    dead_code,
)

#: With what is not the same in floating point: where it makes scalars, they are hoisted and folded.
FAST_MATH: tuple[Pass, ...] = (
    recognize,
    fold_constants,
    reassociate,
    simplify,
    scalars,
    fold_constants,
    loops,
    common,
    dead_code,
)

PASSES: dict[str, Pass] = {p.name: p for p in FAST_MATH}

#: what no graph does without: it can be looked at, but not left out
NEEDED: dict[str, str] = {
    "precision": "put products into the short float that the program asks for",
    "autodiff": "expand `gradient` into the graphs that compute it",
    "legalize": "expand the composites that the backend does not spell",
    "rewrite": "what the backend itself changes",
    "remat": "compute values again instead of keeping them, where the program asks for it",
}

T = TypeVar("T")

#: called with the name of what has run, and the graph
Hook = Callable[[str, Graph], None]


#: what a phase, or a pass over a graph, runs in
Around = Callable[[str, "Graph | None"], AbstractContextManager[None]]


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for garbage inside: nearly all that the compiler makes is needed to the end.

    To go over it all again and again would take a third of the time, and more with the size.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _unseen(name: str, graph: Graph) -> None:
    """The hook that does nothing."""


def _unwatched(name: str, graph: Graph | None) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Pipeline:
    """The passes that run over the graphs of a program.

    `after` sees the graph after each; each, and each phase of the compiler, runs inside `around`.
    """

    passes: tuple[Pass, ...] = DEFAULT
    after: Hook = _unseen
    around: Around = _unwatched

    def run(self, graph: Graph, stage: str = AFTER, scalars: Scalars | None = None) -> None:
        """Run the passes of `stage` on `graph` in place; `scalars` of its step may grow."""
        for each in self.passes:
            if each.stage == stage:
                self.apply(each.name, graph, _change(each, scalars))

    def apply(self, name: str, graph: Graph, change: Callable[[Graph], T]) -> T:
        """Run one pass, or something that is needed, where the hooks see it."""
        with self.around(name, graph):
            result = change(graph)
        self.after(name, graph)
        return result

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase of the compiler, which the hooks see."""
        with uncollected(), self.around(name, None):
            yield

    @property
    def names(self) -> str | None:
        """As `select` reads it; None for the default."""
        return None if self.passes == DEFAULT else ",".join(p.name for p in self.passes)


def _change(each: Pass, scalars: Scalars | None) -> Callable[[Graph], None]:
    """What `each` does to a graph; with `scalars`, that of a step which has them."""
    if each.hoist is None or scalars is None:
        return each.run

    def change(graph: Graph) -> None:
        assert each.hoist is not None
        scalars.update(each.hoist(graph, scalars))

    return change


STANDARD = Pipeline()


def optimize(
    graph: Graph,
    passes: Iterable[Pass] = DEFAULT,
    after: Hook = _unseen,
    scalars: Scalars | None = None,
) -> None:
    """Run those of `passes` that come after differentiation on `graph` in place.

    `scalars` are those of the step that it is of; they may grow.
    """
    Pipeline(tuple(passes), after).run(graph, scalars=scalars)


def select(
    names: str | None = None, without: Iterable[str] = (), fast_math: bool = False
) -> tuple[Pass, ...]:
    """The passes of the comma-separated `names` without those of `without`.

    Where none are named, `DEFAULT` or, with `fast_math`, `FAST_MATH`.  The order named is that
    within a stage.  NncError E0904 for a name that is no pass, or one of what is needed.
    """
    chosen = FAST_MATH if fast_math else DEFAULT
    if names is not None:
        chosen = tuple(map(_named, filter(None, names.split(","))))
    left_out = [_named(name) for name in without]
    return tuple(p for p in chosen if p not in left_out)


def _named(name: str) -> Pass:
    name = require_pass(name)
    if name in NEEDED:
        raise error(
            "E0904",
            f"`{name}` is no choice: it always runs where there is something to do",
            help=f"the passes that can be chosen are {', '.join(PASSES)}",
        )
    return PASSES[name]


def require_pass(name: str) -> str:
    """`name` as that of a pass, or of what is needed; NncError E0904 where it is neither."""
    name = name.strip()
    known: Collection[str] = [*PASSES, *NEEDED]
    if name not in known:
        raise error(
            "E0904",
            f"there is no pass `{name}`",
            help=suggest(name, known) or f"the passes are {', '.join(PASSES)}",
        )
    return name


def pipeline_of(training: Training) -> Pipeline:
    """The one that `training` was elaborated with."""
    found: Pipeline | None = training.pipeline
    return found or STANDARD


def graphs(training: Training) -> Iterator[Graph]:
    """Every graph of a program: initial values, steps, evaluations, forwards."""
    yield from (entry.init for entry in training.state.values())
    yield from (step.graph for phase in training.phases for step in phase.steps)
    for evaluation in training.evaluations:
        yield from (evaluation.batch, evaluation.finish)
    for forward in training.forwards:
        yield from (forward.graph, forward.structured)


def optimize_training(training: Training, passes: Iterable[Pass] | None = None) -> None:
    """`optimize` every graph of `training` in place, a shared one once.

    With `passes`, or those that it was elaborated with.  Initial values are the same with
    `FAST_MATH` as without.

    The structured graph of a net may yet be differentiated, by a framework's autograd.  One that
    says where gradients go is not simplified, since that would leave the saying out.
    """
    pipeline = pipeline_of(training)
    passes = pipeline.passes if passes is None else tuple(passes)
    nets = {id(f.structured) for f in training.forwards if f.structured is not f.graph}
    initial = {id(entry.init) for entry in training.state.values()}
    steps = _steps_of(training)

    def fits(each: Pass, graph: Graph) -> bool:
        if id(graph) in initial:
            return each in DEFAULT
        return each is not simplify or id(graph) not in nets or not has_markers(graph)

    with pipeline.phase("optimize"):
        for graph in {id(graph): graph for graph in graphs(training)}.values():
            own = replace(pipeline, passes=tuple(p for p in passes if fits(p, graph)))
            users = steps.get(id(graph), [])
            scalars = dict(users[0].scalars) if users else None
            own.run(graph, scalars=scalars)
            for step in users:
                step.scalars = scalars or {}


def _steps_of(training: Training) -> dict[int, list[Step]]:
    """The steps that run a graph, by its identity; steps that share one share their scalars."""
    found: dict[int, list[Step]] = {}
    for phase in training.phases:
        for step in phase.steps:
            found.setdefault(id(step.graph), []).append(step)
    return found


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


def map_steps(training: Training, change: Callable[[Step], Step]) -> Training:
    """A copy of `training` whose steps `change` has made; one graph stays one in all phases."""
    done: dict[int, Step] = {}

    def changed(step: Step) -> Step:
        if id(step.graph) not in done:
            done[id(step.graph)] = change(step)
        return replace(step, graph=done[id(step.graph)].graph)

    return replace(
        training,
        phases=[replace(p, steps=[changed(step) for step in p.steps]) for p in training.phases],
    )
