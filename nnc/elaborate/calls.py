"""Calls of functions and builtins, and the table of everything that can be called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnc.elaborate.arguments import Args, bind_parameters, lacks_first, match_names
from nnc.elaborate.context import Context
from nnc.elaborate.places import Naming
from nnc.elaborate.results import checked_result, made_here
from nnc.elaborate.scope import Scope
from nnc.elaborate.statements import run_body
from nnc.elaborate.values import (
    Builtin,
    Function,
    Partial,
    Poison,
    Poisoned,
    describe,
)
from nnc.language.diagnostics import Label, NncError, error
from nnc.language.tree import Span


def call(cx: Context, callee: Any, args: Args, span: Span) -> Any:
    """`callee(args)` as an expression; a call that lacks only its first argument is a `Partial`."""
    if isinstance(callee, Poison) or any(isinstance(value, Poison) for _, value, _ in args):
        raise Poisoned
    if isinstance(callee, (Function, Builtin)) and lacks_first(callee, args):
        return Partial(callee, tuple(args), span)
    return invoke(cx, callee, args, span)


def invoke(cx: Context, callee: Any, args: Args, span: Span) -> Any:
    """`callee(args)` with every argument there."""
    run = INVOKE.get(type(callee))
    if run is None:
        raise error("E0210", f"{describe(callee)} cannot be called", span)
    return run(cx, callee, args, span)


def _invoke_partial(cx: Context, partial: Partial, args: Args, span: Span) -> Any:
    return invoke(cx, partial.callee, [*args, *partial.arguments], span)


def call_function(cx: Context, function: Function, args: Args, span: Span) -> Any:
    definition = function.definition
    scope = Scope(function.scope, "fn")
    with (
        cx.calling(definition.name, span),
        cx.assigned(naming=Naming("", {}, owns=False), iteration=()),
    ):
        bind_parameters(cx, definition.parameters, args, scope, f"`{definition.name}`", span)
        value = run_body(cx, definition.body, scope, owner="fn")
        if definition.result is not None:
            what = f"the result of `{definition.name}`"
            value = checked_result(cx, definition.result, value, scope, definition, span, what)
    return made_here(value, span, definition.name, [a for _, a, _ in args])


def _call_builtin(cx: Context, builtin: Builtin, args: Args, span: Span) -> Any:
    owner = f"`{builtin.name}`"
    signature = builtin.signature
    plain, names = signature.plain, signature.names
    rest, extra = signature.has_rest, signature.has_extra
    positional = [a for a in args if not a[0]]
    many = positional[len(plain) :] if rest else []
    others = [a for a in args if a[0] and a[0] not in names] if extra else []
    fixed = [a for a in args if a not in many and a not in others] if many or others else args
    bound = match_names(names, fixed, owner, span)
    for parameter in signature.named:
        if parameter.name not in bound and parameter.default is parameter.empty:
            raise error("E0212", f"{owner} needs `{parameter.name}`", span)
    if extra and not rest and len(positional) > len(plain):
        raise error("E0213", f"{owner} takes {len(plain)} positional arguments", positional[-1][2])
    site = Site(cx, span, builtin.name, {name: place for name, (_, place) in bound.items()})
    values = {name: value for name, (value, _) in bound.items()}
    head = [values.pop(p.name, p.default) for p in plain] if many else []
    tail = {name: value for name, value, _ in others}
    result = builtin.run(site, *head, *(value for _, value, _ in many), **values, **tail)
    return made_here(result, span, builtin.name, [a for _, a, _ in args])


class Site:
    """Where a builtin was called: its context, its place, and the places of its arguments."""

    def __init__(self, cx: Context, span: Span, name: str, places: dict[str, Span]):
        self.cx = cx
        self.span = span
        self.name = name
        self.places = places

    def place(self, parameter: str) -> Span:
        return self.places.get(parameter, self.span)

    def emit(self, op: str, *operands: Any, **attrs: Any) -> Any:
        return self.cx.emit(self.span, op, *operands, **attrs)

    def wrong(self, code: str, message: str, parameter: str = "", help: str = "") -> NncError:
        span = self.place(parameter)
        user = self.cx.user_span(span)
        labels = [] if user is span else [Label(span, "in the library, here")]
        return error(code, message, user, *labels, help=help)


#: How each kind of value is called; `pipes` and `instances` add theirs.
INVOKE: dict[type, Callable[[Context, Any, Args, Span], Any]] = {
    Builtin: _call_builtin,
    Function: call_function,
    Partial: _invoke_partial,
}
