"""Mixed precision: matrix products and convolutions in a short float, all else as it is.

Runs before differentiation.  The gradient of a cast is a cast, so the products of the backward pass
have short operands and results too, and cotangents are added up in f32: each use of a value gets a
cast of its own, and those that are equal meet later, as common subexpressions.
"""

from __future__ import annotations

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node
from nnc.passes.base import run_on_bodies

#: what `precision` can be
PRECISIONS = ("f32", "bf16", "f16")

PRODUCTS = ("dot", "conv", "conv_input_grad", "conv_filter_grad")


def multiply_in(graph: Graph, dtype: str, end: int | None = None) -> None:
    """Round the operands and results of products of f32 to `dtype`, in place and in bodies.

    With `end`, of nodes with a smaller id, and in the bodies of these.
    """
    if dtype == "f32":
        return
    run_on_bodies(graph, lambda body: multiply_in(body, dtype), end)
    builder = Builder(graph)
    end = graph.next_id if end is None else end
    for node in list(graph):
        if node.id < end and node.op in PRODUCTS and node.type.dtype == "f32":
            graph.replace_results(node, [_product(builder, node, dtype).value])
            graph.remove(node.id)


def _product(builder: Builder, node: Node, dtype: str) -> Tensor:
    with builder.at(node.origin):
        x, y = (builder.tensor(value).cast(dtype) for value in node.operands)
        product: Tensor = builder.emit(node.op, x, y, **node.attrs)
        wide = product.cast("f32")
    builder.graph.producer(wide.value).name = node.name
    return wide
