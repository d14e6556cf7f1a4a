"""Copying nodes of one graph into another: what inlining and the gradients of loops are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node, Value


def splice(builder: Builder, nodes: Iterable[Node], mapping: dict[Value, Value]) -> None:
    """Copy `nodes` (in topological order) to the builder's graph.

    `mapping` says what stands there for the values that they read from outside; the results of the
    copies are added to it.  A node without an origin gets the builder's.
    """
    for node in nodes:
        copy = builder.graph.insert(
            node.op,
            (mapping[value] for value in node.operands),
            node.attrs,
            node.types,
            node.name,
            node.origin or builder.origin,
        )
        for index in range(len(node.types)):
            mapping[Value(node.id, index)] = Value(copy.id, index)


def inline(builder: Builder, graph: Graph, operands: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Copy all of `graph` to where the builder writes, on `operands`; its outputs."""
    inputs = (Value(id) for id in graph.inputs)
    mapping = {value: x.value for value, x in zip(inputs, operands, strict=True)}
    splice(builder, (node for node in graph if node.op != "input"), mapping)
    return tuple(builder.tensor(mapping[value]) for value in graph.outputs.values())
