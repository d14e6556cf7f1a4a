"""Puts the bodies of calls in the place of the calls, so that other passes see one graph.

Steps are inlined before differentiation; a forward graph keeps its calls, because they are the
block structure that backends print.
"""

from __future__ import annotations

from collections.abc import Iterable

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.splice import inline, splice
from nnc.passes.base import Pass, run_on_bodies


def inline_calls(graph: Graph) -> None:
    """Replace every `call` of `graph`, and of the bodies of its loops, by what it calls."""
    calls = [node for node in graph if node.op == "call"]
    while calls:
        call = calls.pop()
        first = graph.next_id
        builder = Builder(graph, call.origin)
        outputs = inline(
            builder, call.attrs["body"], [builder.tensor(value) for value in call.operands]
        )
        for result, output in zip(builder.results(call), outputs, strict=True):
            graph.replace(result.value, output.value)
        graph.remove(call.id)
        made = (graph.node(id) for id in range(first, graph.next_id))
        calls += [node for node in made if node.op == "call"]
    run_on_bodies(graph, inline_calls)


def flat(graph: Graph) -> Graph:
    """A copy of `graph` with each call expanded where it stands: the order of the text remains."""
    copy = Graph(graph.name, scope=graph.scope)
    mapping: dict[Value, Value] = {}
    _expand(Builder(copy), graph, mapping)
    copy.outputs = {name: mapping[value] for name, value in graph.outputs.items()}
    run_on_bodies(copy, inline_calls)
    return copy


def _expand(builder: Builder, nodes: Iterable[Node], mapping: dict[Value, Value]) -> None:
    for node in nodes:
        if node.op != "call":
            splice(builder, (node,), mapping)
            continue
        body = node.attrs["body"]
        inner = {Value(id): mapping[v] for id, v in zip(body.inputs, node.operands, strict=True)}
        with builder.at(node.origin or builder.origin):
            _expand(builder, (each for each in body if each.op != "input"), inner)
        for index, value in enumerate(body.outputs.values()):
            mapping[Value(node.id, index)] = inner[value]


inline_pass = Pass("inline", inline_calls, "replace calls by the graphs they call")
