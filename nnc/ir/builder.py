"""Adding nodes to a graph with their types inferred; `Tensor`, a value that has operators.

Everything that writes graph code (the elaborator, gradients, decompositions, rules) does it through
`Builder.emit`, so no node exists whose type its own op's rule did not compute.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnc.ir.dims import Dim, product
from nnc.ir.graph import Array, Graph, Node, Origin, Value
from nnc.ir.types import TensorType, same_shape
from nnc.ops.registry import OPS


class At:
    """While it is entered, nodes of a builder come from `origin`."""

    __slots__ = ("before", "builder", "origin")

    def __init__(self, builder: Builder, origin: tuple[Origin, ...]):
        self.builder, self.origin, self.before = builder, origin, builder.origin

    def __enter__(self) -> None:
        self.before, self.builder.origin = self.builder.origin, self.origin

    def __exit__(self, *_: object) -> None:
        self.builder.origin = self.before


class Builder:
    """Appends to `graph`; `origin` is given to every node until it is changed."""

    def __init__(self, graph: Graph, origin: tuple[Origin, ...] = ()):
        self.graph = graph
        self.origin = origin

    def at(self, origin: tuple[Origin, ...]) -> At:
        """Nodes emitted inside come from `origin`."""
        return At(self, origin)

    def emit(self, op: str, *operands: Tensor, name: str = "", **attrs: Any) -> Any:
        """A `Tensor`, or a tuple of them for an op of several results; `OpError` if refused."""
        inferred = OPS[op].infer(*[x.type for x in operands], **attrs)
        types = inferred if isinstance(inferred, tuple) else (inferred,)
        values = [x.value for x in operands]
        node = self.graph.insert(op, values, attrs, types, name, self.origin)
        return self.results(node) if types is inferred else Tensor(self, Value(node.id))

    def results(self, node: Node) -> tuple[Tensor, ...]:
        return tuple(Tensor(self, Value(node.id, i)) for i in range(len(node.types)))

    def tensor(self, value: Value) -> Tensor:
        return Tensor(self, value)

    def input(self, name: str, type: TensorType, kind: str = "data") -> Tensor:
        """A graph input.  `kind` says what feeds it: see docs/architecture.md, "Inputs"."""
        node = self.graph.insert(
            "input", (), {"name": name, "kind": kind}, (type,), name, self.origin
        )
        return Tensor(self, Value(node.id))

    def const(self, value: Any, dtype: str) -> Tensor:
        """A scalar from a Python number, or an array constant."""
        if isinstance(value, np.ndarray):
            value = Array(value)
        elif isinstance(value, np.generic):
            value = value.item()
        return self.emit("const", value=value, dtype=dtype)

    def full(self, value: Any, dtype: str, shape: tuple[Dim, ...]) -> Tensor:
        return self.const(value, dtype).expand(shape)


class Tensor:
    """A value of a builder's graph with operators.

    Elementwise operators take an operand of the same shape and element type, a Python number, or a
    tensor of lower rank whose shape is an exact suffix of the other's; the `broadcast` is explicit
    in the graph.  Everything else raises `OpError`.
    """

    __slots__ = ("builder", "value")

    def __init__(self, builder: Builder, value: Value):
        self.builder = builder
        self.value = value

    @property
    def type(self) -> TensorType:
        return self.builder.graph.type(self.value)

    @property
    def dtype(self) -> str:
        return self.type.dtype

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.type.shape

    @property
    def rank(self) -> int:
        return len(self.type.shape)

    def __repr__(self) -> str:
        return f"Tensor(%{self.value.node}:{self.value.index} {self.type})"

    # ------------------------------------------------------------ shapes
    def emit(self, op: str, *others: Tensor, **attrs: Any) -> Any:
        """`op` with this tensor as its first operand."""
        return self.builder.emit(op, self, *others, **attrs)

    def expand(self, shape: tuple[Dim, ...]) -> Tensor:
        """Broadcast to `shape`, of which this tensor's shape is a suffix."""
        if same_shape(self.shape, shape):
            return self
        first = len(shape) - self.rank
        return self.emit("broadcast", shape=tuple(shape), axes=tuple(range(first, len(shape))))

    def broadcast(self, shape: tuple[Dim, ...], axes: tuple[int, ...]) -> Tensor:
        """Axis `i` of this tensor becomes axis `axes[i]` of a result of `shape`."""
        return self.emit("broadcast", shape=tuple(shape), axes=tuple(axes))

    def reshape(self, shape: tuple[Dim, ...]) -> Tensor:
        return self if same_shape(self.shape, shape) else self.emit("reshape", shape=tuple(shape))

    def transpose(self, perm: tuple[int, ...]) -> Tensor:
        return self if perm == tuple(range(self.rank)) else self.emit("transpose", perm=tuple(perm))

    def cast(self, dtype: str) -> Tensor:
        return self if dtype == self.dtype else self.emit("cast", dtype=dtype)

    # ------------------------------------------------------------ reductions
    def sum(self, axes: tuple[int, ...], keep: bool = False) -> Tensor:
        return self._reduce("sum", axes, keep)

    def max(self, axes: tuple[int, ...], keep: bool = False) -> Tensor:
        return self._reduce("max", axes, keep)

    def mean(self, axes: tuple[int, ...], keep: bool = False) -> Tensor:
        count = product([self.shape[a] for a in axes])
        total = self._reduce("sum", axes, keep)
        return total / (
            float(count)
            if isinstance(count, int)
            else self.builder.emit("size", dim=count, dtype=self.dtype)
        )

    def _reduce(self, op: str, axes: tuple[int, ...], keep: bool) -> Tensor:
        axes = tuple(sorted(a % self.rank for a in axes)) if self.rank else ()
        result: Tensor = self.emit(op, axes=axes) if axes else self
        if keep:
            result = result.reshape(tuple(1 if a in axes else d for a, d in enumerate(self.shape)))
        return result

    def restore(self, shape: tuple[Dim, ...], axes: tuple[int, ...]) -> Tensor:
        """Broadcast a result reduced over `axes` back to the `shape` it was reduced from."""
        return self.broadcast(shape, tuple(a for a in range(len(shape)) if a not in axes))

    # ------------------------------------------------------------ arithmetic
    def binary(self, op: str, other: Any) -> Tensor:
        left, right = _match(self, other)
        return self.builder.emit(op, left, right)

    def _rbinary(self, op: str, other: Any) -> Tensor:
        right, left = _match(self, other)
        return self.builder.emit(op, left, right)

    def __add__(self, other: Any) -> Tensor:
        return self.binary("add", other)

    def __radd__(self, other: Any) -> Tensor:
        return self._rbinary("add", other)

    def __sub__(self, other: Any) -> Tensor:
        return self.binary("sub", other)

    def __rsub__(self, other: Any) -> Tensor:
        return self._rbinary("sub", other)

    def __mul__(self, other: Any) -> Tensor:
        return self.binary("mul", other)

    def __rmul__(self, other: Any) -> Tensor:
        return self._rbinary("mul", other)

    def __truediv__(self, other: Any) -> Tensor:
        return self.binary("div", other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self._rbinary("div", other)

    def __neg__(self) -> Tensor:
        return self.emit("neg")

    def __pow__(self, other: Any) -> Tensor:
        return self.binary("pow", other)

    def __gt__(self, other: Any) -> Tensor:
        return self.binary("gt", other)

    def __lt__(self, other: Any) -> Tensor:
        return self.binary("lt", other)

    def __ge__(self, other: Any) -> Tensor:
        return self.binary("ge", other)

    def __le__(self, other: Any) -> Tensor:
        return self.binary("le", other)

    def equals(self, other: Any) -> Tensor:
        """Elementwise equality (`==` on the objects themselves stays Python's)."""
        return self.binary("eq", other)

    def where(self, yes: Any, no: Any) -> Tensor:
        """`yes` where this bool tensor is true, else `no`; numbers take the other's type."""
        model = yes if isinstance(yes, Tensor) else no
        yes, no = (
            (v if isinstance(v, Tensor) else self.builder.const(v, model.dtype)).expand(self.shape)
            for v in (yes, no)
        )
        return self.builder.emit("where", self, yes, no)


def zeros_like(x: Tensor) -> Tensor:
    return x.builder.full(0, x.dtype, x.shape)


def _match(x: Tensor, other: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(other, Tensor):
        return x, x.builder.full(other, x.dtype, x.shape)
    if x.rank >= other.rank:
        return x, other.expand(x.shape)
    return x.expand(other.shape), other
