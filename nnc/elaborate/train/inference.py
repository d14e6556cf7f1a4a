"""Inference: the graph of each instance that a section names, its batch size symbolic."""

from __future__ import annotations

from nnc.elaborate.arithmetic import as_tensor
from nnc.elaborate.calls import apply
from nnc.elaborate.context import Context, World
from nnc.elaborate.train.common import BATCH, Section
from nnc.elaborate.values import TensorValue, TupleValue
from nnc.ir.dims import symbol
from nnc.ir.graph import Graph
from nnc.ir.program import Forward
from nnc.language import tree
from nnc.passes.dead_code import dead_code


def forwards(section: Section) -> list[Forward]:
    """One for each instance with tensor inputs that a `let` of the section makes."""
    lets = [s for s in section.tree.body if isinstance(s, tree.Let)]
    known = section.world.applications
    paths = [name.id for let in lets for name in let.names if name.id in known]
    return [_forward(section.world, path) for path in paths if known[path].arguments]


def _forward(world: World, path: str) -> Forward:
    return Forward(path, _graph(world, path, False), _graph(world, path, True))


def _graph(world: World, path: str, structured: bool) -> Graph:
    application = world.applications[path]
    graph = Graph(f"forward {path}")
    cx = Context(world, graph, training=False, batch=symbol(BATCH))
    cx.structured = structured
    arguments = []
    for name, type, names in application.arguments:
        tensor = cx.input(name, type, "argument")
        arguments.append((name, TensorValue(tensor, names), application.span))
    result = apply(cx, application.template, arguments, application.span)
    fields = result.items if isinstance(result, TupleValue) else [("output", result)]
    for number, (name, value) in enumerate(fields):
        output = as_tensor(cx, value, "f32", application.span)
        graph.outputs[name or str(number)] = output.tensor.value
    dead_code.run(graph)
    return graph
