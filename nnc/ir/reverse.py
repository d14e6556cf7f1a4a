"""Reverse-mode differentiation inside one graph.

Knows the registry's `vjp` rules and nothing of passes; the pass that expands `gradient` nodes is
`nnc.passes.autodiff`, and the gradients of `scan` and `call` use this on their bodies.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.types import same_shape
from nnc.ops.registry import OPS, OpError


class DifferentiationError(OpError):
    """A gradient has to pass through `node`, whose op has none."""

    def __init__(self, node: Node):
        super().__init__(
            f"`{node.op}` has no gradient; put `stop_gradient` around it to go without"
        )
        self.node = node


def vjp(
    builder: Builder,
    outputs: Sequence[Tensor],
    cotangents: Sequence[Tensor | None],
    wrt: Sequence[Tensor],
) -> list[Tensor | None]:
    """The cotangent of each of `wrt` for the given ones of `outputs`; None where none arrives.

    All are values of the builder's graph, to which the gradient is appended.  A `wrt` may be any
    value; it takes what reaches it over all paths from it to the outputs, and what it depends on
    may be a `wrt` too.  Takes time linear in the part of the graph between the two, and no stack.
    """
    graph = builder.graph
    first = graph.next_id
    active = active_values(
        graph, (x.value for x in wrt), within=ancestors(graph, (y.value for y in outputs))
    )
    totals: dict[Value, Tensor] = {}
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if cotangent is not None and output.value in active:
            _accumulate(builder, totals, output.value, cotangent)
    for node in _consumers_first(graph, active):
        dys = [totals.get(value) for value in results(node)]
        if any(dy is not None for dy in dys):
            _name(graph, node, dys[0], first)
            _propagate(builder, node, dys, active, totals)
    found = [totals.get(x.value) for x in wrt]
    for x, cotangent in zip(wrt, found, strict=True):
        _name(graph, graph.producer(x.value), cotangent, first)
    _sweep(graph, first, {cotangent.value for cotangent in found if cotangent is not None})
    return found


def results(node: Node) -> list[Value]:
    return [Value(node.id, index) for index in range(len(node.types))]


def ancestors(graph: Graph, values: Iterable[Value]) -> set[int]:
    """The nodes that `values` depend on, their own included."""
    found: set[int] = set()
    stack = [value.node for value in values]
    while stack:
        id = stack.pop()
        if id not in found:
            found.add(id)
            stack.extend(value.node for value in graph.node(id).operands)
    return found


def active_values(
    graph: Graph, sources: Iterable[Value], within: set[int] | None = None
) -> set[Value]:
    """The float values that depend on `sources` differentiably, and the sources themselves.

    `within` leaves out other nodes.
    """
    active: set[Value] = set()
    followed: set[int] = set()  # nodes whose results are on the stack or were
    stack = [value for value in sources if within is None or value.node in within]
    while stack:
        value = stack.pop()
        if value in active:
            continue
        active.add(value)
        for consumer, _ in graph.users(value):
            outside = within is not None and consumer.id not in within
            if consumer.id in followed or outside or OPS[consumer.op].zero_gradient:
                continue
            followed.add(consumer.id)
            stack.extend(v for v in results(consumer) if graph.type(v).is_float)
    return active


def _consumers_first(graph: Graph, active: set[Value]) -> Iterable[Node]:
    """The nodes that pass gradients on, each after all that read it, newest first where free."""
    waiting: dict[int, int] = {}  # node -> operands of others that still have to be served
    for id in {value.node for value in active}:
        if any(value in active for value in graph.node(id).operands):
            waiting.setdefault(id, 0)
    for id in list(waiting):
        for value in graph.node(id).operands:
            if value.node in waiting:
                waiting[value.node] += 1
    ready = [-id for id, count in waiting.items() if not count]
    heapq.heapify(ready)
    while ready:
        node = graph.node(-heapq.heappop(ready))
        yield node
        for value in node.operands:
            if value.node in waiting:
                waiting[value.node] -= 1
                if not waiting[value.node]:
                    heapq.heappush(ready, -value.node)


def _propagate(
    builder: Builder,
    node: Node,
    dys: Sequence[Tensor | None],
    active: set[Value],
    totals: dict[Value, Tensor],
) -> None:
    """Add to the totals of the operands of `node` what its rule makes of the cotangents `dys`."""
    rule = OPS[node.op].vjp
    if rule is None:
        raise DifferentiationError(node)
    ys, xs = builder.results(node), [builder.tensor(value) for value in node.operands]
    dy: Any = tuple(dys) if len(dys) > 1 else dys[0]
    extra = {"wanted": [x.value in active for x in xs]} if "body" in node.attrs else {}
    with builder.at(node.origin):
        given = rule(dy, ys if len(ys) > 1 else ys[0], *xs, **node.attrs, **extra)
    for x, cotangent in zip(xs, given, strict=True):
        if cotangent is not None and x.value in active:
            matches = cotangent.dtype == x.dtype and same_shape(cotangent.shape, x.shape)
            assert matches, f"the vjp of {node.op} gives {cotangent.type} for {x.type}"
            _accumulate(builder, totals, x.value, cotangent)


def _accumulate(
    builder: Builder, totals: dict[Value, Tensor], value: Value, cotangent: Tensor
) -> None:
    if value in totals:
        with builder.at(builder.graph.producer(value).origin):
            cotangent = totals[value] + cotangent
    totals[value] = cotangent


def _name(graph: Graph, node: Node, cotangent: Tensor | None, first: int) -> None:
    """Call the new node that gives the cotangent of `h` `d_h`."""
    if cotangent is None or not node.name or len(node.types) > 1:
        return
    made = graph.producer(cotangent.value)
    if made.id >= first and not made.name and len(made.types) == 1:
        made.name = f"d_{node.name}"


def _sweep(graph: Graph, first: int, keep: set[Value]) -> None:
    """Remove the new nodes that the rules made for operands that need no cotangent."""
    kept = {value.node for value in keep}
    for id in range(graph.next_id - 1, first - 1, -1):
        if id in graph.nx and id not in kept and not graph.nx.out_degree(id):
            graph.remove(id)
