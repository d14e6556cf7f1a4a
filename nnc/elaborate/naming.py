"""What a `let` names: an instance takes the name, the parts of a stage stand below it."""

from __future__ import annotations

from typing import Any

from nnc.elaborate.context import Context, Naming
from nnc.elaborate.scope import Scope
from nnc.elaborate.values import BlockValue, ListValue, Stage, Template, TupleValue
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


def as_layer(cx: Context, let: tree.Let, scope: Scope) -> Template:
    """Layers composed with no tensor on the left are a layer: one instance with its name."""
    (name,) = let.names
    block = tree.Block("block", name.id, (), None, None, let.value, "", let.value.span, name.span)
    return Template(BlockValue(block, scope), {}, cx.naming, ("", ""), let.value.span)


def _belongs(part: Any, naming: Naming) -> bool:
    return getattr(part, "naming", None) is naming
