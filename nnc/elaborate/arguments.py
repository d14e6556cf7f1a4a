"""Arguments of calls: their values, and the parameters that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from nnc.elaborate.collected import evaluate_all
from nnc.elaborate.context import Context
from nnc.elaborate.naming import name_by_let
from nnc.elaborate.places import Naming, place_names
from nnc.elaborate.scope import Scope
from nnc.elaborate.types import coerce
from nnc.elaborate.values import (
    AxisRef,
    BlockValue,
    Builtin,
    Deferred,
    Function,
    Host,
    ListValue,
    Template,
    TupleValue,
    is_number,
)
from nnc.ir.types import DTYPES
from nnc.language import tree
from nnc.language.diagnostics import Label, error, suggest
from nnc.language.tree import Span

Args = Sequence[tuple[str, Any, Span]]  # (keyword or "", value, place)


def evaluate_arguments(
    cx: Context, items: Sequence[tree.Argument], scope: Scope, callee: Any
) -> Args:
    """The values of arguments; a name given as `axis` also stands for the axis of that label."""
    deferred = _initializers(callee)

    def value(position: int, item: tree.Argument) -> Any:
        if (item.name or position) in deferred:
            return Deferred(item.value, scope)
        return (_axis if item.name == "axis" else Context.eval)(cx, item.value, scope)

    values = evaluate_all(partial(value, *item) for item in enumerate(items))
    places = (item.span if item.name else item.value.span for item in items)
    return [(i.name, v, p) for i, v, p in zip(items, values, places, strict=True)]


def _initializers(callee: Any) -> set[str | int]:
    """The static parameters of a block that take an initial value, by name and by position."""
    static = callee.definition.static if isinstance(callee, BlockValue) else ()
    places = [i for i, parameter in enumerate(static) if _is_initializer(parameter)]
    return {*places, *(static[i].name for i in places)}


def _is_initializer(parameter: tree.Parameter) -> bool:
    declared = parameter.type
    return isinstance(declared, tree.TensorTypeExpr) and declared.dtype == "initializer"


def _axis(cx: Context, expr: tree.Expr, scope: Scope) -> Any:
    if isinstance(expr, tree.Tuple) and not expr.is_group:
        return TupleValue(tuple(("", _axis(cx, item.value, scope)) for item in expr.items))
    if isinstance(expr, tree.List) and not any(isinstance(i.value, tree.For) for i in expr.items):
        return ListValue(tuple(_axis(cx, item.value, scope) for item in expr.items))
    if not isinstance(expr, tree.Name):
        return cx.eval(expr, scope)
    bound = scope.find(expr.id) is not None
    value = cx.eval(expr, scope) if bound else None
    if isinstance(value, AxisRef) or (bound and value is None):
        return value
    return AxisRef(expr.id, value, expr.span)


def bind_parameters(
    cx: Context,
    parameters: Sequence[tree.Parameter],
    args: Args,
    scope: Scope,
    owner: str,
    span: Span,
    template: Template | None = None,
) -> None:
    """Define every parameter in `scope`, converted to its declared type.

    An instance that a default makes belongs to the `template` whose parameter it is.
    """
    names = [p.name for p in parameters]
    bound = match_names(names, args, owner, span)
    for parameter in parameters:
        what = f"`{parameter.name}` of {owner}"
        if parameter.name in bound:
            value, place = bound[parameter.name]
        elif parameter.default is not None and _is_initializer(parameter):
            value, place = Deferred(parameter.default, scope), parameter.span
        elif parameter.default is not None:
            value, place = _default(cx, parameter, scope, template), parameter.span
        else:
            raise error(
                "E0212",
                f"{owner} needs `{parameter.name}`",
                span,
                Label(parameter.span, "declared here"),
            )
        if value is None and is_none(parameter.default):
            scope.define(parameter.name, None, place)
            continue
        value = coerce(cx, parameter.type, value, scope, place, what)
        if isinstance(value, Host) and not owner.startswith("`_"):  # helpers have no better name
            value = value.named(parameter.name)
        scope.define(parameter.name, value, place)


def _default(
    cx: Context, parameter: tree.Parameter, scope: Scope, template: Template | None
) -> Any:
    assert parameter.default is not None
    if template is None:
        return cx.eval(parameter.default, scope)
    naming = Naming(template, place_names(parameter.default), parameter.name)
    with cx.assigned(naming=naming, iteration=()):
        value = cx.eval(parameter.default, scope)
    name_by_let(value, parameter.name, naming)
    return value


def match_names(
    names: Sequence[str], args: Args, owner: str, span: Span
) -> dict[str, tuple[Any, Span]]:
    """Positional and keyword arguments by parameter name; E0211, E0213, E0214."""
    bound: dict[str, tuple[Any, Span]] = {}
    position = 0
    for name, value, place in args:
        if not name:
            if position >= len(names):
                count = len(names)
                raise error(
                    "E0213",
                    f"{owner} takes {count} argument{'s' * (count != 1)}",
                    place,
                    help=f"its parameters are {', '.join(names)}" if names else "",
                )
            name = names[position]
            position += 1
        elif name not in names:
            raise error(
                "E0211",
                f"{owner} has no parameter `{name}`",
                _keyword(name, place),
                help=suggest(name, names) or f"its parameters are {', '.join(names) or 'none'}",
            )
        if name in bound:
            raise error(
                "E0214",
                f"`{name}` of {owner} is given twice",
                place,
                Label(bound[name][1], "first given here"),
            )
        bound[name] = (value, place)
    return bound


def _keyword(name: str, place: Span) -> Span:
    """The name in `name = value`."""
    if place.text.startswith(name):
        return Span(place.source, place.start, place.start + len(name))
    return place


def lacks_first(callee: Function | Builtin, args: Args) -> bool:
    """Whether the arguments fit all parameters but the first, and not all of them."""
    if isinstance(callee, Function):
        names = [p.name for p in callee.definition.parameters]
        required = {p.name for p in callee.definition.parameters if p.default is None}
        if names and _wants_number(callee.definition.parameters[0].type):
            return False
        takes_tensor = bool(names) and _wants_tensor(callee.definition.parameters[0].type)
    else:
        signature = callee.signature
        if signature.has_rest:
            return False
        names, required = signature.names, signature.required
        takes_tensor = bool(names) and signature.takes_tensor
    if not names or names[0] not in required or any(k == names[0] for k, _, _ in args):
        return False
    positional = [value for keyword, value, _ in args if not keyword]
    keywords = {keyword for keyword, _, _ in args if keyword}
    given = set(names[: len(positional)]) | keywords
    shifted = set(names[1 : 1 + len(positional)]) | keywords
    fits_shifted = len(positional) < len(names) and not (required - {names[0]} - shifted)
    if required - given:
        return fits_shifted
    # `leaky_relu(0.2)`: it would bind, but a number where a tensor belongs is the next parameter.
    first = positional[0] if positional else None
    return takes_tensor and fits_shifted and (is_number(first) or isinstance(first, str))


def _wants_number(declared: tree.TypeExpr) -> bool:
    """Whether a parameter is one number, which no pipe brings: `ramp(0, 1)` lacks its last."""
    numbers = (*DTYPES, "int", "str")
    return isinstance(declared, tree.TensorTypeExpr) and (
        not declared.dims and declared.dtype in numbers
    )


def _wants_tensor(declared: tree.TypeExpr) -> bool:
    return isinstance(declared, tree.TensorTypeExpr) and bool(declared.dims)


def is_none(default: tree.Expr | None) -> bool:
    return isinstance(default, tree.Literal) and default.value is None
