"""Rewrites of legal graphs that pay in NumPy alone."""

from __future__ import annotations

from nnc.backend import Rewriter, splat
from nnc.ir.builder import Tensor
from nnc.ir.dims import equal
from nnc.ir.graph import Graph, Node


def rewrite(graph: Graph) -> None:
    rewriter = Rewriter(graph)
    for node in rewriter:
        if node.op == "scatter_add_along":
            result = one_place_each(rewriter, node)
            if result is not None:
                rewriter.replace_node(node, (result,))


def one_place_each(rewriter: Rewriter, node: Node) -> Tensor | None:
    """Adding to one place in each row of zeros, the gradient of picking one, is a comparison."""
    x, index, update = rewriter.operands(node)
    axis = node.attrs["axis"]
    zero = splat(rewriter.graph, x.value)
    if zero is None or zero != 0 or equal(index.shape[axis], 1) is not True:
        return None
    rest = tuple(dim for a, dim in enumerate(x.shape) if a != axis)
    axes = tuple(a for a in range(x.rank) if a != axis)
    with rewriter.builder.at(node.origin):
        counts = rewriter.builder.emit("iota", shape=(x.shape[axis],), axis=0, dtype="i32")
        places = counts.broadcast(x.shape, (axis,))
        here = places.equals(index.reshape(rest).broadcast(x.shape, axes))
        result: Tensor = here.where(update.reshape(rest).broadcast(x.shape, axes), 0)
    return result
