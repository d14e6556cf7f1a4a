"""Bodies: `let`, `param`, `buffer`, setting buffers, `return`, `assert`, in order (semantics 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nnc.elaborate.context import Context, is_library
from nnc.elaborate.scope import Scope
from nnc.elaborate.state import declare_state
from nnc.elaborate.values import (
    POISON,
    Host,
    Poison,
    Poisoned,
    TensorValue,
    TupleValue,
    describe,
    is_number,
    leaves,
)
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic, Label, NncError, error, suggest
from nnc.language.walk import walk


def run_body(cx: Context, body: Any, scope: Scope, owner: str) -> Any:
    """The value of a body: its expression, or what its statements `return`."""
    if not isinstance(body, tuple):
        return cx.eval(body, scope)
    returned = run_statements(cx, body, scope, owner)
    if "return" not in returned:
        place = body[-1].span if body else None
        raise error("E0230", f"this {owner} returns nothing", place, help="end it with `return`")
    return returned["return"]


def run_statements(
    cx: Context, statements: Sequence[tree.Statement], scope: Scope, owner: str
) -> dict[str, Any]:
    """Run all statements, going on after an error; the values of `return` and `yield`.

    Raises one `NncError` with every independent error of the body.
    """
    found: list[Diagnostic] = []
    outcome: dict[str, Any] = {}
    poisoned = False
    for statement in statements:
        try:
            _STATEMENTS.get(type(statement), _misplaced)(cx, statement, scope, outcome, owner)
        except NncError as failure:
            found.extend(failure.diagnostics)
            _poison(statement, scope)
            if isinstance(statement, tree.Assert):
                break  # what follows rests on it
        except Poisoned:
            poisoned = True
            _poison(statement, scope)
    if found:
        raise NncError(*found)
    if poisoned:
        raise Poisoned
    return outcome


def _let(
    cx: Context, statement: tree.Let, scope: Scope, outcome: dict[str, Any], owner: str
) -> None:
    for name, value in evaluate_let(cx, statement, scope):
        scope.define(name.id, value, name.span)


def evaluate_let(cx: Context, statement: tree.Let, scope: Scope) -> list[tuple[tree.Name, Any]]:
    """The names of a `let` with their values; instances and stages take the names."""
    from nnc.elaborate.naming import as_layers, name_by_let
    from nnc.elaborate.types import coerce

    names = statement.names
    naming = cx.naming.within("_".join(n.id for n in names))
    with cx.assigned(naming=naming):
        value = cx.eval(statement.value, scope)
        if naming.owns:
            value = as_layers(cx, names[0], statement.value, value, scope)
    if isinstance(value, Poison):
        raise Poisoned
    if statement.type is not None:
        value = coerce(cx, statement.type, value, scope, statement.value.span, f"`{names[0].id}`")
    if len(names) == 1:
        pairs = [(names[0], value)]
    elif isinstance(value, TupleValue) and len(value.items) == len(names):
        pairs = list(zip(names, value.values, strict=True))
    else:
        raise error(
            "E0232",
            f"{len(names)} names for {describe(value)}",
            statement.value.span,
            Label(names[0].span.to(names[-1].span), f"{len(names)} names"),
        )
    for name, part in pairs:
        name_by_let(part, name.id, naming, cx.iteration)
        if isinstance(part, TensorValue):
            _name_node(part, name.id)
    return [(name, part.named(name.id) if isinstance(part, Host) else part) for name, part in pairs]


def _name_node(value: TensorValue, name: str) -> None:
    node = value.tensor.builder.graph.producer(value.tensor.value)
    if not node.name and len(node.types) == 1:
        node.name = name


def _decl(
    cx: Context, statement: tree.Decl, scope: Scope, outcome: dict[str, Any], owner: str
) -> None:
    if statement.kind == "config" or owner != "block":
        raise error(
            "E0233",
            f"a `{statement.kind}` cannot stand in a {owner}",
            statement.span,
            help="a `fn` owns nothing: make it a `block`" if owner == "fn" else "",
        )
    declare_state(cx, statement, scope)


def _set(
    cx: Context, statement: tree.Set, scope: Scope, outcome: dict[str, Any], owner: str
) -> None:
    if owner == "scan":
        _set_carries(cx, statement, scope)
        return
    paths = [_target(cx, name, scope) for name in statement.names]
    if not cx.training or cx.frozen:
        return
    if any(frame.layers is None for frame in cx.frames[1:]):
        raise error("E0243", "a buffer cannot be set inside `scan`", statement.span)
    values = _values(cx, statement, scope)
    for name, path, new in zip(statement.names, paths, values, strict=True):
        _write_buffer(cx, name, path, new, scope)


def _values(cx: Context, statement: tree.Set, scope: Scope) -> tuple[Any, ...]:
    """One value for each name that a statement sets."""
    value = cx.eval(statement.value, scope)
    if isinstance(value, Poison):
        raise Poisoned
    many = len(statement.names) > 1
    values = value.values if many and isinstance(value, TupleValue) else (value,)
    if len(values) != len(statement.names):
        raise error(
            "E0232", f"{len(statement.names)} names for {describe(value)}", statement.value.span
        )
    return values


def _set_carries(cx: Context, statement: tree.Set, scope: Scope) -> None:
    from nnc.elaborate.arithmetic import as_tensor

    for name in statement.names:
        if cx.buffer_path(name.id) in cx.buffers:
            raise error(
                "E0243",
                f"the buffer `{name.id}` cannot be set inside `scan`",
                name.span,
                help="carry the value along, and set the buffer after the `scan`",
            )
        if name.id not in scope.carries:
            raise error(
                "E0231",
                f"there is no carry `{name.id}` to set",
                name.span,
                help=suggest(name.id, scope.carries)
                or f"to introduce it, write `let {name.id} = ...`",
            )
    for name, new in zip(statement.names, _values(cx, statement, scope), strict=True):
        binding = scope.bindings[name.id]
        value = as_tensor(cx, new, binding.value.dtype, name.span)
        if value.rank == 0 and binding.value.rank:
            value = binding.value.with_tensor(value.tensor.expand(binding.value.shape))
        elif value.rank == binding.value.rank:
            value = binding.value.with_tensor(value.tensor)
        binding.value = value


def _target(cx: Context, name: tree.Name, scope: Scope) -> str:
    path = cx.buffer_path(name.id)
    if path in cx.buffers and name.id in scope.bindings:
        return path
    binding = scope.find(name.id)
    if binding is not None:
        raise error(
            "E0231",
            f"`{name.id}` cannot be set: only buffers and carries change",
            name.span,
            *([Label(binding.span, f"`{name.id}` is introduced here")] if binding.span else []),
            help=f"introduce the new value under a name of its own: `let {name.id}_2 = ...`",
        )
    own = [n for n in scope.bindings if cx.buffer_path(n) in cx.buffers]
    raise error(
        "E0231",
        f"there is no buffer `{name.id}` to set",
        name.span,
        help=suggest(name.id, own) or f"to introduce it, write `let {name.id} = ...`",
    )


def _write_buffer(cx: Context, name: tree.Name, path: str, new: Any, scope: Scope) -> None:
    from nnc.elaborate.arithmetic import as_tensor

    old = cx.buffers[path]
    cx.require_own_round("sets a buffer that all rounds share")
    value = as_tensor(cx, new, old.dtype, name.span)
    if value.rank < old.rank:
        value = old.with_tensor(value.tensor.expand(old.shape))
    if value.type != old.type:
        raise error(
            "E0301", f"`{name.id}` is {describe(old)}; this is {describe(value)}", name.span
        )
    stored = old.with_tensor(value.tensor)
    scope.bindings[name.id].value = stored
    cx.buffers[path] = stored
    cx.written[path] = stored


def _out(
    cx: Context, statement: tree.Out, scope: Scope, outcome: dict[str, Any], owner: str
) -> None:
    if (statement.kind == "yield") != (owner == "scan"):
        place = "`scan`" if statement.kind == "yield" else "a `block` or `fn`"
        raise error("E0234", f"`{statement.kind}` belongs in {place}", statement.span)
    if statement.kind in outcome:
        raise error("E0235", f"a second `{statement.kind}`", statement.span)
    value = cx.eval(statement.value, scope)
    if any(isinstance(leaf, Poison) for leaf in leaves(value)):
        raise Poisoned
    outcome[statement.kind] = value


def _assert(
    cx: Context, statement: tree.Assert, scope: Scope, outcome: dict[str, Any], owner: str
) -> None:
    value = cx.eval(statement.condition, scope)
    if isinstance(value, Poison):
        raise Poisoned
    if not isinstance(value, bool):
        raise error(
            "E0236",
            f"`assert` needs a static condition; this is {describe(value)}",
            statement.condition.span,
        )
    if not value:
        place = statement.condition.span
        user = cx.user_span(place)
        labels = [
            Label(span, f"in this call of `{name}`")
            for name, span in cx.calls[-1:]
            if span is not user and not is_library(span)
        ]
        if known := _known_values(statement.condition, scope):
            labels.append(Label(place, known))
        says = statement.message or place.text
        raise error("E0237", f"assertion failed: {says}", user, *labels)


def _known_values(condition: tree.Expr, scope: Scope) -> str:
    """`D = 64, heads = 5`: the static names of a condition."""
    names = dict.fromkeys(node.id for node in walk(condition) if isinstance(node, tree.Name))
    found = {name: scope.find(name) for name in names}
    values = {n: b.value for n, b in found.items() if b is not None and b.compute is None}
    return ", ".join(f"{n} = {v}" for n, v in values.items() if is_number(v))


def _misplaced(
    cx: Context, statement: Any, scope: Scope, outcome: dict[str, Any], owner: str
) -> None:
    what = {tree.Section: "a section", tree.Field: "a field"}.get(type(statement), "this statement")
    raise error("E0233", f"{what} cannot stand in a {owner}", statement.span)


def _poison(statement: Any, scope: Scope) -> None:
    if isinstance(statement, (tree.Let, tree.Set)):
        for name in statement.names:
            known = name.id in scope.bindings
            if not known and (isinstance(statement, tree.Let) or scope.find(name.id) is None):
                scope.define(name.id, POISON, name.span)
    if isinstance(statement, tree.Decl) and statement.name not in scope.bindings:
        scope.define(statement.name, POISON, statement.span)


_Handler = Callable[[Context, Any, Scope, dict[str, Any], str], None]
_STATEMENTS: dict[type, _Handler] = {
    tree.Let: _let,
    tree.Decl: _decl,
    tree.Set: _set,
    tree.Out: _out,
    tree.Assert: _assert,
}
