"""Common subexpressions: two nodes that compute the same become one.

Random draws are named by their operands and attributes, so they are expressions like all others.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from nnc.ir.graph import Graph, Node, Value
from nnc.passes.base import Pass, Rewriter, run_on_bodies

#: ops whose two operands may be exchanged without changing a bit of the result
COMMUTATIVE = {"add", "mul", "eq", "ne", "and", "or", "xor"}


def run(graph: Graph) -> None:
    run_on_bodies(graph, run)
    seen: dict[Hashable, Node] = {}
    rewriter = Rewriter(graph)
    for node in list(graph):
        if node.op == "input":
            continue
        first = seen.setdefault(key(node), node)
        if first is not node:
            unite(rewriter, node, first)


def unite(rewriter: Rewriter, node: Node, first: Node) -> None:
    """Let `first` stand for `node` too; it keeps the places of both."""
    for index in range(len(node.types)):
        rewriter.replace(Value(node.id, index), Value(first.id, index))
    first.name = first.name or node.name
    rewriter.remove_unread(node)


def key(node: Node) -> Hashable:
    """What `node` computes; equal keys in one graph mean equal results."""
    operands = sorted(node.operands) if node.op in COMMUTATIVE else node.operands
    named = sorted(node.attrs.items()) if len(node.attrs) > 1 else node.attrs.items()
    attrs = tuple([(name, attribute_key(value)) for name, value in named])
    return node.op, tuple(operands), attrs


def computation(graph: Graph) -> Hashable:
    """Equal for graphs that are the same node by node, but for names and origins."""
    nodes = [(node.id, key(node), node.types) for node in graph]
    return tuple(nodes), tuple(graph.inputs), tuple(graph.outputs.items())


def attribute_key(value: Any) -> Hashable:
    """Equal for equal attributes only: Python takes 1, 1.0 and True for equal, and 0.0 for -0.0."""
    kind = type(value)
    if kind is str or kind is int:
        return value  # equal to no other key
    if kind is tuple:
        return tuple([attribute_key(item) for item in value])
    if isinstance(value, Graph):
        return Graph, id(value)
    if kind is float:
        return float, value.hex()
    return kind, value


common = Pass("common", run, "compute equal expressions once")
