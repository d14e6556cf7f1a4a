"""An LSTM and its gradient, which are two loops in the graph of a step, as one op each.

For backends that have kernels for them.  What to look for is not written down as a pattern: the
graph of an `lstm` and its gradient, made, optimized and rewritten as any other, is what a step must
contain.  A loop that differs in anything stays a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.reverse import vjp
from nnc.ir.text import structural_text
from nnc.ir.types import TensorType
from nnc.ops.registry import OPS
from nnc.passes.base import Rewriter, run_on_bodies
from nnc.passes.legalize import legalize
from nnc.passes.pipeline import optimize

#: the results of a loop over an LSTM: h and c at the end, and all h; then what its gradient reads
ALL_H = 2
#: the only result that is read of the loop of its gradient: the cotangents of the gates' sums
SUMS = 2


@dataclass
class Reference:
    """The graph of an LSTM and its gradient, and the values in it that matter."""

    graph: Graph
    operands: dict[str, Value]  # x, w, u, b, dy
    sums: Value
    gradients: list[Value]  # of x, w, u and b


@lru_cache(maxsize=16)
def reference(
    x: TensorType, h: int, rewrite: Callable[[Graph], object], emitters: frozenset[str]
) -> Reference:
    """That of x [N, T, D] and width H."""
    n, t, d = x.shape
    builder = Builder(Graph("lstm"))
    shapes = {"x": (n, t, d), "w": (d, 4 * h), "u": (h, 4 * h), "b": (4 * h,), "dy": (n, t, h)}
    inputs = {name: builder.input(name, x.with_shape(s)) for name, s in shapes.items()}
    *operands, dy = inputs.values()
    decompose = OPS["lstm"].decompose
    assert decompose is not None
    y = decompose(*operands)
    found = vjp(builder, [y], [dy], operands)
    graph = builder.graph
    graph.outputs = {"y": y.value, **{f"d{i}": z.value for i, z in enumerate(found) if z}}
    optimize(graph)
    legalize(graph, emitters)
    run_on_bodies(graph, rewrite)
    _, *gradients = graph.outputs.values()
    sums = graph.producer(gradients[-1]).operands[0]  # the bias gets their total
    return Reference(graph, {name: z.value for name, z in inputs.items()}, sums, gradients)


# ---------------------------------------------------------------- comparison
def canonical(body: Graph) -> str:
    """The text of a body whatever its inputs and outputs are called."""
    copy = body.copy()
    for number, id in enumerate(copy.inputs):
        copy.node(id).attrs = {"kind": "data", "name": str(number)}
    copy.outputs = {str(number): value for number, value in enumerate(copy.outputs.values())}
    return structural_text(copy)


def attributes(node: Node) -> dict[str, Any]:
    return {k: canonical(v) if isinstance(v, Graph) else v for k, v in node.attrs.items()}


@dataclass
class Match:
    """What of `reference` was found in `graph`: node -> node, and its inputs' values."""

    reference: Reference
    graph: Graph
    nodes: dict[int, int] = field(default_factory=dict)
    inputs: dict[int, Value] = field(default_factory=dict)

    def is_same(self, wanted: Value, value: Value) -> bool:
        """Whether `value` is computed as `wanted` is; what was found stands in `nodes` then."""
        expected, node = self.reference.graph.producer(wanted), self.graph.producer(value)
        if expected.op == "input":
            same_type = self.graph.type(value) == expected.type
            return same_type and self.inputs.setdefault(expected.id, value) == value
        if wanted.index != value.index or expected.op != node.op or expected.types != node.types:
            return False
        if expected.id not in self.nodes:
            if attributes(expected) != attributes(node):
                return False
            pairs = zip(expected.operands, node.operands, strict=True)
            if not all(self.is_same(a, b) for a, b in pairs):
                return False
            self.nodes[expected.id] = node.id
        return self.nodes[expected.id] == node.id


# ---------------------------------------------------------------- replacement
def replace_lstms(
    rewriter: Rewriter, rewrite: Callable[[Graph], object], emitters: frozenset[str]
) -> bool:
    """Put `lstm` and `lstm_grad` in the place of loops that compute them; True if there were any.

    `rewrite` is what was done to the bodies of the graph.
    """
    graph, changed = rewriter.graph, False
    for node in [node for node in graph if node.op == "scan" and node.attrs["reverse"]]:
        operand = operand_of(graph, node)
        if operand is None:
            continue
        match = Match(reference(*operand, rewrite, emitters), graph)
        if match.is_same(match.reference.sums, Value(node.id, SUMS)):
            changed |= replace(rewriter, match, node)
    return changed


def operand_of(graph: Graph, node: Node) -> tuple[TensorType, int] | None:
    """The type of x [N, T, D] and H, where `node` may be the loop of the gradient of an LSTM."""
    if len(node.operands) <= SUMS or len(node.types) != SUMS + 1:
        return None
    forward = graph.producer(node.operands[SUMS])
    if forward.op != "scan" or len(forward.operands) <= SUMS or len(forward.types) <= ALL_H:
        return None
    product = graph.producer(forward.operands[2])
    if product.op != "dot":
        return None
    x, width = graph.type(product.operands[0]), forward.types[ALL_H].shape[-1]
    if x.rank != 3 or x.dtype not in ("f32", "f64") or not isinstance(width, int):
        return None
    return (x, width) if all(isinstance(dim, int) for dim in x.shape) else None


def replace(rewriter: Rewriter, match: Match, backward: Node) -> bool:
    """Replace the loops of `match`, unless anything else reads what is inside."""
    graph, wanted = rewriter.graph, match.reference
    forward = graph.producer(backward.operands[SUMS])
    found: dict[int, Node] = {}  # index of the gradient -> the node that computes it
    for index, gradient in enumerate(wanted.gradients):
        for user, _ in graph.users(Value(backward.id, SUMS)):
            if match.is_same(gradient, Value(user.id)):
                found[index] = user
    allowed = {backward.id, *(node.id for node in found.values())}
    inner = [Value(backward.id, index) for index in range(len(backward.types))]
    inner += [Value(forward.id, index) for index in range(len(forward.types)) if index != ALL_H]
    for value in inner:
        if rewriter.is_output(value) or any(u.id not in allowed for u, _ in graph.users(value)):
            return False
    builder = rewriter.builder
    operands = [
        builder.tensor(match.inputs[wanted.operands[name].node]) for name in ("x", "w", "u", "b")
    ]
    dy = builder.tensor(match.inputs[wanted.operands["dy"].node])
    with builder.at(forward.origin):
        y = builder.emit("lstm", *operands, name=forward.name)
    with builder.at(backward.origin):
        made = builder.emit("lstm_grad", dy, *operands, name=backward.name)
    for index, node in found.items():
        rewriter.replace(Value(node.id), made[index].value)
        rewriter.remove_unread(node)
    rewriter.replace(Value(forward.id, ALL_H), y.value)
    for node in (backward, forward):
        if node.id in graph.nx:
            rewriter.remove_unread(node)
    return True
