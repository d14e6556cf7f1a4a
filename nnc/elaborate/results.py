"""What a call gives back: checked against the declared type, with its origin for messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnc.elaborate.context import Context
from nnc.elaborate.scope import Scope
from nnc.elaborate.types import coerce
from nnc.elaborate.values import (
    Host,
    Provenance,
    TensorValue,
    TupleValue,
)
from nnc.language import tree
from nnc.language.diagnostics import error, suggest
from nnc.language.tree import Span


def checked_result(
    cx: Context,
    declared: tree.TypeExpr,
    value: Any,
    scope: Scope,
    definition: Any,
    span: Span,
    what: str,
) -> Any:
    body = definition.body
    place = body[-1].span if isinstance(body, tuple) and body else getattr(body, "span", span)
    if isinstance(value, (int, float, Host)) and not isinstance(value, bool):
        return coerce(cx, declared, value, scope, place, what)
    _refuse_unbound(cx, declared, scope)
    return coerce(cx, declared, value, scope, place, what)


def _refuse_unbound(cx: Context, declared: tree.TypeExpr, scope: Scope) -> None:
    """A name in a result type must come from somewhere: it is not bound by what comes out."""
    types = (
        [declared]
        if isinstance(declared, tree.TensorTypeExpr)
        else [f.type for f in declared.fields]
    )
    for one in types:
        for item in getattr(one, "dims", None) or ():
            if isinstance(item.value, tree.Name) and item.value.id != "_":
                binding = scope.find(item.value.id)
                if binding is None:
                    sizes = [n for n in scope.names() if len(n) < 20]
                    raise error(
                        "E0303",
                        f"the dimension `{item.value.id}` comes from nowhere",
                        item.span,
                        help=suggest(item.value.id, sizes) or "write `_` to have it inferred",
                    )


def made_here(value: Any, span: Span, text: str, kept: Sequence[Any]) -> Any:
    """`value` with its origin for messages: what gave it its shape, which `relu` does not."""
    if isinstance(value, TensorValue):
        made = next(
            (v.made for v in kept if isinstance(v, TensorValue) and v.shape == value.shape), None
        )
        made = made or Provenance(span, text)
        return TensorValue(value.tensor, value.names, made)
    if isinstance(value, TupleValue):
        return value.map(lambda item: made_here(item, span, text, ()))
    return value
