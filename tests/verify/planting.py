"""Backends with one fault each: the NumPy backend, given a step graph in which one op is wrong.

A fault is planted at a *site*: an op on a line of a program.  Whatever graph the backend is asked
to print (in float32, in float64, with values probed) has the fault there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nnc_numpy import backend as numpy_backend

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.program import Training
from nnc.passes.pipeline import map_graphs
from nnc.train.places import in_library
from tests.verify.programs import line_of

#: (builder, node, operands) -> what the faulty backend computes instead
Wrong = Callable[..., Tensor]


@dataclass(frozen=True)
class Site:
    """The op number `nth` of its kind that comes from the line with `text`.

    It may have to have a name, or to read the result of another kind of op first.
    """

    op: str
    text: str
    nth: int = 0
    name: str = ""
    reads: str = ""
    inside: bool = False  # in the body of the first loop

    def find(self, graph: Graph, program: str) -> Node | None:
        """The node in `graph`; of several step graphs of a program one has it."""
        line = line_of(program, self.text)
        found = [
            node
            for node in graph
            if node.op == self.op and line in own_lines(node)
            if self.name in ("", node.name) and self.reads in ("", first_read(graph, node))
        ]
        return found[self.nth] if found else None


def first_read(graph: Graph, node: Node) -> str:
    return graph.producer(node.operands[0]).op if node.operands else ""


def own_lines(node: Node) -> list[int]:
    return [origin.line for origin in node.origin if not in_library(origin)]


@dataclass(frozen=True)
class Planted:
    """A backend that is wrong at one site of the steps of `program`."""

    name: str
    program: str
    site: Site
    wrong: Wrong

    emitters = numpy_backend.emitters

    def emit(self, training: Training) -> str:
        return numpy_backend.emit(map_graphs(training, self.plant))

    def plant(self, graph: Graph) -> None:
        """Put the fault into a step; other graphs stay as they are."""
        if "@loss" not in graph.outputs:
            return
        if not self.site.inside:
            self.replace(graph)
            return
        loop = next(node for node in graph if node.op == "scan")
        body = loop.attrs["body"].copy()
        self.replace(body)
        loop.attrs = {**loop.attrs, "body": body}

    def replace(self, graph: Graph) -> None:
        node = self.site.find(graph, self.program)
        if node is None:
            return
        builder = Builder(graph, node.origin)
        operands = [builder.tensor(value) for value in node.operands]
        new = self.wrong(builder, node, *operands)
        assert new.type == node.types[0], "a fault that every shape check would find"
        graph.replace(Value(node.id), new.value)

    def version(self) -> str:
        return self.name

    def devices(self) -> list[str]:
        return ["cpu"]


@dataclass(frozen=True)
class Misspelt:
    """A backend that prints one text wrongly."""

    name: str
    program: str
    site: Site
    right: str
    written: str

    emitters = numpy_backend.emitters

    def emit(self, training: Training) -> str:
        source = numpy_backend.emit(training)
        assert self.right in source, source
        return source.replace(self.right, self.written)

    def version(self) -> str:
        return self.name

    def devices(self) -> list[str]:
        return ["cpu"]


# ---------------------------------------------------------------- ways to be wrong
def again(builder: Builder, node: Node, *operands: Tensor, **changed: Any) -> Tensor:
    """The op itself, with attributes `changed`."""
    made = builder.emit(node.op, *operands, **{**node.attrs, **changed})
    result: Tensor = made[0] if isinstance(made, tuple) else made
    return result


def attribute(**changed: Any) -> Wrong:
    """The op with other attributes."""
    return lambda builder, node, *xs: again(builder, node, *xs, **changed)


def times(factor: float) -> Wrong:
    """The op's result, scaled."""
    return lambda builder, node, *xs: again(builder, node, *xs) * factor


def other(op: str) -> Wrong:
    """Another op on the same operands."""
    return lambda builder, node, *xs: builder.emit(op, *xs)


def operand(index: int) -> Wrong:
    """An operand in the place of the result: the op is forgotten."""
    return lambda builder, node, *xs: xs[index]


def swapped(builder: Builder, node: Node, *xs: Tensor) -> Tensor:
    """The operands in the other order."""
    return again(builder, node, *reversed(xs))


def constant(value: float, place: int) -> Wrong:
    """A constant in the place of operand number `place`."""

    def wrong(builder: Builder, node: Node, *xs: Tensor) -> Tensor:
        number = builder.full(value, xs[place].dtype, xs[place].shape)
        return again(builder, node, *(number if i == place else x for i, x in enumerate(xs)))

    return wrong


def producers(builder: Builder, x: Tensor) -> tuple[Tensor, ...]:
    """What the value `x` was computed from."""
    node = builder.graph.producer(x.value)
    return tuple(builder.tensor(value) for value in node.operands)
