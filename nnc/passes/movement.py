"""Rules by which what only moves elements sinks: below elementwise work, into reductions.

A transpose or reshape computes nothing, but it stands between what could meet: below the work that
it has no part in, it reaches another one that undoes it, or a product or sum that takes its axes
as they are.
"""

from __future__ import annotations

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Node
from nnc.ir.types import same_shape

MOVES = ("transpose", "reshape")
Operands = tuple[Tensor, ...]


def below_elementwise(builder: Builder, node: Node, operands: Operands) -> Tensor | None:
    """f(move(x), move(y), number) is move(f(x, y, number))."""
    numbers = [_number(x) for x in operands]
    moves = [_producer(x) for x, n in zip(operands, numbers, strict=True) if n is None]
    if not moves or any(move.op != moves[0].op or move.op not in MOVES for move in moves):
        return None
    xs = [builder.tensor(move.operands[0]) for move in moves]
    shape = xs[0].shape
    if any(m.attrs != moves[0].attrs for m in moves) or any(
        not same_shape(x.shape, shape) for x in xs
    ):
        return None
    sources = iter(xs)
    still = [next(sources) if n is None else n.expand(shape) for n in numbers]
    result: Tensor = builder.emit(node.op, *still, name=node.name, **node.attrs)
    moved: Tensor = result.emit(moves[0].op, **moves[0].attrs)
    return moved


def reduction_of_transpose(builder: Builder, node: Node, operands: Operands) -> Tensor | None:
    """The sum over axes of a transpose is the sum over the axes that these were."""
    before = _producer(operands[0])
    if before.op != "transpose":
        return None
    perm, x = before.attrs["perm"], builder.tensor(before.operands[0])
    axes = node.attrs["axes"]
    rest = [perm[axis] for axis in range(x.rank) if axis not in axes]
    reduced: Tensor = x.emit(node.op, axes=tuple(sorted(perm[axis] for axis in axes)))
    return reduced.transpose(tuple(sorted(rest).index(axis) for axis in rest))


def slice_of_concat(builder: Builder, node: Node, operands: Operands) -> Tensor | None:
    """A slice of one of the parts that are joined is a slice of that part."""
    joined = _producer(operands[0])
    if joined.op != "concat":
        return None
    axis, begin = joined.attrs["axis"], 0
    start, stop = node.attrs["start"], node.attrs["stop"]
    for value in joined.operands:
        part = builder.tensor(value)
        size = part.shape[axis]
        if not all(isinstance(d, int) for d in (size, start[axis], stop[axis])):
            return None
        if begin <= start[axis] and stop[axis] <= begin + size:
            first, last = list(start), list(stop)
            first[axis], last[axis] = start[axis] - begin, stop[axis] - begin
            result: Tensor = part.emit(
                "slice", start=tuple(first), stop=tuple(last), step=node.attrs["step"]
            )
            return result
        begin += size
    return None


def _producer(x: Tensor) -> Node:
    return x.builder.graph.producer(x.value)


def _number(x: Tensor) -> Tensor | None:
    """The scalar that `x` repeats."""
    node = _producer(x)
    repeated = node.op == "broadcast" and not node.attrs["axes"]
    return x.builder.tensor(node.operands[0]) if repeated else None
