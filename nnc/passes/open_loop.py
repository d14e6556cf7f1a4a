"""A `scan` while a pass changes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node, Value
from nnc.ops.bodies import fresh_name


@dataclass
class OpenLoop:
    """A `scan` with a copy of its body, to which operands and results can be added."""

    graph: Graph
    node: Node
    body: Graph = field(init=False)
    changed: bool = False

    def __post_init__(self) -> None:
        attrs = self.node.attrs
        self.body = attrs["body"].copy()
        self.outer = Builder(self.graph, self.node.origin)
        self.inner = Builder(self.body, self.node.origin)
        self.operands = [self.outer.tensor(value) for value in self.node.operands]
        self.carries: int = attrs["carries"]
        self.axes: list[int] = list(attrs["axes"])
        self.out_axes: list[int] = list(attrs["out_axes"])
        self.names = set(self.body.input_names)
        self.output_names = set(self.body.outputs)
        self.varying = reachable(self.body, self.body.inputs[: 1 + self.carries + len(self.axes)])

    @property
    def stacks(self) -> range:
        """The indices of outputs that are stacked."""
        return range(self.carries, len(self.body.outputs))

    def port(self, index: int) -> Value:
        """What the body calls the operand `index`."""
        return Value(self.body.inputs[index + 1])

    def operand(self, value: Value) -> int | None:
        """The index of the operand that `value` of the body stands for."""
        if value.node not in self.body.inputs[1:]:
            return None
        return self.body.inputs.index(value.node) - 1

    def sequence(self, value: Value) -> tuple[Tensor, int] | None:
        """The whole sequence, and its scanned axis, of which `value` is the slice of one round."""
        index = self.operand(value)
        if index is None or not 0 <= index - self.carries < len(self.axes):
            return None
        return self.operands[index], self.axes[index - self.carries]

    def is_invariant(self, value: Value) -> bool:
        return value.node not in self.varying

    def output(self, index: int) -> Value:
        return list(self.body.outputs.values())[index]

    def set_output(self, index: int, value: Value) -> None:
        self.body.outputs[list(self.body.outputs)[index]] = value

    def add_capture(self, x: Tensor, name: str) -> Value:
        self.operands.append(x)
        return self.inner.input(fresh_name(name, self.names), x.type).value

    def add_sequence(self, x: Tensor, axis: int, name: str) -> Value:
        type = x.type.with_shape(x.shape[:axis] + x.shape[axis + 1 :])
        port = self.inner.input(fresh_name(name, self.names), type).value
        place = self.carries + len(self.axes)
        self.operands.insert(place, x)
        self.body.inputs.insert(place + 1, self.body.inputs.pop())
        self.axes.append(axis)
        self.varying.add(port.node)
        return port

    def replace(self, old: Value, new: Value) -> None:
        """Let the body read `new` for `old`."""
        self.body.replace(old, new)
        self.changed = True

    def add_stack(self, value: Value, axis: int, name: str = "") -> int:
        """The index of an output that stacks `value`: one there is, or a new one along `axis`,
        called by `name` or as its node is."""
        for index in self.stacks:
            if self.output(index) == value:
                return index
        node = self.body.producer(value)
        self.body.outputs[fresh_name(name or node.name or node.op, self.output_names)] = value
        self.out_axes.append(axis)
        self.changed = True
        return len(self.body.outputs) - 1

    def emit(self) -> tuple[Tensor, ...]:
        """The changed loop, beside the old one."""
        attrs = {
            **self.node.attrs,
            "body": self.body,
            "sequences": len(self.axes),
            "axes": tuple(self.axes),
            "out_axes": tuple(self.out_axes),
        }
        made: tuple[Tensor, ...] = self.outer.emit(
            "scan", *self.operands, name=self.node.name, **attrs
        )
        return made

    def settle(self) -> tuple[Tensor, ...]:
        """Put the changed loop in the place of the old one; its results, with those added."""
        results = self.emit()
        values = [x.value for x in results[: len(self.node.types)]]
        self.graph.replace_results(self.node, values)
        self.graph.remove(self.node.id)
        return results


def reachable(graph: Graph, sources: Iterable[int]) -> set[int]:
    """`sources` and the nodes that depend on them."""
    found: set[int] = set()
    stack = list(sources)
    while stack:
        id = stack.pop()
        if id not in found:
            found.add(id)
            stack.extend(graph.nx.successors(id))
    return found
