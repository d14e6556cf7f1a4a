"""A scan's body with its own gradient appended: the first half of the gradient of `scan`.

Says through which carries a gradient flows and what the backward part of the body reads of the
forward part; `nnc.ops.scan_gradient` makes a reversed loop of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from nnc.ir.builder import Builder, Tensor
from nnc.ir.dims import Dim
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.reverse import active_values, ancestors, vjp
from nnc.ops.bodies import fresh_name, input_values


@dataclass
class Loop:
    """A forward `scan`: operands, results and attributes, and the ports of its body."""

    xs: Sequence[Tensor]
    ys: Sequence[Tensor]
    body: Graph
    carries: int
    sequences: int
    axes: tuple[int, ...]
    out_axes: tuple[int, ...]
    length: Dim
    reverse: bool

    @property
    def builder(self) -> Builder:
        return self.ys[0].builder

    @property
    def node(self) -> Node:
        return self.builder.graph.producer(self.ys[0].value)

    @cached_property
    def iteration(self) -> Value:
        return input_values(self.body)[0]

    @cached_property
    def inputs(self) -> list[Value]:
        """The body's inputs in the order of the operands."""
        return input_values(self.body)[1:]

    @cached_property
    def outputs(self) -> list[Value]:
        return list(self.body.outputs.values())

    def name(self, operand: int) -> str:
        return self.body.input_names[operand + 1]

    def live_ports(self, wanted: Sequence[bool], given: Iterable[int]) -> tuple[set[int], set[int]]:
        """The operands through which something wanted flows, and the results worth a cotangent.

        `given` are the results that have one.  What a carry brings into a step and what the step
        makes of it go round the loop, so both sets grow until they stand.
        """
        active = {index for index, flag in enumerate(wanted) if flag}
        more = active
        while more:
            active |= more
            values = active_values(self.body, [self.inputs[index] for index in active])
            more = {j for j in range(self.carries) if self.outputs[j] in values} - active
        live = more = set(given)
        while more:
            live |= more
            reached = ancestors(self.body, (self.outputs[k] for k in live))
            carries = {j for j in range(self.carries) if self.inputs[j].node in reached}
            more = carries - live
        return active, live


@dataclass
class Joint:
    """The body with its own gradient appended.

    `arriving` maps a result of the loop to the input of `graph` that stands for its cotangent,
    `cotangents` an operand to the cotangent that the body finds for it; `backward` are the nodes of
    the gradient in topological order.
    """

    graph: Graph
    arriving: dict[int, Value]
    cotangents: dict[int, Value]
    backward: list[Node]

    @staticmethod
    def of(loop: Loop, active: set[int], live: set[int], dys: Sequence[Tensor | None]) -> Joint:
        graph = loop.body.copy()
        builder = Builder(graph, loop.builder.origin)
        taken = set(graph.input_names)
        arriving = {}
        for k, name in enumerate(loop.body.outputs):
            is_carry = k < loop.carries
            if k in live and (k in active if is_carry else dys[k] is not None):
                type = graph.type(loop.outputs[k])
                arriving[k] = builder.input(fresh_name(f"d_{name}", taken), type).value
        first = graph.next_id
        carried = [k for k in arriving if k < loop.carries]
        chosen = carried + sorted(index for index in active if index >= loop.carries)
        found = vjp(
            builder,
            [builder.tensor(loop.outputs[k]) for k in arriving],
            [builder.tensor(value) for value in arriving.values()],
            [builder.tensor(loop.inputs[index]) for index in chosen],
        )
        for k, cotangent in zip(carried, found, strict=False):
            if cotangent is None:  # the step forgets this carry
                type = graph.type(loop.inputs[k])
                found[chosen.index(k)] = builder.full(0, type.dtype, type.shape)
        cotangents = {i: ct.value for i, ct in zip(chosen, found, strict=True) if ct is not None}
        backward = [graph.node(id) for id in range(first, graph.next_id) if id in graph.nx]
        return Joint(graph, arriving, cotangents, backward)

    def forward_reads(self, loop: Loop) -> list[Value]:
        """The values of the forward part that the backward part reads, in order of first use."""
        made = {node.id for node in self.backward} | {v.node for v in self.arriving.values()}
        reads = [value for node in self.backward for value in node.operands]
        reads += self.cotangents.values()
        return [value for value in dict.fromkeys(reads) if value.node not in made]

    def drop_backward(self) -> None:
        """Leave the forward part alone in `graph`."""
        for node in reversed(self.backward):
            self.graph.remove(node.id)
        for value in self.arriving.values():
            self.graph.remove(value.node)
