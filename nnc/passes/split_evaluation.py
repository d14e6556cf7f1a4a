"""An evaluation over many batches from one over a single batch (semantics 18).

A metric is written for one batch of N samples.  Over a whole part of the data it must not become
the mean of the batches' values: what sums over the samples is added up over batches, what needs
all samples at once (ranks, sorting, pairs) is computed from values collected over all of them, and
the arithmetic around both runs once, at the end.

Each value of the graph is *per batch* (every sample is treated alone, see `samples`) or *final*.
A node that mixes the samples of per-batch operands is the border: where it is additive its result
is an accumulator; otherwise its operands are collected.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node, Value
from nnc.passes.samples import Reduced, reads_size, sample_axes


@dataclass
class Split:
    """The two graphs, and how each accumulator of `batch` combines over batches."""

    batch: Graph
    finish: Graph
    merge: dict[str, str] = field(default_factory=dict)


def split_evaluation(graph: Graph, size: str = "N") -> Split:
    """Cut `graph`, whose batch dimension is the symbol `size`."""
    cutter = _Cutter(graph, size)
    cutter.run()
    return cutter.split


class _Cutter:
    def __init__(self, graph: Graph, size: str):
        self.graph = graph
        self.size = size
        self.split = Split(Graph(graph.name), Graph(f"{graph.name} finish"))
        self.builders = (Builder(self.split.batch), Builder(self.split.finish))
        # Where each value exists: in the batch graph, in the finish graph, or both.
        self.local: dict[Value, Tensor] = {}
        self.final: dict[Value, Tensor] = {}
        # The sample axis of each value of the batch graph; None: the same for all batches.
        self.axes: dict[Value, int | None] = {}

    def run(self) -> None:
        for node in self.graph:
            known = all(value in self.local for value in node.operands)
            if not known or reads_size(node, self.size):
                self._copy(node, 1)
                continue
            operands = tuple(self.axes[value] for value in node.operands)
            found = sample_axes(self.graph, node, operands, self.size)
            if isinstance(found, Reduced):
                self._accumulate(node, found.how)
            elif found is None:
                self._copy(node, 1)  # its operands are collected
            else:
                self._keep(node, found)
        for name, value in self.graph.outputs.items():
            self.split.finish.outputs[name] = self._in_finish(value).value

    def _keep(self, node: Node, axes: tuple[int | None, ...]) -> None:
        """In the batch graph; where no sample is involved (a weight penalty), on both sides."""
        self._copy(node, 0)
        self.axes |= {Value(node.id, index): axis for index, axis in enumerate(axes)}
        shared = all(value in self.final for value in node.operands)
        if shared and all(axis is None for axis in axes):
            self._copy(node, 1)

    # ------------------------------------------------------------ copying
    def _copy(self, node: Node, side: int) -> None:
        table = self.final if side else self.local
        operands = [self._in_finish(v) if side else self.local[v] for v in node.operands]
        for index, result in enumerate(self._emit(node, side, operands)):
            table[Value(node.id, index)] = result

    def _emit(self, node: Node, side: int, operands: list[Tensor]) -> tuple[Tensor, ...]:
        builder = self.builders[side]
        with builder.at(node.origin):
            if node.op == "input":
                return (builder.input(node.attrs["name"], node.type, node.attrs["kind"]),)
            made = builder.emit(node.op, *operands, name=node.name, **node.attrs)
        return made if isinstance(made, tuple) else (made,)

    # ------------------------------------------------------------ from one side to the other
    def _accumulate(self, node: Node, how: str) -> None:
        (result,) = self._emit(node, 0, [self.local[v] for v in node.operands])
        self.final[Value(node.id)] = self._pass(result, node.name or node.op, how)

    def _pass(self, value: Tensor, hint: str, how: str) -> Tensor:
        name, number = hint, 1
        while name in self.split.merge:
            number += 1
            name = f"{hint}_{number}"
        self.split.merge[name] = how
        self.split.batch.outputs[name] = value.value
        return self.builders[1].input(name, value.type, "accumulator")

    def _in_finish(self, value: Value) -> Tensor:
        """`value` in the finish graph: there already, computed again, or collected."""
        if value in self.final:
            return self.final[value]
        node = self.graph.producer(value)
        if self.axes[value] is not None and not self._cheap(node):
            self.final[value] = self._collect(value, node)
        else:
            self._copy(node, 1)
        return self.final[value]

    def _cheap(self, node: Node) -> bool:
        """Values that depend on the number of samples alone (counters, broadcasts of constants)."""
        if node.op == "iota":
            return True
        return node.op == "broadcast" and self.axes[node.operands[0]] is None

    def _collect(self, value: Value, node: Node) -> Tensor:
        """Concatenated over batches; the sample axis stands first for that."""
        tensor, axis = self.local[value], self.axes[value]
        assert axis is not None
        order = (axis, *(i for i in range(tensor.rank) if i != axis))
        back = tuple(order.index(i) for i in range(tensor.rank))
        passed = self._pass(tensor.transpose(order), node.name or node.op, "collect")
        return passed.transpose(back)
