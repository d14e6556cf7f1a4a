"""Which data fields index an axis: labels and ids, checked against the data before training."""

from __future__ import annotations

from collections.abc import Iterator

from nnc.ir.graph import Graph, Node
from nnc.ir.program import IndexBound, Training

#: Ops that move values about and change none.
_MOVES = ("reshape", "transpose", "broadcast", "slice", "reverse")


def index_bounds(training: Training) -> Iterator[IndexBound]:
    """One for each field of the data and each size of an axis that its values index."""
    seen: set[tuple[str, int]] = set()
    for graph in training.graphs():
        for node in graph:
            found = _indexed(graph, node)
            if found is not None and found not in seen:
                seen.add(found)
                source, _, field = found[0].partition(".")
                origin = node.origin[0] if node.origin else None
                yield IndexBound(source, field, found[1], origin)


def _indexed(graph: Graph, node: Node) -> tuple[str, int] | None:
    """The field that `node` indexes with, and the size of the axis."""
    if node.op in ("take", "take_along"):
        values, size = node.operands[1], graph.type(node.operands[0]).shape[node.attrs["axis"]]
    elif node.op == "eq" and graph.producer(node.operands[1]).op == "iota":
        # One-hot: a label that equals no position would be silently lost.
        places = graph.producer(node.operands[1])
        values, size = node.operands[0], places.type.shape[places.attrs["axis"]]
    else:
        return None
    field = _field_behind(graph, values.node)
    return (field, size) if field is not None and isinstance(size, int) else None


def _field_behind(graph: Graph, id: int) -> str | None:
    """The data field whose values arrive at node `id`, only moved about."""
    node = graph.node(id)
    while node.op in _MOVES:
        node = graph.producer(node.operands[0])
    if node.op == "input" and node.attrs["kind"] == "batch":
        return str(node.attrs["name"])
    return None
