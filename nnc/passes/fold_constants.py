"""Computes at compile time what depends on constants alone.

Scalars always, also where they are broadcast (`broadcast(2) * broadcast(3)` is `broadcast(6)`);
arrays only up to a few elements, because a table in the source reads worse than its formula.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Array, Graph, Node, Value
from nnc.ir.narrow import held
from nnc.ops.registry import OPS
from nnc.passes.base import Pass, Rewriter, run_on_bodies

LARGEST = 16  # elements of an array that may be written into the source

FAMILIES = {"elementwise", "shape", "index", "reduce"}


def run(graph: Graph) -> None:
    run_on_bodies(graph, run)
    rewriter = Rewriter(graph)
    for node in rewriter:
        result = folded(graph, rewriter.builder, node)
        if result is not None:
            rewriter.replace_node(node, (result,))


def folded(graph: Graph, builder: Builder, node: Node) -> Tensor | None:
    """`node` as a constant, or None where it is none or too large to be one."""
    if not node.operands or not all(is_constant(graph, value) for value in node.operands):
        return None
    if OPS[node.op].family not in FAMILIES or len(node.types) != 1 or node.op == "broadcast":
        return None
    splats = [splat(graph, value) for value in node.operands]
    if OPS[node.op].family == "elementwise" and all(s is not None for s in splats):
        with builder.at(node.origin):
            return builder.const(compute(node, splats), node.type.dtype).expand(node.type.shape)
    size = node.type.size
    if not isinstance(size, int) or size > LARGEST:
        return None
    arrays = [whole(graph, value) for value in node.operands]
    if any(a is None for a in arrays):
        return None
    result = compute(node, arrays)
    if result.ndim and node.type.dtype == "bf16":  # of which there are no arrays to write down
        return None
    with builder.at(node.origin):
        return builder.const(result if result.ndim else result.item(), node.type.dtype)


def compute(node: Node, operands: list[Any]) -> Any:
    """The value of `node`; overflow and invalid operations give inf and nan, as at run time."""
    evaluate = OPS[node.op].evaluate
    assert evaluate is not None, node.op
    with np.errstate(all="ignore"):
        result = evaluate(*operands, **node.attrs)
    return held(result, node.type.dtype)[()]


def is_constant(graph: Graph, value: Value) -> bool:
    """Whether `value` is a `const`, or one that is broadcast."""
    return through_broadcasts(graph, value).op == "const"


def through_broadcasts(graph: Graph, value: Value) -> Node:
    node = graph.producer(value)
    while node.op == "broadcast":
        node = graph.producer(node.operands[0])
    return node


def constant(graph: Graph, output: Value) -> np.ndarray | None:
    """The array or scalar that a `const` node holds."""
    node = graph.producer(output)
    if node.op != "const":
        return None
    value = node.attrs["value"]
    return held(value.data if isinstance(value, Array) else value, node.type.dtype)


def whole(graph: Graph, value: Value) -> np.ndarray | None:
    """A constant `value` as an array of its full shape, where that is small."""
    array, scalar = constant(graph, value), splat(graph, value)
    shape = [dim for dim in graph.type(value).shape if isinstance(dim, int)]
    known = len(shape) == graph.type(value).rank and math.prod(shape) <= LARGEST
    if array is None and scalar is not None and known:
        return np.broadcast_to(scalar, shape)
    return array


def splat(graph: Graph, value: Value) -> np.ndarray | None:
    """The scalar (shape ()) that every element of a constant `value` equals, where it is known."""
    node = through_broadcasts(graph, value)
    array = constant(graph, Value(node.id)) if node.op == "const" else None
    return array if array is not None and array.ndim == 0 else None


fold_constants = Pass("fold_constants", run, "compute what depends on constants alone")
