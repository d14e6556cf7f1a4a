"""Which part of a step a node belongs to: forward, gradients, or update."""

from __future__ import annotations

from collections.abc import Iterable

from nnc.emit.function import reads
from nnc.ir.graph import Graph, Node, Value


def sections(
    graph: Graph, nodes: list[Node], results: Iterable[Value]
) -> list[tuple[str, list[Node]]]:
    """The nodes of a step under titles, in order of computation; empty parts are left out.

    Forward is what loss and metrics need.  Of the rest, an update is what depends on the moments of
    an optimizer or on a scalar of the host that the forward part does not read.
    """
    forward = ancestors(graph, results)
    sources = {node.id for node in nodes if node.op == "input" and is_update_source(node)} - forward
    update = set(sources)
    for node in nodes:
        if any(read.value.node in update for read in reads(graph, node)):
            update.add(node.id)
    update -= forward
    parts: dict[str, list[Node]] = {"forward": [], "gradients": [], "update": []}
    for node in nodes:
        if node.op == "input":
            continue
        title = "forward" if node.id in forward else "update" if node.id in update else "gradients"
        parts[title].append(node)
    return [(title, members) for title, members in parts.items() if members]


def is_update_source(node: Node) -> bool:
    return node.attrs["kind"] == "scalar" or node.attrs["name"].startswith("@opt/")


def ancestors(graph: Graph, targets: Iterable[Value]) -> set[int]:
    """The nodes that `targets` are computed from, with their own."""
    found: set[int] = set()
    stack = [value.node for value in targets]
    while stack:
        id = stack.pop()
        if id not in found:
            found.add(id)
            stack.extend(read.value.node for read in reads(graph, graph.node(id)))
    return found
