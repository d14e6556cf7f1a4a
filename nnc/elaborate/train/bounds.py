"""Which data fields index an axis: labels and ids, checked against the data before training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nnc.ir.dims import Dim
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.program import IndexBound, Training

#: Ops that move values about and change none.
_MOVES = ("reshape", "transpose", "broadcast", "slice", "reverse")
#: node of an input of a body -> the field that it is handed
Fields = Mapping[int, str | None]


def index_bounds(training: Training) -> Iterator[IndexBound]:
    """One for each field of the data and each size of an axis that its values index."""
    seen: set[tuple[str, int]] = set()
    for graph in training.graphs():
        for node, name, size in _indexed(graph, {}):
            if (name, size) not in seen:
                seen.add((name, size))
                source, _, field = name.partition(".")
                origin = node.origin[0] if node.origin else None
                yield IndexBound(source, field, size, origin)


def _indexed(graph: Graph, given: Fields) -> Iterator[tuple[Node, str, int]]:
    """(node, field, size of the axis) of what indexes with a field, bodies of loops included."""
    for node in graph:
        values, size = _index(graph, node)
        field = None if values is None else _field_behind(graph, values, given)
        if field is not None and isinstance(size, int):
            yield node, field, size
        if node.op in ("scan", "call"):
            body = node.attrs["body"]
            # The inputs of a loop's body are the number of the round, and then the operands.
            inputs = body.inputs[1:] if node.op == "scan" else body.inputs
            handed = list(zip(inputs, node.operands, strict=True))[node.attrs.get("carries", 0) :]
            inside = {id: _field_behind(graph, value, given) for id, value in handed}
            yield from _indexed(body, inside)


def _index(graph: Graph, node: Node) -> tuple[Value | None, Dim]:
    """With which values `node` indexes an axis, if it does, and the size of that."""
    if node.op in ("take", "take_along"):
        return node.operands[1], graph.type(node.operands[0]).shape[node.attrs["axis"]]
    if node.op == "eq" and graph.producer(node.operands[1]).op == "iota":
        # One-hot: a label that equals no position would be silently lost.
        places = graph.producer(node.operands[1])
        return node.operands[0], places.type.shape[places.attrs["axis"]]
    return None, 0


def _field_behind(graph: Graph, value: Value, given: Fields) -> str | None:
    """The data field whose values are `value`, only moved about; `given` are those of inputs."""
    node = graph.producer(value)
    while node.op in _MOVES:
        node = graph.producer(node.operands[0])
    if node.op == "input" and node.attrs["kind"] == "batch":
        return str(node.attrs["name"])
    return given.get(node.id)
