"""Inference: the graph of each instance that a section names, its batch size symbolic."""

from __future__ import annotations

from collections.abc import Sequence

from nnc.elaborate.arithmetic import as_tensor
from nnc.elaborate.collected import Collected
from nnc.elaborate.instances import apply
from nnc.elaborate.settings import Settings, precision_of
from nnc.elaborate.train.common import Section
from nnc.elaborate.train.scoring import loss_value
from nnc.elaborate.values import TensorValue, TupleValue
from nnc.elaborate.world import AllApplied
from nnc.ir.graph import Graph
from nnc.ir.program import Forward
from nnc.language import tree
from nnc.passes.autodiff import expand_gradients
from nnc.passes.base import BEFORE
from nnc.passes.dead_code import dead_code
from nnc.passes.inline import flat
from nnc.passes.precision import multiply_in

#: The settings of a step, and the sections inside `train` that it stands in.
Losses = Sequence[tuple[Settings, Sequence[tree.Section]]]


def forwards(section: Section, losses: Losses) -> list[Forward]:
    """One for each instance with tensor inputs that a `let` of the section makes.

    Where it names none, one for each that it makes without a name.
    """
    lets = [s for s in section.tree.body if isinstance(s, tree.Let)]
    known = section.world.applications
    named = [name.id for let in lets for name in let.names if name.id in known]
    named = [path for path in named if known[path].template.has_own_name]
    paths = [p for p in named or known if known[p].arguments and "." not in p]
    _open_batches(section, paths, losses)
    made = [_forward(section, path) for path in paths]
    return [forward for forward in made if not _reads_batch(forward.graph)]


def _open_batches(section: Section, paths: Sequence[str], losses: Losses) -> None:
    """Apply to a batch of any size what no evaluation has: what only the steps use.

    A loss that is defined for its own batch size alone leaves its nets with that size.
    """
    known = section.world.applications
    awaited = {path for path in paths if not known[path].is_open}
    for settings, inner in losses if awaited else ():
        cx = section.context(Graph("inference"), training=False)
        cx.awaited = awaited
        try:
            Collected().attempt(loss_value, cx, settings, section.scope(cx, inner))
        except AllApplied:
            break


def _reads_batch(graph: Graph) -> bool:
    """Whether a net reads data besides its inputs, so that it is no function of them."""
    return any(graph.node(id).attrs["kind"] == "batch" for id in graph.inputs)


def _forward(section: Section, path: str) -> Forward:
    structured = _structured(section, path)
    precision, pipeline = precision_of(section.settings), section.pipeline
    pipeline.apply("precision", structured, lambda graph: multiply_in(graph, precision))
    dead_code.run(structured)
    pipeline.run(structured, BEFORE)
    pipeline.apply("autodiff", structured, expand_gradients)
    plain = flat(structured)
    for graph in (structured, plain):
        dead_code.run(graph)
    return Forward(path, plain, structured)


def _structured(section: Section, path: str) -> Graph:
    """The graph of an instance with a call for each instance in it."""
    application = section.world.applications[path]
    graph = Graph(f"forward {path}")
    cx = section.context(graph, training=False)
    template = application.template
    if template.has_own_name:
        template = section.scope(cx).bindings[path].force(path, application.span)
    cx.structured = True
    arguments = []
    for name, type, names in application.arguments:
        tensor = cx.input(name, type, "argument")
        arguments.append((name, TensorValue(tensor, names), application.span))
    result = apply(cx, template, arguments, application.span)
    fields = result.items if isinstance(result, TupleValue) else [("output", result)]
    for number, (name, value) in enumerate(fields):
        output = as_tensor(cx, value, "f32", application.span)
        graph.outputs[name or str(number)] = output.tensor.value
    return graph
