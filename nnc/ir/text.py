"""The graph as text, one node a line, and back: what `--emit graph` shows and tests compare.

    graph "net" {
      %0 "x" = input() {kind="batch", name="x"} : f32[N, 64]  # digits.nn:12:3
      %1 = reshape(%0) {shape=(N, 8, 8)} : f32[N, 8, 8]  # digits.nn:20:5 net.dense_0
      return "output"=%1
    }

`%3:1` is the second result of node 3.  Attributes are Python literals (a one-tuple has its comma),
dims, `array(f32[2], 1.0, 2.0)`, or a graph; node ids, names and origins are kept.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from nnc.ir.dims import Poly
from nnc.ir.graph import Array, Graph, Node, Origin, Value
from nnc.ir.text_parser import parse_graph
from nnc.ir.types import TensorType, dtype_of

__all__ = ["graphs_equal", "parse_graph", "print_graph", "structural_hash", "structural_text"]

#: Arrays of up to this many elements are printed as numbers where these say them exactly.
_READABLE_SIZE = 16


def print_graph(graph: Graph) -> str:
    """The text of `graph`: inputs in their order, then the nodes in theirs."""
    inputs = [graph.node(id) for id in graph.inputs]
    nodes = [*inputs, *(node for node in graph if node.op != "input")]
    return "\n".join(_graph_lines(graph, nodes, {node.id: node.id for node in nodes}, True))


def structural_text(graph: Graph) -> str:
    """The text of `graph` without names, places and ids: what `graphs_equal` compares.

    Nodes are numbered in the order in which a walk from the inputs, the outputs and then the nodes
    that nothing reads first completes them, so the order of creation does not matter.
    """
    nodes = _structural_order(graph)
    return "\n".join(_graph_lines(graph, nodes, {n.id: i for i, n in enumerate(nodes)}, False))


def graphs_equal(a: Graph, b: Graph) -> bool:
    """Whether two graphs are the same up to node ids, order of creation, names and origins."""
    return structural_text(a) == structural_text(b)


def structural_hash(graph: Graph) -> str:
    """SHA-256 of the structure, the same in every process: equal graphs have equal ones."""
    return hashlib.sha256(structural_text(graph).encode()).hexdigest()


# ---------------------------------------------------------------- order
def _structural_order(graph: Graph) -> list[Node]:
    roots = [*graph.inputs, *(value.node for value in graph.outputs.values())]
    order = _depth_first(graph, roots)
    unread = [id for id in graph.nx if not graph.nx.out_degree(id) and id not in order]
    # Nothing orders unread nodes but what they compute.
    unread.sort(key=lambda id: _text_from(graph, id))
    return [graph.node(id) for id in _depth_first(graph, [*roots, *unread])]


def _text_from(graph: Graph, root: int) -> str:
    order = [graph.node(id) for id in _depth_first(graph, [*graph.inputs, root])]
    numbers = {node.id: index for index, node in enumerate(order)}
    return "\n".join(line for node in order for line in _node_lines(node, numbers, False))


def _depth_first(graph: Graph, roots: Sequence[int]) -> dict[int, None]:
    """Ids in postorder, operands first; an explicit stack, since graphs are deep."""
    order: dict[int, None] = {}
    stack = [(id, False) for id in reversed(roots)]
    while stack:
        id, complete = stack.pop()
        if id in order:
            continue
        if complete:
            order[id] = None
            continue
        stack.append((id, True))
        stack.extend((value.node, False) for value in reversed(graph.node(id).operands))
    return order


# ---------------------------------------------------------------- lines
def _graph_lines(
    graph: Graph, nodes: Iterable[Node], numbers: dict[int, int], places: bool
) -> list[str]:
    """`places`: with names and origins."""
    lines = [f"graph {json.dumps(graph.name)} {{" if places else "graph {"]
    for node in nodes:
        lines.extend("  " + line for line in _node_lines(node, numbers, places))
    outputs = ", ".join(
        f"{json.dumps(name)}={_value_text(value, numbers)}" for name, value in graph.outputs.items()
    )
    return [*lines, f"  return {outputs}".rstrip(), "}"]


def _node_lines(node: Node, numbers: dict[int, int], places: bool) -> list[str]:
    name = f" {json.dumps(node.name)}" if places and node.name else ""
    operands = ", ".join(_value_text(value, numbers) for value in node.operands)
    attrs = ", ".join(
        f"{key}={_attribute_text(value, places)}" for key, value in sorted(node.attrs.items())
    )
    types = ", ".join(map(str, node.types))
    text = f"%{numbers[node.id]}{name} = {node.op}({operands})"
    text += f" {{{attrs}}}" if attrs else ""
    text += f" : {types}" if len(node.types) == 1 else f" : ({types})"
    if places and node.origin:
        text += "  # " + ", ".join(map(_origin_text, node.origin))
    return text.split("\n")


def _value_text(value: Value, numbers: dict[int, int]) -> str:
    return f"%{numbers[value.node]}" + (f":{value.index}" if value.index else "")


def _origin_text(origin: Origin) -> str:
    scope = f" {_word(origin.scope)}" if origin.scope else ""
    return f"{_word(origin.file)}:{origin.line}:{origin.column}{scope}"


def _word(text: str) -> str:
    return text if re.fullmatch(r"[\w./@-]+", text) else json.dumps(text)


# ---------------------------------------------------------------- attributes
def _attribute_text(value: Any, places: bool) -> str:
    if isinstance(value, Graph):
        return print_graph(value) if places else structural_text(value)
    if isinstance(value, Array):
        return _array_text(value.data)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, tuple):
        items = ", ".join(_attribute_text(item, places) for item in value)
        return f"({items},)" if len(value) == 1 else f"({items})"
    if value is None or type(value) in (bool, int, float) or isinstance(value, Poly):
        return str(value)
    raise TypeError(f"{value!r} cannot be an attribute")


def _array_text(data: np.ndarray) -> str:
    """`array(TYPE, elements...)` where decimals say every bit, else `array(TYPE, "BASE64")`."""
    type = TensorType(dtype_of(data), data.shape)
    if data.size <= _READABLE_SIZE:
        # The shortest decimals of float32 are its own; every other type has those of Python.
        elements = [float(str(e)) if type.dtype == "f32" else e.item() for e in data.flat]
        if np.array(elements, data.dtype).tobytes() == data.tobytes():
            return f"array({', '.join(map(str, (type, *elements)))})"
    return f'array({type}, "{base64.b64encode(data.tobytes()).decode()}")'
