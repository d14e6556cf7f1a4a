"""Is this graph what it says?  Run after every pass in tests and under `--debug`.

A pass that breaks a graph is found where it broke it: each type is computed again by the op's own
rule and compared, and the edges, which networkx's algorithms use, with the operands, which ops use.
"""

from __future__ import annotations

from typing import Any

import networkx

from nnc.ir.graph import Graph, Node, Value
from nnc.ir.types import TensorType, same_shape
from nnc.ops.registry import OPS, OpError


class GraphError(Exception):
    """A graph that no program can mean: a fault of the compiler, not of a user."""


def node_text(node: Node) -> str:
    """How messages name a node: `%3 "h" = add (digits.nn:20)`."""
    name = f' "{node.name}"' if node.name else ""
    place = f" ({node.origin[0].file}:{node.origin[0].line})" if node.origin else ""
    return f"%{node.id}{name} = {node.op}{place}"


def verify(graph: Graph) -> None:
    """Raise a `GraphError` that names the node at fault, in bodies too."""
    _verify_inputs(graph)
    for id in graph.nx:
        node = graph.node(id)
        try:
            _verify_operands(graph, node)
            _verify_types(graph, node)
            for value in node.attrs.values():
                if isinstance(value, Graph):
                    verify(value)
        except (GraphError, OpError) as fault:
            raise GraphError(f"{node_text(node)}: {fault}") from fault
    for name, value in graph.outputs.items():
        if not _exists(graph, value):
            raise GraphError(f"the output `{name}` reads %{value.node}:{value.index}, which is not")
    if not networkx.is_directed_acyclic_graph(graph.nx):
        cycle = networkx.find_cycle(graph.nx)
        raise GraphError(f"{node_text(graph.node(cycle[0][0]))}: depends on itself")


def _verify_inputs(graph: Graph) -> None:
    inputs = [id for id in graph.nx if graph.node(id).op == "input"]
    if sorted(inputs) != sorted(graph.inputs):
        raise GraphError(f"the inputs are %{sorted(inputs)}, and listed are %{graph.inputs}")
    names = graph.input_names
    if len(set(names)) != len(names):
        raise GraphError(f"two inputs have one name: {sorted(names)}")


def _verify_operands(graph: Graph, node: Node) -> None:
    for value in node.operands:
        if not _exists(graph, value):
            raise GraphError(f"reads %{value.node}:{value.index}, which is not")
    edges = {
        (source, key, result)
        for source, _, key, result in graph.nx.in_edges(node.id, keys=True, data="result")
    }
    if edges != {(value.node, key, value.index) for key, value in enumerate(node.operands)}:
        raise GraphError("its edges are not its operands")


def _verify_types(graph: Graph, node: Node) -> None:
    if node.op not in OPS:
        raise GraphError(f"there is no op `{node.op}`")
    if node.op == "input":
        return
    inferred: Any = OPS[node.op].infer(*map(graph.type, node.operands), **node.attrs)
    types = inferred if isinstance(inferred, tuple) else (inferred,)
    if len(types) != len(node.types) or not all(map(_same, types, node.types)):
        raise GraphError(f"has the type {_types_text(node.types)}, not {_types_text(types)}")


def _same(a: TensorType, b: TensorType) -> bool:
    return a.dtype == b.dtype and same_shape(a.shape, b.shape)


def _types_text(types: tuple[TensorType, ...]) -> str:
    return ", ".join(map(str, types))


def _exists(graph: Graph, value: Value) -> bool:
    return value.node in graph.nx and 0 <= value.index < len(graph.node(value.node).types)
