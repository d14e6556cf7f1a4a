"""An evaluation over many batches from one over a single batch (semantics 18).

A metric is written for one batch of N samples.  Over a whole part of the data it must not become
the mean of the batches' values: what sums over the samples is added up over batches, what needs
all samples at once (ranks, sorting) is computed from values collected over all of them, and the
arithmetic around both runs once, at the end.

Each value of the graph is *per batch* (computed before anything mixes samples) or *final*.  A node
that mixes samples of per-batch operands is the border: where it is additive over N its result is an
accumulator; otherwise its operands are collected.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nnc.ir.builder import Builder, Tensor
from nnc.ir.dims import Poly, symbols
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.types import TensorType

#: Reductions over samples: how the results of two batches combine.
MERGING = {"sum": "sum", "max": "max", "min": "min", "dot": "sum", "scatter_add": "sum"}
#: Ops that keep samples apart whatever their attributes say, along every axis they do not name.
ALONG_AXIS = {"argsort", "cumsum", "argmax", "argmin", "softmax", "log_softmax", "logsumexp",
              "take_along", "reverse", "concat"}


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

    def run(self) -> None:
        for node in self.graph:
            if self._is_shared(node):
                self._copy(node, 0)
                self._copy(node, 1)
            elif self._is_final(node):
                self._copy(node, 1)
            elif self._mixes(node):
                self._accumulate(node)
            else:
                self._copy(node, 0)
        for name, value in self.graph.outputs.items():
            self.split.finish.outputs[name] = self._in_finish(value).value

    # ------------------------------------------------------------ analysis
    def _depends(self, type: TensorType) -> bool:
        return any(self.size in symbols(dim) for dim in type.shape)

    def _is_shared(self, node: Node) -> bool:
        """Whether no sample is involved: such a value (a weight penalty) exists on both sides."""
        if any(self._depends(t) for t in node.types) or node.op == "size":
            return False
        return all(v in self.local and v in self.final for v in node.operands)

    def _is_final(self, node: Node) -> bool:
        if any(value not in self.local for value in node.operands):
            return True
        # The number of samples is known only at the end.
        return node.op == "size" and self.size in symbols(node.attrs["dim"])

    def _mixes(self, node: Node) -> bool:
        """Whether a result of per-batch operands combines samples."""
        spread = [self._depends(self.graph.type(v)) for v in node.operands]
        if not any(spread):
            return False
        if not all(self._depends(t) for t in node.types):
            return True
        if node.op in ALONG_AXIS:
            axes = node.attrs.get("axes", (node.attrs.get("axis"),))
            shape = self.graph.type(node.operands[0]).shape
            return any(isinstance(shape[a], Poly) and self.size in symbols(shape[a]) for a in axes)
        return node.op in ("slice", "pad") and self._cuts_samples(node)

    def _cuts_samples(self, node: Node) -> bool:
        before = self.graph.type(node.operands[0]).shape
        after = node.types[0].shape
        return any(self.size in symbols(b) and b != a for b, a in zip(before, after, strict=True))

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

    def _accumulate(self, node: Node) -> None:
        how = MERGING.get(node.op)
        operands = [self.graph.type(v) for v in node.operands]
        if how is None or (node.op in ("max", "min") and not node.type.is_float):
            self._copy(node, 1)  # its operands are collected
            return
        if node.op == "scatter_add" and self._depends(operands[0]):
            self._copy(node, 1)
            return
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
        if self._depends(self.graph.type(value)) and not self._cheap(node):
            collected = self._collect(value, node)
            self.final[value] = collected
            return collected
        operands = [self._in_finish(v) for v in node.operands]
        for index, result in enumerate(self._emit(node, 1, operands)):
            self.final[Value(node.id, index)] = result
        return self.final[value]

    def _cheap(self, node: Node) -> bool:
        """Values that depend on the number of samples alone (iota, broadcasts of constants)."""
        if node.op in ("iota", "size"):
            return True
        return node.op == "broadcast" and not self._depends(self.graph.type(node.operands[0]))

    def _collect(self, value: Value, node: Node) -> Tensor:
        """Concatenated over batches; the sample axis stands first for that."""
        tensor = self.local[value]
        axis = next(i for i, d in enumerate(tensor.shape) if self.size in symbols(d))
        order = (axis, *(i for i in range(tensor.rank) if i != axis))
        back = tuple(order.index(i) for i in range(tensor.rank))
        passed = self._pass(tensor.transpose(order), node.name or node.op, "collect")
        return passed.transpose(back)
