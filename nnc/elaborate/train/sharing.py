"""Two sets of weights where one was meant: `Net()(x)` in the loss and `Net()(x)` in a metric."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nnc.elaborate.collected import Collected
from nnc.elaborate.train.common import Section
from nnc.elaborate.values import Deferred, Template
from nnc.elaborate.world import Application
from nnc.ir.graph import Graph
from nnc.ir.program import Evaluation, Phase
from nnc.language.diagnostics import Label, error


def check_sharing(section: Section, phases: list[Phase], evaluations: list[Evaluation]) -> None:
    """E0432 for an instance that only metrics use, beside an equal one that is trained.

    Two instances of a block are often wanted.  But one that no step reads keeps its initial
    weights, so what is measured on it says nothing.
    """
    trained = _instances(section, (s.graph for phase in phases for s in phase.steps))
    measured = _instances(section, (g for e in evaluations for g in (e.batch, e.finish)))
    problems = Collected()
    for path in sorted(measured.keys() - trained.keys()):
        for twin in trained.values():
            if _equal(measured[path], twin):
                problems.attempt(_refuse, path, measured[path], twin)
                break
    problems.finish()


def _instances(section: Section, graphs: Iterable[Graph]) -> dict[str, Application]:
    """The outermost instances whose weights some graph reads, by their paths."""
    known, state = section.world.applications, section.world.state
    found: dict[str, Application] = {}
    for graph in graphs:
        for id in graph.inputs:
            name = graph.node(id).attrs["name"]
            if name in state and state[name].kind == "param":
                parts = name.split(".")
                paths = (".".join(parts[:end]) for end in range(1, len(parts)))
                found.update((path, known[path]) for path in paths if path in known)
    return {
        path: application
        for path, application in found.items()
        if not any(path.startswith(f"{other}.") for other in found)
    }


def _equal(one: Application, other: Application) -> bool:
    a, b = one.template, other.template
    return a.block.definition is b.block.definition and _static(a) == _static(b)


def _static(template: Template) -> dict[str, Any]:
    values = {name: bound.value for name, bound in template.static.items()}
    return {n: v.expr if isinstance(v, Deferred) else v for n, v in values.items()}


def _refuse(path: str, measured: Application, trained: Application) -> None:
    block, twin = measured.template.block.name, trained.template.path
    raise error(
        "E0432",
        f"`{path}` is an instance of `{block}` that is measured but never trained",
        measured.span,
        Label(trained.span, f"`{twin}`, another set of weights, is trained"),
        help=f"make one instance and use it in both places: `let net = {block}(...)`",
    )
