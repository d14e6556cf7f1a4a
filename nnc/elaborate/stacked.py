"""`repeat` of equal layers as a loop: elaborated once, its rounds numbered by the loop."""

from __future__ import annotations

from typing import Any

from nnc.elaborate.context import Context
from nnc.elaborate.expressions import repeat_count
from nnc.elaborate.frames import Frame
from nnc.elaborate.instances import mapped
from nnc.elaborate.layers import Layers, Unstackable, close, rounds
from nnc.elaborate.pipes import pipe_into
from nnc.elaborate.places import place_names
from nnc.elaborate.scope import Scope
from nnc.elaborate.values import ListValue, TensorValue, TupleValue, describe, leaves
from nnc.ir.builder import Tensor
from nnc.language import tree


def may_stack(cx: Context, expr: tree.Repeat) -> bool:
    """Whether `--stack-layers` asks for a loop here: the body makes instances, and none refused."""
    stacking = cx.world.stacking
    return stacking is not None and bool(place_names(expr.body)) and stacking.allows(expr.span)


def repeat_stacked(cx: Context, value: Any, expr: tree.Repeat, scope: Scope) -> Any:
    """`value |> repeat count { ... }` as one loop; raises `Unstackable` where it cannot be."""
    count = repeat_count(cx, expr, scope)
    if count < 2:
        raise Unstackable(expr.span, "it has one round" if count else "it has no rounds")
    starts = _tensors(value)
    if not starts:
        raise Unstackable(expr.span, f"what enters it is {describe(value)}")
    before = {"draws": dict(cx.draws), "buffers": dict(cx.buffers), "written": dict(cx.written)}
    frame, result = _body(cx, value, expr, count, scope)
    alike = _with_common_names(value, result)
    if alike != value:  # other rounds see other labels than the first: the body must need none
        for name, known in before.items():
            setattr(cx, name, known)
        frame, result = _body(cx, alike, expr, count, scope)
    finals = iter(close(cx, frame, expr.span, starts, _tensors(result), []))
    return mapped(result, lambda leaf: TensorValue(next(finals), leaf.names))


def _body(
    cx: Context, value: Any, expr: tree.Repeat, count: int, scope: Scope
) -> tuple[Frame, Any]:
    """The body of the loop for rounds that are given what is like `value`, and what it makes."""
    layers = Layers(count, expr.span)
    with rounds(cx, layers, expr.span) as frame:
        carried = mapped(value, lambda leaf: _carry(frame, leaf))
        with cx.assigned(iteration=(*cx.iteration, layers)):
            result = pipe_into(cx, carried, expr.body, Scope(scope, "repeat"))
        result = cx.localize(result)
    reason = _difference(value, result)
    if reason:
        raise Unstackable(expr.span, reason)
    return frame, result


def _carry(frame: Frame, leaf: TensorValue) -> TensorValue:
    return TensorValue(
        frame.builder.input(frame.new_name("x"), leaf.tensor.type, "carry"), leaf.names
    )


def _with_common_names(value: Any, after: Any) -> Any:
    """`value` with those labels of axes alone that `after` has too."""
    others = iter(leaf for leaf in leaves(after) if isinstance(leaf, TensorValue))

    def common(leaf: TensorValue) -> TensorValue:
        pairs = zip(leaf.names, next(others).names, strict=True)
        return TensorValue(leaf.tensor, tuple(a if a == b else None for a, b in pairs), leaf.made)

    return mapped(value, common)


def _difference(before: Any, after: Any) -> str:
    if isinstance(before, TensorValue) and isinstance(after, TensorValue):
        if before.type != after.type:
            return f"its first round makes {describe(after)} of {describe(before)}"
        return ""
    if type(before) is not type(after):
        return f"its first round makes {describe(after)} of {describe(before)}"
    if isinstance(before, (TupleValue, ListValue)):
        if _shape(before) != _shape(after):
            return f"its first round makes {describe(after)} of {describe(before)}"
        parts = zip(before.values, after.values, strict=True)
        return next(filter(None, (_difference(a, b) for a, b in parts)), "")
    return "" if before == after else f"its rounds change {describe(before)}"


def _shape(value: TupleValue | ListValue) -> list[str]:
    return (
        [n for n, _ in value.items] if isinstance(value, TupleValue) else [""] * len(value.values)
    )


def _tensors(value: Any) -> list[Tensor]:
    return [leaf.tensor for leaf in leaves(value) if isinstance(leaf, TensorValue)]
