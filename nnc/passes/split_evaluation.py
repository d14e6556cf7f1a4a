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
from nnc.ir.dims import Dim, symbols
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.types import TensorType
from nnc.passes.fold_constants import splat

#: Reductions over samples: how the results of two batches combine.
MERGING = {"sum": "sum", "max": "max", "min": "min", "dot": "sum", "scatter_add": "sum"}
#: Ops that keep samples apart whatever their attributes say, along every axis they do not name.
ALONG_AXIS = {"argsort", "cumsum", "argmax", "argmin", "softmax", "log_softmax", "logsumexp",
              "take", "take_along", "scatter_add", "scatter_add_along", "reverse", "concat"}


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
        if node.op == "reshape":
            return False
        # A size that no operand has: cut, padded, joined along the samples.  Two: pairs of samples.
        known = {d for v in node.operands for d in self._sample_dims(self.graph.type(v))}
        own = [self._sample_dims(t) for t in node.types]
        if any(len(dims) > 1 or dims[0] not in known for dims in own):
            return True
        if node.op == "scan":
            first = node.attrs["carries"]
            sequences = node.operands[first : first + node.attrs["sequences"]]
            return any(
                self._is_samples(v, a) for v, a in zip(sequences, node.attrs["axes"], strict=True)
            )
        if node.op in ALONG_AXIS:
            axes = node.attrs.get("axes", (node.attrs.get("axis"),))
            return any(self._is_samples(node.operands[0], axis) for axis in axes)
        return False

    def _sample_dims(self, type: TensorType) -> list[Dim]:
        return [d for d in type.shape if self.size in symbols(d)]

    def _is_samples(self, value: Value, axis: int) -> bool:
        return self.size in symbols(self.graph.type(value).shape[axis])

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
        if how is None or self._depends(node.type) or not self._is_additive(node):
            self._copy(node, 1)  # its operands are collected
            return
        (result,) = self._emit(node, 0, [self.local[v] for v in node.operands])
        self.final[Value(node.id)] = self._pass(result, node.name or node.op, how)

    def _is_additive(self, node: Node) -> bool:
        """Whether results of two batches combine to that of both."""
        if node.op == "scatter_add":  # what it adds to would be counted once a batch
            start = splat(self.graph, node.operands[0])
            return start is not None and not start
        return node.op not in ("max", "min") or node.type.is_float

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
