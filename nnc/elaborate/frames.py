"""Graphs under construction: the one being written, and the bodies of loops around the place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nnc.ir.builder import Builder, Tensor
from nnc.ir.dims import Dim
from nnc.ir.graph import Node, Value

if TYPE_CHECKING:
    from nnc.elaborate.layers import Layers

#: stands in paths for the number of a layer that a loop goes over
STAR = "*"


@dataclass
class Counting:
    """A loop over `0..length`: its counter, and what the counter alone indexes.

    Indexing a sequence by the counter makes it a scanned operand: as a slice its gradient would be
    quadratic in the length (semantics 7).
    """

    counter: Value
    length: Dim
    elements: dict[tuple[Value, int], Tensor] = field(default_factory=dict)  # (outer value, axis)


@dataclass
class Frame:
    """A graph under construction; inner frames capture values of outer ones.

    The body of a loop over `layers` has slices of outer values besides, its `elements`.
    """

    builder: Builder
    captures: dict[Value, Tensor] = field(default_factory=dict)
    counting: Counting | None = None
    layers: Layers | None = None
    elements: dict[Value, Tensor] = field(default_factory=dict)

    numbers: dict[str, int] = field(default_factory=dict)  # how often a name was wanted

    def new_name(self, hint: str) -> str:
        """`hint`, or with a number where an input has that name."""
        if not self.numbers:
            self.numbers = dict.fromkeys(self.builder.graph.input_names, 1)
        name = hint
        while name in self.numbers:
            self.numbers[hint] += 1
            name = f"{hint}_{self.numbers[hint]}"
        self.numbers[name] = 1
        return name

    def capture(self, outer: Tensor) -> Tensor:
        """`outer`, of the frame around, as this one sees it."""
        inner = self.captures.get(outer.value)
        if inner is None:
            hint = outer.builder.graph.producer(outer.value).name or "captured"
            inner = self.builder.input(self.new_name(hint), outer.type, "capture")
            self.captures[outer.value] = inner
        return inner

    def element(self, outer: Tensor) -> Tensor:
        """The slice of `outer`, of the frame around, that belongs to the round of this one."""
        inner = self.elements.get(outer.value)
        if inner is None:
            type = outer.type.with_shape(outer.shape[1:])
            name = self.new_name(_layer_name(outer.builder.graph.producer(outer.value)))
            inner = self.builder.input(name, type, "element")
            self.elements[outer.value] = inner
        return inner

    def captured(self, inner: Tensor) -> Value | None:
        """The value outside that `inner` stands for."""
        return next((v for v, own in self.captures.items() if own.value == inner.value), None)


def _layer_name(node: Node) -> str:
    """What a round calls its slice of a stack: `dense_0_w` of `net.layer_0.*.dense_0.w`."""
    return (node.name or node.op).rpartition(f"{STAR}.")[2].replace(".", "_")
