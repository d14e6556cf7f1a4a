"""`maximum(0, x)` and its gradient as the kernels that PyTorch has for them.

`torch.where` takes ten times as long on a CPU, since it branches on each element.
"""

from __future__ import annotations

from nnc.backend import Rewriter, splat
from nnc.emit import Printer
from nnc.ir.builder import Tensor
from nnc.ir.graph import Graph, Node, Value
from nnc_torch import runtime
from nnc_torch.spatial import settle


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
    name = printer.helper(runtime.relu_grad)
    dy = printer.read(node.operands[2])
    settle(printer, node, printer.dialect.call(name, dy, printer.variable(y)))


def print_le(printer: Printer, node: Node) -> None:
    """A comparison that stands in no text, since only gradients of relus read it."""
    value, graph = Value(node.id), printer.graph
    readers = [user for user, _ in graph.users(value)]
    is_unseen = value not in graph.outputs.values() and all(gate(graph, user) for user in readers)
    if is_unseen:
        printer.bind(value, printer.read(node.operands[0]))
    else:
        settle(printer, node, printer.compose(node))
