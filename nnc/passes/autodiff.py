"""Differentiation, graph to graph: expands the `gradient` nodes of a program.

It runs before any composite is decomposed, so that each keeps its own gradient.  The reverse mode
itself, `vjp`, is `nnc.ir.reverse`: the rules of loops and calls use it on their bodies.
"""

from __future__ import annotations

from nnc.ir.builder import Builder, zeros_like
from nnc.ir.graph import Graph, Node
from nnc.ir.reverse import DifferentiationError, vjp
from nnc.ops.registry import OpError
from nnc.passes.base import Pass, run_on_bodies
from nnc.passes.inline import inline_calls

__all__ = ["DifferentiationError", "autodiff", "expand_gradients", "vjp"]
#: Gradients of gradients of gradients grow without end.
MAX_NODES = 500_000


class TooLarge(DifferentiationError):
    """The gradients need more operations than a graph may have."""

    def __init__(self, node: Node):
        OpError.__init__(self, f"the gradients have more than {MAX_NODES:,} operations")
        self.node = node


def expand_gradients(graph: Graph) -> None:
    """Replace every `gradient` node by the graph that computes it, in place.

    Inner ones come first, in bodies and along the graph, so gradients of gradients are gradients of
    ordinary nodes.  Calls are inlined where there is something to differentiate.  A value that `y`
    does not depend on has the gradient zero.  DifferentiationError, with the node, where an op on
    the way has no gradient.
    """
    run_on_bodies(graph, expand_gradients)
    if any(graph.node(id).op == "gradient" for id in graph.nx):
        inline_calls(graph)
    for node in [node for node in graph if node.op == "gradient"]:
        _expand(graph, node)
        if len(graph) > MAX_NODES:
            raise TooLarge(node)


def _expand(graph: Graph, node: Node) -> None:
    builder = Builder(graph, node.origin)
    y, *wrt = (builder.tensor(value) for value in node.operands)
    found = vjp(builder, [y], [builder.const(1, y.dtype)], wrt)
    pairs = zip(wrt, found, strict=True)
    gradients = [zeros_like(x) if cotangent is None else cotangent for x, cotangent in pairs]
    graph.replace_results(node, [gradient.value for gradient in gradients])
    graph.remove(node.id)


autodiff = Pass("autodiff", expand_gradients, "expand `gradient` into the graphs that compute it")
