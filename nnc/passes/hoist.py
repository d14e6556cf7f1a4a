"""Casts of what a loop captures are done once, before the loop.

Runs after differentiation: before it, the cotangents of such a value would add up, over the rounds
of the loop, in the short float that it was cast to.  What the body reads no more, `dead_code`
removes.
"""

from __future__ import annotations

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Node
from nnc.ops.bodies import fresh_name
from nnc.passes.base import Pass, run_on_bodies


def run(graph: Graph) -> None:
    run_on_bodies(graph, run)
    for id in list(graph.nx):
        node = graph.node(id)
        if node.op == "scan":
            _hoist(graph, node)


def _hoist(graph: Graph, scan: Node) -> None:
    body: Graph = scan.attrs["body"]
    first = 1 + scan.attrs["carries"] + scan.attrs["sequences"]
    captures = dict(zip(body.inputs[first:], scan.operands[first - 1 :], strict=True))
    casts = [n for n in body if n.op == "cast" and n.operands[0].node in captures]
    if not casts:
        return
    body = body.copy()
    outside, inside = Builder(graph), Builder(body)
    operands, taken = list(scan.operands), set(body.input_names)
    for cast in casts:
        port = body.node(cast.operands[0].node)
        with outside.at(cast.origin):
            value = outside.tensor(captures[port.id]).cast(cast.type.dtype)
        name = fresh_name(f"{port.attrs['name']}_{cast.type.dtype}", taken)
        with inside.at(port.origin):
            new = inside.input(name, cast.type, port.attrs["kind"])
        body.replace_results(body.node(cast.id), [new.value])
        body.remove(cast.id)
        operands.append(value.value)
    graph.set_operands(scan, operands)
    scan.attrs = {**scan.attrs, "body": body}


hoist = Pass("hoist", run, "cast what a loop captures once, before it")
