"""`scan`: a loop over the steps of a sequence, as one node whose body is a graph of its own."""

from __future__ import annotations

from typing import Any

from nnc.elaborate.arithmetic import as_tensor
from nnc.elaborate.context import Context
from nnc.elaborate.frames import Counting, Frame
from nnc.elaborate.indexing import axis_named
from nnc.elaborate.scope import Scope
from nnc.elaborate.values import (
    Poison,
    Poisoned,
    RangeValue,
    TensorValue,
    TupleValue,
    describe,
)
from nnc.ir.builder import Builder, Tensor
from nnc.ir.dims import Dim, equal
from nnc.ir.graph import Graph
from nnc.ir.types import TensorType, same_shape
from nnc.language import tree
from nnc.language.diagnostics import error


def scan(cx: Context, expr: tree.Scan, scope: Scope) -> Any:
    """The stack of what the body yields, else the final carries (semantics 7)."""
    sequences, axes, length, label = _sequences(cx, expr, scope)
    initial = _initial_carries(cx, expr, scope)
    body = Graph("scan")
    frame = Frame(Builder(body, cx.origin(expr.span)))
    inner = Scope(scope, "scan")
    inner.carries = {name for name, _ in initial}
    cx.frames.append(frame)
    try:
        iteration = frame.builder.input("t", TensorType("i32"), "iteration")
        for name, value in initial:
            carried = frame.builder.input(name, value.type, "carry")
            inner.define(name, TensorValue(carried, value.names))
        _define_elements(cx, expr, sequences, axes, frame, inner, iteration)
        if not sequences:
            frame.counting = Counting(iteration.value, length)
        with cx.assigned(draw_iteration=_draw_iteration(cx, iteration, length)):
            yielded = _run(cx, expr, inner)
        _close(cx, expr, initial, inner, body, yielded)
    finally:
        cx.frames.pop()
    scanned, axes = _scanned(cx, expr, frame, sequences, axes)
    leaves = [value for _, value in yielded]
    place = axes[0] if sequences else 0
    out_axes = tuple(min(place, leaf.rank) for leaf in leaves)
    results = cx.emit(
        expr.span,
        "scan",
        *(v.tensor for _, v in initial),
        *scanned,
        *_captures(cx, frame),
        body=body,
        carries=len(initial),
        sequences=len(scanned),
        axes=axes,
        out_axes=out_axes,
        length=length,
        reverse=False,
    )
    if not isinstance(results, tuple):
        results = (results,)
    return _value(initial, results, yielded, out_axes, label)


def _scanned(
    cx: Context, expr: tree.Scan, frame: Frame, sequences: list[TensorValue], axes: tuple[int, ...]
) -> tuple[list[Tensor], tuple[int, ...]]:
    """The sequences, and after them what the loop's counter indexes; with their scanned axes."""
    scanned = [sequence.tensor for sequence in sequences]
    loop = frame.counting
    if loop is None:
        return scanned, axes
    for (outer, axis), _ in loop.elements.items():
        whole = Tensor(cx.builder, outer)
        stop = tuple(loop.length if i == axis else d for i, d in enumerate(whole.shape))
        if not same_shape(stop, whole.shape):
            ends = {"start": (0,) * whole.rank, "stop": stop, "step": (1,) * whole.rank}
            whole = cx.emit(expr.span, "slice", whole, **ends)
        scanned.append(whole)
    return scanned, tuple(axis for _, axis in loop.elements)


def _captures(cx: Context, frame: Frame) -> list[Tensor]:
    """What the body reads from outside; its inputs are put in the order of the operands."""
    body = frame.builder.graph
    needed = {value.node for value in body.outputs.values()}
    elements = [e.value.node for e in frame.counting.elements.values()] if frame.counting else []
    captures: list[Tensor] = []
    inputs: list[int] = []
    for outer, inner in frame.captures.items():
        if body.nx.out_degree(inner.value.node) or inner.value.node in needed:
            captures.append(Tensor(cx.builder, outer))
            inputs.append(inner.value.node)
        else:
            body.remove(inner.value.node)
    rest = [id for id in body.inputs if id not in {*elements, *inputs}]
    body.inputs[:] = [*rest, *elements, *inputs]
    return captures


def _sequences(
    cx: Context, expr: tree.Scan, scope: Scope
) -> tuple[list[TensorValue], tuple[int, ...], Dim, str | None]:
    value = cx.eval(expr.sequence, scope)
    if isinstance(value, Poison):
        raise Poisoned
    if isinstance(value, RangeValue):
        if expr.axis is not None or value.start != 0:
            raise error(
                "E0260", "a range in `scan` starts at 0 and has no axis", expr.sequence.span
            )
        return [], (), value.stop, None
    sequences = list(value.values) if isinstance(value, TupleValue) else [value]
    for sequence in sequences:
        if not isinstance(sequence, TensorValue) or sequence.rank == 0:
            raise error(
                "E0260",
                f"`scan` runs over a tensor; this is {describe(sequence)}",
                expr.sequence.span,
                help="`for` and `repeat` unroll over lists and counts",
            )
    axes = tuple(_scanned_axis(s, expr) for s in sequences)
    length = sequences[0].shape[axes[0]]
    for sequence, axis in zip(sequences, axes, strict=True):
        if not equal(sequence.shape[axis], length):
            raise error(
                "E0261",
                f"the sequences have {length} and {sequence.shape[axis]} steps",
                expr.sequence.span,
            )
    return sequences, axes, length, sequences[0].names[axes[0]]


def _scanned_axis(sequence: TensorValue, expr: tree.Scan) -> int:
    if expr.axis is not None:
        return axis_named(sequence, expr.axis.id, expr.axis.span)
    if sequence.rank == 1:
        return 0
    raise error(
        "E0262",
        f"`scan` over which axis of {describe(sequence)}?",
        expr.sequence.span,
        help="write `over T`",
    )


def _initial_carries(cx: Context, expr: tree.Scan, scope: Scope) -> list[tuple[str, TensorValue]]:
    carries = []
    for item in expr.carries:
        value = as_tensor(cx, cx.eval(item.value, scope), "f32", item.span)
        carries.append((item.name, value))
    return carries


def _define_elements(
    cx: Context,
    expr: tree.Scan,
    sequences: list[TensorValue],
    axes: tuple[int, ...],
    frame: Frame,
    inner: Scope,
    iteration: Tensor,
) -> None:
    if not sequences:
        if len(expr.names) != 1:
            raise error("E0232", f"{len(expr.names)} names for a counter", expr.span)
        inner.define(expr.names[0].id, TensorValue(iteration, ()), expr.names[0].span)
        return
    if len(expr.names) != len(sequences):
        raise error(
            "E0232", f"{len(expr.names)} names for {len(sequences)} sequences", expr.sequence.span
        )
    for name, sequence, axis in zip(expr.names, sequences, axes, strict=True):
        kept = [i for i in range(sequence.rank) if i != axis]
        type = TensorType(sequence.dtype, tuple(sequence.shape[i] for i in kept))
        element = frame.builder.input(name.id, type, "element")
        inner.define(name.id, TensorValue(element, tuple(sequence.names[i] for i in kept)))


def _draw_iteration(cx: Context, iteration: Tensor, length: Dim) -> Tensor:
    """What numbers the draws of this round, also when loops are nested."""
    number = iteration.cast("u64")
    if cx.draw_iteration is None:
        return number
    outer = cx.local(cx.draw_iteration)
    return outer * cx.constant(length, "u64") + number


def _run(cx: Context, expr: tree.Scan, inner: Scope) -> list[tuple[str, TensorValue]]:
    """What the body yields, with the names of its fields."""
    from nnc.elaborate.statements import run_statements

    yielded = run_statements(cx, expr.body, inner, "scan").get("yield")
    if yielded is None:
        if not inner.carries:
            raise error(
                "E0264",
                "this `scan` has no value",
                expr.span,
                help="`yield` stacks a value of each round; `with s = ...` carries one along",
            )
        return []
    items = yielded.items if isinstance(yielded, TupleValue) else (("", yielded),)
    return [(n, cx.localize(as_tensor(cx, v, "f32", expr.span))) for n, v in items]


def _close(
    cx: Context,
    expr: tree.Scan,
    initial: list[tuple[str, TensorValue]],
    inner: Scope,
    body: Graph,
    yielded: list[tuple[str, TensorValue]],
) -> None:
    for name, before in initial:
        after = cx.localize(inner.bindings[name].value)
        if after.type != before.type:
            raise error(
                "E0263",
                f"the carry `{name}` begins as {describe(before)} and becomes {describe(after)}",
                expr.span,
                help="a carry keeps its shape and element type",
            )
        body.outputs[f"carry.{name}"] = after.tensor.value
    for number, (_, value) in enumerate(yielded):
        body.outputs[f"yield.{number}"] = value.tensor.value


def _value(
    initial: list[tuple[str, TensorValue]],
    results: tuple[Tensor, ...],
    yielded: list[tuple[str, TensorValue]],
    out_axes: tuple[int, ...],
    label: str | None,
) -> Any:
    if not yielded:
        finals = [(n, TensorValue(r, v.names)) for (n, v), r in zip(initial, results, strict=True)]
        return finals[0][1] if len(finals) == 1 else TupleValue(tuple(finals))
    stacks = []
    stacked = zip(yielded, out_axes, results[len(initial) :], strict=True)
    for (name, value), axis, result in stacked:
        names = (*value.names[:axis], label, *value.names[axis:])
        stacks.append((name, TensorValue(result, names)))
    alone = len(stacks) == 1 and not stacks[0][0]
    return stacks[0][1] if alone else TupleValue(tuple(stacks))
