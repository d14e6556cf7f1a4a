"""Where the values of a graph lie in memory: which have bytes of their own, which are views.

As arrays of NumPy and PyTorch do it: a transposition, a slice or a broadcast is another look at
the same bytes, and so is a reshape where strides can say it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from nnc.ir.dims import Dim, substitute, symbols
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.types import NUMPY_DTYPES, TensorType
from nnc.ops.registry import OPS

#: ops whose result is their first operand as it is
IDENTITIES = ("stop_gradient", "with_gradient", "on_gradient")

Strides = tuple[int, ...]


def count(dim: Dim) -> int:
    """A dim as a number, for one sample where only a batch fixes it."""
    value = substitute(dim, dict.fromkeys(symbols(dim), 1))
    return value if isinstance(value, int) else 1


def item_bytes(dtype: str) -> int:
    return 2 if dtype == "bf16" else np.dtype(NUMPY_DTYPES[dtype]).itemsize


def bytes_of(type: TensorType) -> int:
    return count(type.size) * item_bytes(type.dtype)


class Storage:
    """For each value of `nodes`, in order of computation, the value whose bytes it has.

    Values of the nodes in `placed` have none: they are written over something that is there.
    """

    def __init__(self, graph: Graph, nodes: Iterable[Node], placed: frozenset[int] = frozenset()):
        self.graph = graph
        self.placed = placed
        self._owners: dict[Value, Value] = {}
        self._strides: dict[Value, Strides] = {}
        for node in nodes:
            self._place(node)

    def owner(self, value: Value) -> Value:
        return self._owners.get(value, value)

    def is_view(self, value: Value) -> bool:
        return self.owner(value) != value

    def bytes(self, value: Value) -> int:
        """What `value` itself has allocated: nothing for a view."""
        if self.is_view(value) or value.node in self.placed:
            return 0
        return bytes_of(self.graph.type(value))

    def _place(self, node: Node) -> None:
        for index, type in enumerate(node.types):
            self._strides[Value(node.id, index)] = contiguous(sizes(type))
        if node.op == "barrier":
            for index, held in enumerate(node.operands):
                self._owners[Value(node.id, index)] = self.owner(held)
                self._strides[Value(node.id, index)] = self._strides[held]
            return
        if len(node.types) != 1 or not node.operands:
            return
        source, result = node.operands[0], Value(node.id)
        strides = self._view(node, sizes(self.graph.type(source)), self._strides.get(source))
        if strides is not None and node.type.dtype == self.graph.type(source).dtype:
            self._owners[result] = self.owner(source)
            self._strides[result] = strides

    def _view(self, node: Node, shape: Sequence[int], strides: Strides | None) -> Strides | None:
        """The strides of the result of `node` as a view of its operand; None where it is none."""
        if strides is None:
            return None
        attrs = node.attrs
        if node.op in IDENTITIES:
            return strides
        if node.op == "reshape":
            return reshaped(shape, strides, sizes(node.type))
        if node.op == "transpose":
            return tuple(strides[axis] for axis in attrs["perm"])
        if node.op == "slice":
            return tuple(s * count(step) for s, step in zip(strides, attrs["step"], strict=True))
        if node.op == "reverse":
            return tuple(-s if axis in attrs["axes"] else s for axis, s in enumerate(strides))
        if node.op == "broadcast" and self.graph.producer(node.operands[0]).op != "const":
            kept = dict(zip(attrs["axes"], strides, strict=True))
            return tuple(kept.get(axis, 0) for axis in range(node.type.rank))
        return None


def sizes(type: TensorType) -> tuple[int, ...]:
    return tuple(map(count, type.shape))


def contiguous(shape: Sequence[int]) -> Strides:
    """Strides, in elements, of an array in the order of C."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(size, 1))
    return tuple(reversed(strides)) if shape else ()


def reshaped(old: Sequence[int], strides: Strides, new: Sequence[int]) -> Strides | None:
    """The strides with which a view of `old` and `strides` has the shape `new`, where one has.

    The axes of both are taken in the shortest groups of equal size, as `numpy.reshape` does; those
    of a group of `old` must lie one inside the other, without a gap.
    """
    if 0 in new:
        return contiguous(new)
    olds = [(size, stride) for size, stride in zip(old, strides, strict=True) if size != 1]
    found: list[int] = []
    at = begin = 0
    while at < len(olds):
        after, end = at + 1, begin + 1
        total, made = olds[at][0], new[begin]
        while total != made:
            if made < total:
                made, end = made * new[end], end + 1
            else:
                total, after = total * olds[after][0], after + 1
        if any(outer[1] != inner[0] * inner[1] for outer, inner in pairwise(olds[at:after])):
            return None
        found += [olds[after - 1][1] * stride for stride in contiguous(new[begin:end])]
        at, begin = after, end
    return (*found, *(1 for _ in new[begin:]))


def is_elementwise(node: Node) -> bool:
    return OPS[node.op].family == "elementwise"
