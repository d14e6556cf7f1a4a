"""Puts the bodies of calls in the place of the calls, so that other passes see one graph.

Steps are inlined before differentiation; a forward graph keeps its calls, because they are the
block structure that backends print.
"""

from __future__ import annotations

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph
from nnc.ir.splice import inline
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


inline_pass = Pass("inline", inline_calls, "replace calls by the graphs they call")
