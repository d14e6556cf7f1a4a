"""Gradients of relu, sigmoid and tanh, which are formulas in a graph, as PyTorch's kernels.

`torch.where` takes ten times as long on a CPU, since it branches on each element; the products of a
slope are three kernels and two temporaries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnc.backend import Rewriter, splat
from nnc.emit import Printer
from nnc.ir.builder import Tensor
from nnc.ir.graph import Graph, Node, Value
from nnc_torch import kernels
from nnc_torch.inplace import may_write
from nnc_torch.spatial import settle


# ---------------------------------------------------------------- relu
def is_zero(graph: Graph, value: Value) -> bool:
    return splat(graph, value) == 0


def relu_of(graph: Graph, node: Node) -> Value | None:
    """x, where `node` is `maximum(0, x)` of floats."""
    if node.op != "maximum" or not node.type.is_float or not is_zero(graph, node.operands[0]):
        return None
    return node.operands[1]


def gate(graph: Graph, node: Node) -> Value | None:
    """y, where `node` is `where(y <= 0, 0, dy)`: dy where y is positive or nan."""
    if node.op != "where" or not node.type.is_float or not is_zero(graph, node.operands[1]):
        return None
    condition = graph.producer(node.operands[0])
    if condition.op != "le" or not is_zero(graph, condition.operands[1]):
        return None
    y, dy = condition.operands[0], node.operands[2]
    are_whole = all(graph.producer(value).op != "broadcast" for value in (y, dy))
    return y if graph.type(y) == node.type and are_whole else None


def by_result(rewriter: Rewriter, node: Node) -> Tensor | None:
    """The gradient of a relu by its result, which is positive where its argument is."""
    graph = rewriter.graph
    x = gate(graph, node)
    if x is None:
        return None
    relu = next((user for user, _ in graph.users(x) if relu_of(graph, user) == x), None)
    if relu is None:
        return None
    y = rewriter.builder.tensor(Value(relu.id))
    _, zero, dy = rewriter.operands(node)
    result: Tensor = (y <= 0.0).where(zero, dy)
    return result


def print_where(printer: Printer, node: Node) -> None:
    y = gate(printer.graph, node)
    if y is None:
        settle(printer, node, printer.compose(node))
        return
    dy = printer.read(node.operands[2])
    kernel = kernels.relu_grad_ if may_write(dy, node.type) else kernels.relu_grad
    name = printer.helper(kernel)
    settle(printer, node, printer.dialect.call(name, dy, printer.variable(y)))


def print_le(printer: Printer, node: Node) -> None:
    """A comparison that stands in no text, since only gradients of relus read it."""
    value, graph = Value(node.id), printer.graph
    readers = [user for user, _ in graph.users(value)]
    if all(gate(graph, user) for user in readers) and value not in graph.outputs.values():
        printer.bind(value, printer.read(node.operands[0]))
    else:
        settle(printer, node, printer.compose(node))


# ---------------------------------------------------------------- sigmoid and tanh
def slope(graph: Graph, value: Value) -> tuple[Callable[..., Any], Value] | None:
    """The kernel for dy * `value`, and the result y that it takes, where `value` is the slope
    `y * (1 - y)` of a sigmoid or `1 - y * y` of a tanh.

    The y of a loop's body may be what an earlier loop has kept.
    """
    node = graph.producer(value)
    if node.op not in ("mul", "sub") or not is_inner(graph, value):
        return None
    if node.op == "mul":
        for y, other in (node.operands, node.operands[::-1]):
            if complement(graph, other) == y and is_kept(graph, y, "sigmoid"):
                return kernels.sigmoid_grad, y
    square = complement(graph, value)
    if square is None or graph.producer(square).op != "mul" or not is_inner(graph, square):
        return None
    y, other = graph.producer(square).operands
    return (kernels.tanh_grad, y) if y == other and is_kept(graph, y, "tanh") else None


def complement(graph: Graph, value: Value) -> Value | None:
    """z, where `value` is `1 - z`."""
    node = graph.producer(value)
    if node.op != "sub" or splat(graph, node.operands[0]) != 1 or not is_inner(graph, value):
        return None
    return node.operands[1]


def is_inner(graph: Graph, value: Value) -> bool:
    """Whether one node alone reads `value`, and nothing names it."""
    if graph.producer(value).name or not graph.is_read_once(value.node):
        return False
    return value not in graph.outputs.values()


def is_kept(graph: Graph, y: Value, op: str) -> bool:
    """Whether `y` is the result of an `op`, or comes from where it may be one."""
    return graph.producer(y).op in (op, "input")


def print_mul(printer: Printer, node: Node) -> None:
    graph = printer.graph
    for dy, factor in (node.operands, node.operands[::-1]):
        found = slope(graph, factor) if node.type.is_float else None
        if found is not None and graph.producer(dy).op != "broadcast":
            kernel, y = found
            name = printer.helper(kernel)
            made = printer.dialect.call(name, printer.read(dy), printer.variable(y))
            settle(printer, node, made)
            return
    settle(printer, node, printer.compose(node))
