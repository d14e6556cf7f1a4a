"""What a `let` names: an instance takes the name, the parts of a stage stand below it."""

from __future__ import annotations

from typing import Any

from nnc.elaborate.context import Context
from nnc.elaborate.layers import stacks_of
from nnc.elaborate.places import Naming, place_names
from nnc.elaborate.scope import Scope
from nnc.elaborate.values import BlockValue, ListValue, Part, Stage, Template, TupleValue
from nnc.language import tree


def name_by_let(value: Any, name: str, naming: Naming, at: tuple[int | str, ...] = ()) -> None:
    """Give what a `let` holds its name.

    An instance becomes `name`; in a list or record `name.0`, `name.field`; the parts of a stage
    `name.*`.  `at` begins with the round of the loops around the `let`.
    """
    if isinstance(value, (TupleValue, ListValue)):
        fields = [n for n, _ in value.items] if isinstance(value, TupleValue) else []
        for number, item in enumerate(value.values):
            field = fields[number] if fields and fields[number] else number
            name_by_let(item, name, naming, (*at, field))
    elif isinstance(value, Template) and value.naming is naming:
        value.naming = Naming(naming.prefix, {})
        value.place, value.iteration = (name, name), at
    elif isinstance(value, Stage) and any(_belongs(part, naming) for part in value.parts):
        naming.active = True


def as_layers(cx: Context, name: tree.Name, expr: tree.Expr, value: Any, scope: Scope) -> Any:
    """Layers composed with no tensor on the left are a layer: an instance that the `let` names."""
    if isinstance(value, Stage):
        return _as_layer(cx, name, expr, value, scope)
    if isinstance(expr, tree.Tuple) and expr.is_group:
        return as_layers(cx, name, expr.items[0].value, value, scope)
    if not isinstance(expr, (tree.Tuple, tree.List)):
        return value
    if not isinstance(value, (TupleValue, ListValue)):
        return value
    parts = [item.value for item in expr.items]
    if len(parts) == 1 and isinstance(parts[0], tree.For):
        parts = [parts[0].body] * len(value.values)
    pairs = zip(parts, value.values, strict=True)
    made = [as_layers(cx, name, part, item, scope) for part, item in pairs]
    if isinstance(value, ListValue):
        return ListValue(tuple(made))
    return TupleValue(tuple(zip([key for key, _ in value.items], made, strict=True)))


def _as_layer(cx: Context, name: tree.Name, expr: tree.Expr, stage: Stage, scope: Scope) -> Any:
    if not place_names(expr):
        return stage  # it owns nothing
    inside = next((part.scope for part in stage.parts if isinstance(part, Part)), scope)
    block = tree.Block("block", name.id, (), None, None, expr, "", expr.span, name.span)
    stacks = stacks_of(cx.naming.stacks, cx.iteration)
    return Template(
        BlockValue(block, inside), {}, cx.naming, ("", ""), expr.span, cx.iteration, stacks=stacks
    )


def _belongs(part: Any, naming: Naming) -> bool:
    return getattr(part, "naming", None) is naming
