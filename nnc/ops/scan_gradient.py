"""The gradient of `scan`: a scan in the other direction.

The body is differentiated as a graph.  What its backward part reads of the forward part reaches the
reversed loop in the cheapest way there is: operands as they are, constants and mere views computed
again, loop invariants computed once outside, and the rest as stacks that the forward scan gives in
addition.  For that the forward node is extended in place; its results so far keep their numbers, so
nothing is computed twice and no reader notices.  Cotangents of captures add up in carries of the
reversed loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.reverse import ancestors
from nnc.ir.splice import splice
from nnc.ops.bodies import fresh_name
from nnc.ops.scan_joint import Joint, Loop

#: Computed again in the reversed body: they cost next to nothing, and keeping what they read never
#: takes more memory than keeping what they give.
RECOMPUTED = {"const", "iota", "size", "broadcast", "reshape", "transpose"}


def scan_gradient(
    dys: Sequence[Tensor | None],
    ys: Sequence[Tensor],
    xs: Sequence[Tensor],
    wanted: Sequence[bool],
    attrs: dict[str, Any],
) -> list[Tensor | None]:
    """The cotangents of the operands `xs` of a scan, for those of its results; None where none."""
    loop = Loop(xs, ys, **attrs)
    active, live = loop.live_ports(wanted, [k for k, dy in enumerate(dys) if dy is not None])
    joint = Joint.of(loop, active, live, dys)
    if not joint.cotangents:
        return [None] * len(xs)
    reversed_loop = Reversed(loop, joint)
    reversed_loop.feed_forward_values()
    reversed_loop.feed_cotangents(dys)
    found = reversed_loop.emit()
    return [found.get(index) for index in range(len(xs))]


@dataclass
class Port:
    """An operand of the reversed loop and the value of the joint body that it stands for.

    `axis` is the scanned axis of a sequence.
    """

    name: str
    operand: Tensor
    stands_for: Value | None = None
    axis: int | None = None


@dataclass
class Reversed:
    """The reversed loop under construction."""

    loop: Loop
    joint: Joint
    carries: list[Port] = field(default_factory=list)
    sequences: list[Port] = field(default_factory=list)
    captures: list[Port] = field(default_factory=list)
    recomputed: list[Node] = field(default_factory=list)

    def feed_forward_values(self) -> None:
        """Find a way into the reversed body for each value that its backward part reads."""
        graph, loop = self.joint.graph, self.loop
        leaves, again = self._leaves()
        varying = self._varying()
        ordered = list(graph)
        self.recomputed = [node for node in ordered if node.id in again]
        operand_of = {value: index for index, value in enumerate(loop.inputs)}
        stack_of = {value: k for k, value in enumerate(loop.outputs) if k >= loop.carries}
        saved, invariant = [], []
        for value in leaves:
            index = operand_of.get(value, -1)
            if value == loop.iteration:
                continue
            if index >= loop.carries + loop.sequences:
                self.captures.append(Port(loop.name(index), loop.xs[index], value))
            elif index >= loop.carries:
                axis = loop.axes[index - loop.carries]
                self.sequences.append(Port(loop.name(index), loop.xs[index], value, axis))
            elif value in stack_of:
                axis = loop.out_axes[stack_of[value] - loop.carries]
                stack, name = loop.ys[stack_of[value]], list(graph.outputs)[stack_of[value]]
                self.sequences.append(Port(name, stack, value, axis))
            elif value.node not in varying:
                invariant.append(value)
            else:
                saved.append(value)
        self._hoist(ordered, invariant)
        self.joint.drop_backward()
        self._save(saved)

    def _leaves(self) -> tuple[list[Value], set[int]]:
        """What has to come from outside, and the nodes that the reversed body computes again."""
        leaves: dict[Value, None] = {}
        again: set[int] = set()
        stack = self.joint.forward_reads(self.loop)[::-1]
        while stack:
            value = stack.pop()
            node = self.joint.graph.producer(value)
            if node.op not in RECOMPUTED:
                leaves[value] = None
            elif node.id not in again:
                again.add(node.id)
                stack.extend(node.operands)
        return list(leaves), again

    def _varying(self) -> set[int]:
        """The nodes that differ from step to step."""
        loop = self.loop
        stack = [loop.iteration, *loop.inputs[: loop.carries + loop.sequences]]
        ids = [value.node for value in stack]
        varying: set[int] = set()
        while ids:
            id = ids.pop()
            if id not in varying:
                varying.add(id)
                ids.extend(self.joint.graph.nx.successors(id))
        return varying

    def _hoist(self, ordered: list[Node], invariant: list[Value]) -> None:
        """Compute loop invariants once, outside."""
        needed = ancestors(self.joint.graph, invariant)
        mapping = {value: x.value for value, x in zip(self.loop.inputs, self.loop.xs, strict=True)}
        nodes = (node for node in ordered if node.id in needed and node.op != "input")
        splice(self.loop.builder, nodes, mapping)
        for value in invariant:
            operand = self.loop.builder.tensor(mapping[value])
            self.captures.append(Port(_hint(self.joint.graph, value), operand, value))

    def _save(self, values: list[Value]) -> None:
        """Let the forward scan stack `values` too."""
        if not values:
            return
        graph, node = self.joint.graph, self.loop.node
        taken = set(graph.outputs)
        for value in values:
            name = _hint(graph, value)
            graph.outputs[fresh_name(f"{name}_before" if name in taken else name, taken)] = value
            result = Value(node.id, len(node.types))
            type = graph.type(value)
            node.types += (type.with_shape((self.loop.length, *type.shape)),)
            self.sequences.append(Port(name, self.loop.builder.tensor(result), value, 0))
        out_axes = self.loop.out_axes + (0,) * len(values)
        node.attrs = {**node.attrs, "body": graph, "out_axes": out_axes}

    def feed_cotangents(self, dys: Sequence[Tensor | None]) -> None:
        """Carries for the cotangents of carries and captures, sequences for those of stacks."""
        loop, builder = self.loop, self.loop.builder
        names = list(loop.body.outputs)

        def zeros(x: Tensor) -> Tensor:
            return builder.full(0, x.dtype, x.shape)

        for k, value in self.joint.arriving.items():
            dy, name = dys[k], names[k]
            if k < loop.carries:
                dy = zeros(loop.xs[k]) if dy is None else dy
                self.carries.append(Port(f"d_{loop.name(k)}", dy, value))
            else:
                assert dy is not None
                axis = loop.out_axes[k - loop.carries]
                self.sequences.append(Port(f"d_{name}", dy, value, axis))
        for index in self.joint.cotangents:
            if index >= loop.carries + loop.sequences:
                self.carries.append(Port(f"d_{loop.name(index)}", zeros(loop.xs[index])))

    def emit(self) -> dict[int, Tensor]:
        """Build the body and the loop; the cotangents by operand of the forward loop."""
        loop, joint = self.loop, self.joint
        by_role = [
            sorted(joint.cotangents.keys() & role)
            for role in (
                set(range(loop.carries)),
                set(range(loop.carries + loop.sequences, len(loop.xs))),
                set(range(loop.carries, loop.carries + loop.sequences)),
            )
        ]
        ports = [*self.carries, *self.sequences, *self.captures]
        out_axes = tuple(loop.axes[index - loop.carries] for index in by_role[2])
        results = loop.builder.emit(
            "scan",
            *(port.operand for port in ports),
            name=f"d_{loop.node.name}" if loop.node.name else "",
            body=self._body(ports, *by_role),
            carries=len(self.carries),
            sequences=len(self.sequences),
            axes=tuple(port.axis for port in self.sequences),
            out_axes=out_axes,
            length=loop.length,
            reverse=not loop.reverse,
        )
        return dict(zip((index for role in by_role for index in role), results, strict=True))

    def _body(
        self, ports: list[Port], carried: list[int], captured: list[int], scanned: list[int]
    ) -> Graph:
        loop, joint = self.loop, self.joint
        body = Graph(f"d_{loop.body.name}" if loop.body.name else "")
        builder = Builder(body, loop.builder.origin)
        taken: set[str] = set()
        iteration = loop.body.producer(loop.iteration)
        name = fresh_name(iteration.attrs["name"], taken)
        mapping = {loop.iteration: builder.input(name, iteration.type).value}
        inputs = []
        for port in ports:
            type = port.operand.type
            if port.axis is not None:
                type = type.with_shape(type.shape[: port.axis] + type.shape[port.axis + 1 :])
            inputs.append(builder.input(fresh_name(port.name, taken), type))
            if port.stands_for is not None:
                mapping[port.stands_for] = inputs[-1].value
        splice(builder, [*self.recomputed, *joint.backward], mapping)
        found = {i: builder.tensor(mapping[value]) for i, value in joint.cotangents.items()}
        for index, total in zip(captured, inputs[len(carried) :], strict=False):
            found[index] = total + found[index]
        names: set[str] = set()
        for index in (*carried, *captured, *scanned):
            body.outputs[fresh_name(f"d_{loop.name(index)}", names)] = found[index].value
        return body


def _hint(graph: Graph, value: Value) -> str:
    """A name for `value`: its own, or that of its op; a cast is called by what it casts."""
    node = graph.producer(value)
    if node.op == "cast" and not node.name:
        return f"{_hint(graph, node.operands[0])}_{node.type.dtype}"
    return node.name or node.op
