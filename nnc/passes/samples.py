"""Which axis of a value carries the samples of a batch, op by op.

A graph over a batch of N samples can run batch by batch as long as each op treats every sample
alone.  The *sample axis* of a value is the axis of size `k * N` along which sample 0 has the first
k entries, sample 1 the next k, and so on; a value without one is the same for every batch.  A rule
says which axis the results of an op have, given those of its operands, or how the op mixes samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nnc.ir.dims import Dim, Poly, equal, product, substitute, symbol, symbols
from nnc.ir.graph import Graph, Node, Value
from nnc.ops.registry import OPS
from nnc.passes.fold_constants import splat

Axes = tuple[int | None, ...]


@dataclass(frozen=True)
class Reduced:
    """The op combines all samples; results of two batches combine by "sum", "max" or "min"."""

    how: str


#: What cannot be computed batch by batch: all samples are needed at once.
MIXED = None
Outcome = Axes | Reduced | None


@dataclass(frozen=True)
class Question:
    """A node, and the sample axis of each of its operands."""

    graph: Graph
    node: Node
    axes: Axes
    size: str

    def shape(self, operand: int) -> tuple[Dim, ...]:
        return self.graph.type(self.node.operands[operand]).shape

    def attr(self, name: str) -> Any:
        return self.node.attrs[name]

    def depends(self, dim: Dim) -> bool:
        return self.size in symbols(dim)

    def is_block(self, dim: Dim) -> bool:
        """Whether `dim` is `k * N`: as many entries for each sample."""
        whole = substitute(dim, {self.size: 1})
        return isinstance(dim, Poly) and equal(dim, symbol(self.size) * whole) is True


def sample_axes(graph: Graph, node: Node, axes: Axes, size: str) -> Outcome:
    """The sample axis of each result of `node`, or how it mixes samples."""
    question = Question(graph, node, axes, size)
    rule = RULES.get(node.op, _elementwise if OPS[node.op].family == "elementwise" else _unknown)
    found = rule(question)
    if not isinstance(found, tuple):
        return found
    for type, axis in zip(node.types, found, strict=True):
        spread = [i for i, dim in enumerate(type.shape) if question.depends(dim)]
        if spread != ([] if axis is None else [axis]):
            return MIXED  # pairs of samples, or an axis cut along the samples
        if axis is not None and not question.is_block(type.shape[axis]):
            return MIXED
    return found


# ---------------------------------------------------------------- one value in, one out
def _elementwise(q: Question) -> Outcome:
    found = {axis for axis in q.axes if axis is not None}
    if len(found) > 1:
        return MIXED
    return (found.pop() if found else None,) * len(q.node.types)


def _first(q: Question) -> Outcome:
    return (q.axes[0],)


def _unknown(q: Question) -> Outcome:
    return MIXED if any(a is not None for a in q.axes) else (None,) * len(q.node.types)


def _created(q: Question) -> Outcome:
    """An input or a draw: its only axis that depends on the number of samples."""
    spread = [i for i, dim in enumerate(q.node.type.shape) if q.depends(dim)]
    return (spread[0] if spread else None,)


def _iota(q: Question) -> Outcome:
    # The place of a sample among all others is known only at the end.
    return MIXED if q.depends(q.node.type.shape[q.attr("axis")]) else _created(q)


def _broadcast(q: Question) -> Outcome:
    (axis,) = q.axes
    return _created(q) if axis is None else (q.attr("axes")[axis],)


def _reshape(q: Question) -> Outcome:
    (axis,) = q.axes
    if axis is None:
        return (None,)
    before = product(q.shape(0)[:axis])
    shape = q.node.type.shape
    for place, dim in enumerate(shape):
        if q.depends(dim):
            return (place,) if equal(product(shape[:place]), before) else MIXED
    return MIXED


def _transpose(q: Question) -> Outcome:
    return (None if q.axes[0] is None else q.attr("perm").index(q.axes[0]),)


def _slice(q: Question) -> Outcome:
    (axis,) = q.axes
    if axis is None:
        return (None,)
    whole = q.attr("start")[axis] == 0 and q.attr("step")[axis] == 1
    return (axis,) if whole and equal(q.attr("stop")[axis], q.shape(0)[axis]) else MIXED


def _pad(q: Question) -> Outcome:
    (axis,) = q.axes
    kept = axis is None or q.attr("low")[axis] == q.attr("high")[axis] == 0
    return (axis,) if kept else MIXED


def _dynamic(q: Question) -> Outcome:
    """A slice at places that are the same for every sample, the sample axis whole."""
    axis = q.axes[0]
    tensors = 1 if q.node.op == "dynamic_slice" else 2
    if any(a is not None for a in q.axes[tensors:]) or q.axes[:tensors] != (axis,) * tensors:
        return MIXED
    size = q.attr("size") if tensors == 1 else q.shape(1)
    return (axis,) if axis is None or equal(size[axis], q.shape(0)[axis]) else MIXED


def _along(*names: str) -> Callable[[Question], Outcome]:
    """Acts along the axes in these attributes and keeps the rank."""

    def rule(q: Question) -> Outcome:
        acted = [a for name in names for a in _as_tuple(q.attr(name))]
        found = set(q.axes)
        if len(found) > 1 or found & set(acted):
            return MIXED
        return tuple(found) * len(q.node.types)

    return rule


def _reduce(how: str = "") -> Callable[[Question], Outcome]:
    """Removes axes; over the samples it combines by `how`, if it can."""

    def rule(q: Question) -> Outcome:
        (axis,) = q.axes
        gone = _as_tuple(q.node.attrs.get("axes", q.node.attrs.get("axis")))
        if axis is None:
            return (None,)
        if axis in gone:
            return Reduced(how) if how else MIXED
        return (axis - sum(a < axis for a in gone),)

    return rule


# ---------------------------------------------------------------- indices
def _take(q: Question) -> Outcome:
    (x, index), at = q.axes, q.attr("axis")
    if x is None:
        return (None if index is None else at + index,)
    if index is not None or x == at:
        return MIXED
    return (x if x < at else x - 1 + len(q.shape(1)),)


def _take_along(q: Question) -> Outcome:
    (x, index), at = q.axes, q.attr("axis")
    return (index,) if x == index != at or x is None else MIXED


def _scatter_add(q: Question) -> Outcome:
    (x, index, update), at = q.axes, q.attr("axis")
    if index is None:
        inside = range(at, at + len(q.shape(1)))
        if update is None or update in inside:
            return (None,) if x is None and update is None else MIXED
        moved = update if update < at else update - len(q.shape(1)) + 1
        return (x,) if x == moved else MIXED
    start = splat(q.graph, q.node.operands[0])
    zero = start is not None and not start  # else it would be counted once a batch
    return Reduced("sum") if zero and x is None and update == at + index else MIXED


def _scatter_add_along(q: Question) -> Outcome:
    found = set(q.axes)
    return (q.axes[0],) if len(found) == 1 and q.axes[0] != q.attr("axis") else MIXED


# ---------------------------------------------------------------- products
def _dot(q: Question) -> Outcome:
    x, y = q.axes
    contract, batch = q.attr("contract"), q.attr("batch")
    if x is not None and y is not None:
        if (x, y) in zip(*contract, strict=True):
            return Reduced("sum")
        pairs = list(zip(*batch, strict=True))
        return (pairs.index((x, y)),) if (x, y) in pairs else MIXED
    rest = [
        [a for a in range(len(q.shape(i))) if a not in (*contract[i], *batch[i])] for i in (0, 1)
    ]
    if x is not None:
        return (len(batch[0]) + rest[0].index(x),) if x in rest[0] else MIXED
    if y is not None:
        return (len(batch[0]) + len(rest[0]) + rest[1].index(y),) if y in rest[1] else MIXED
    return (None,)


def _spatial(q: Question) -> Outcome:
    """Convolution and pooling: samples stand first, and filters have none."""
    x, *others = q.axes
    if x is None or q.node.op in ("conv", "conv_input_grad"):
        if any(a is not None for a in others) or x not in (0, None):
            return MIXED
        return (x,) * len(q.node.types)
    return (0,) * len(q.node.types) if set(q.axes) == {0} else MIXED


def _filter_gradient(q: Question) -> Outcome:
    if q.axes == (0, 0):
        return Reduced("sum")
    return (None,) if q.axes == (None, None) else MIXED


# ---------------------------------------------------------------- bodies
def _call(q: Question) -> Outcome:
    return through(q.attr("body"), q.axes, q.size)


def _scan(q: Question) -> Outcome:
    """Each round treats samples alone, and no carry moves them to another axis."""
    carries, sequences = q.attr("carries"), q.attr("sequences")
    slices: list[int | None] = []
    for axis, along in zip(q.axes[carries : carries + sequences], q.attr("axes"), strict=True):
        if axis == along:
            return MIXED
        slices.append(axis if axis is None or axis < along else axis - 1)
    begin = q.axes[:carries]
    found = through(q.attr("body"), (None, *begin, *slices, *q.axes[carries + sequences :]), q.size)
    if found is MIXED or found[:carries] != begin:
        return MIXED
    stacks = [
        axis if axis is None or axis < place else axis + 1
        for axis, place in zip(found[carries:], q.attr("out_axes"), strict=True)
    ]
    return (*begin, *stacks)


def through(body: Graph, axes: Sequence[int | None], size: str) -> Axes | None:
    """The sample axes of the outputs of a body, where none of its nodes mixes samples."""
    known: dict[Value, int | None] = {
        Value(id): axis for id, axis in zip(body.inputs, axes, strict=True)
    }
    for node in body:
        if node.op == "input":
            continue
        found = (
            None
            if reads_size(node, size)
            else sample_axes(body, node, tuple(known[v] for v in node.operands), size)
        )
        if not isinstance(found, tuple):
            return None
        known |= {Value(node.id, i): axis for i, axis in enumerate(found)}
    return tuple(known[value] for value in body.outputs.values())


def reads_size(node: Node, size: str) -> bool:
    """Whether a node is the number of samples itself."""
    return node.op == "size" and size in symbols(node.attrs["dim"])


def _as_tuple(axes: Any) -> tuple[int, ...]:
    return axes if isinstance(axes, tuple) else (axes,)


RULES: dict[str, Callable[[Question], Outcome]] = {
    "input": _created,
    "const": _created,
    "size": _created,
    "random_bits": _created,
    "stream_tags": _created,
    "iota": _iota,
    "stop_gradient": _first,
    "with_gradient": _elementwise,
    "on_gradient": _first,
    "call": _call,
    "scan": _scan,
    "broadcast": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "pad": _pad,
    "dynamic_slice": _dynamic,
    "dynamic_update": _dynamic,
    "reverse": _along("axes"),
    "concat": _along("axis"),
    "window": _along("axes"),
    "fold": _along("axes"),
    "cumsum": _along("axis"),
    "argsort": _along("axis"),
    "softmax": _along("axis"),
    "softmax_grad": _along("axis"),
    "log_softmax": _along("axis"),
    "log_softmax_grad": _along("axis"),
    "sigmoid": _elementwise,
    "softplus": _elementwise,
    "log_sigmoid": _elementwise,
    "gelu": _elementwise,
    "gelu_grad": _elementwise,
    "silu": _elementwise,
    "silu_grad": _elementwise,
    "logsumexp": _reduce(),
    "argmax": _reduce(),
    "argmin": _reduce(),
    "prod": _reduce(),
    "sum": _reduce("sum"),
    "max": _reduce("max"),
    "min": _reduce("min"),
    "take": _take,
    "take_along": _take_along,
    "scatter_add": _scatter_add,
    "scatter_add_along": _scatter_add_along,
    "dot": _dot,
    "conv": _spatial,
    "conv_input_grad": _spatial,
    "conv_filter_grad": _filter_gradient,
    "max_pool": _spatial,
    "max_pool_grad": _spatial,
    "sum_pool": _spatial,
    "sum_pool_grad": _spatial,
}
