"""Honest backends: each computes the same in another way, with other roundings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import nnc_numpy
from nnc_numpy import NumpyBackend

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.interpret import as_float64
from nnc.ir.program import StateEntry, Training
from nnc.ops.registry import OPS
from nnc.passes.legalize import legalize
from nnc.passes.pipeline import map_graphs
from nnc.verify.twin import map_training

Otherwise = Callable[[Builder, Node, list[Tensor]], Tensor | None]


@dataclass(frozen=True)
class Peer:
    """The NumPy backend, given step graphs in which `op` is computed otherwise."""

    name: str
    op: str
    otherwise: Otherwise

    emitters = nnc_numpy.backend.emitters

    def emit(self, training: Training) -> str:
        return nnc_numpy.backend.emit(map_graphs(training, self.rewrite))

    def rewrite(self, graph: Graph) -> None:
        legalize(graph, self.emitters)
        builder = Builder(graph)
        for node in [node for node in graph if node.op == self.op and "@loss" in graph.outputs]:
            with builder.at(node.origin):
                operands = [builder.tensor(value) for value in node.operands]
                new = self.otherwise(builder, node, operands)
            if new is not None:
                graph.replace(Value(node.id), new.value)

    def version(self) -> str:
        return self.name

    def devices(self) -> list[str]:
        return ["cpu"]


def from_the_end(builder: Builder, node: Node, xs: list[Tensor]) -> Tensor | None:
    """A sum over the elements in the opposite order, in two parts where their number is even."""
    axis = node.attrs["axes"][0]
    x = xs[0].emit("reverse", axes=node.attrs["axes"])
    size = x.shape[axis]
    if not isinstance(size, int) or size % 2:
        return x.sum(node.attrs["axes"])
    first, second = halves(x, axis, size)
    return first.sum(node.attrs["axes"]) + second.sum(node.attrs["axes"])


def in_two_parts(builder: Builder, node: Node, xs: list[Tensor]) -> Tensor | None:
    """A product of matrices as the sum of two, each over half of what is summed."""
    (left, *_), (right, *_) = contract = node.attrs["contract"]
    size = xs[0].shape[left] if contract[0] else 0
    if not isinstance(size, int) or size < 2:
        return None
    parts = zip(halves(xs[0], left, size), halves(xs[1], right, size), strict=True)
    first, second = (builder.emit("dot", x, y, **node.attrs) for x, y in parts)
    result: Tensor = first + second
    return result


def halves(x: Tensor, axis: int, size: int) -> tuple[Tensor, Tensor]:
    def part(start: int, stop: int) -> Tensor:
        low = tuple(start if a == axis else 0 for a in range(x.rank))
        high = tuple(stop if a == axis else dim for a, dim in enumerate(x.shape))
        piece: Tensor = x.emit("slice", start=low, stop=high, step=(1,) * x.rank)
        return piece

    return part(0, size // 2), part(size // 2, size)


def in_another_order(builder: Builder, node: Node, xs: list[Tensor]) -> Tensor | None:
    """(a * b) * c as a * (b * c), and a * (b * c) as (a * b) * c."""
    left, right = (builder.graph.producer(x.value) for x in xs)
    if left.op == "mul":
        a, b = (builder.tensor(value) for value in left.operands)
        return a * (b * xs[1])
    if right.op == "mul":
        b, c = (builder.tensor(value) for value in right.operands)
        return (xs[0] * b) * c
    return None


def by_reciprocal(builder: Builder, node: Node, xs: list[Tensor]) -> Tensor | None:
    return xs[0] * (1.0 / xs[1])


class Core(NumpyBackend):
    """NumPy without composites: convolutions are windows and products, softmax exp and sum."""

    name = "core"
    emitters: Mapping[str, Any] = {
        op: emit for op, emit in NumpyBackend.emitters.items() if not OPS[op].composite
    }


class Wide(NumpyBackend):
    """All in float64, with float32 only at the border: a framework with arrays of its own."""

    name = "wide"

    def emit(self, training: Training) -> str:
        if any(entry.type.dtype == "f64" for entry in training.state.values()):
            return super().emit(training)
        return super().emit(map_training(training, as_float64, widened)) + BORDER


BORDER = '''

def from_numpy(arrays):
    """Arrays with floats in float64."""
    return {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in arrays.items()}


def to_numpy(state):
    """Arrays with floats in float32."""
    state = {path: np.asarray(value) for path, value in state.items()}
    return {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in state.items()}
'''


def widened(entry: StateEntry, change: Callable[[Graph], Graph]) -> StateEntry:
    """An entry in float64 that begins as the float32 one does."""
    init = entry.init.copy()
    builder = Builder(init)
    ((name, value),) = init.outputs.items()
    init.outputs = {name: builder.tensor(value).cast("f64").value}
    return replace(entry, type=entry.type.with_dtype("f64"), init=init)


PEERS = (
    nnc_numpy.backend,
    Core(),
    Wide(),
    Peer("from_the_end", "sum", from_the_end),
    Peer("in_two_parts", "dot", in_two_parts),
    Peer("in_another_order", "mul", in_another_order),
    Peer("by_reciprocal", "div", by_reciprocal),
)
