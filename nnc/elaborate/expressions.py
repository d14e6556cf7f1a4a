"""The value of each kind of expression: one small function a kind, in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from nnc.elaborate.arguments import evaluate_arguments
from nnc.elaborate.arithmetic import binary, check_static, host_expr, host_kind, invert, negate
from nnc.elaborate.calls import call
from nnc.elaborate.collected import Collected, evaluate_all
from nnc.elaborate.context import Context
from nnc.elaborate.indexing import attribute, index
from nnc.elaborate.loops import scan
from nnc.elaborate.pipes import check_stage, mentions_placeholder, pipe_into, stage_of
from nnc.elaborate.scope import Scope, unknown_name
from nnc.elaborate.values import (
    CALLABLE,
    BlockValue,
    Deferred,
    Duration,
    Host,
    ListValue,
    Poison,
    Poisoned,
    RangeValue,
    Stage,
    TensorValue,
    TupleValue,
    describe,
    is_int,
)
from nnc.ir.dims import Poly
from nnc.ir.host import HostIf
from nnc.language import tree
from nnc.language.diagnostics import error, suggest

UNITS = {
    "epochs": "epochs",
    "epoch": "epochs",
    "steps": "steps",
    "step": "steps",
}


def _name(cx: Context, expr: tree.Name, scope: Scope) -> Any:
    binding = scope.find(expr.id)
    if binding is None:
        if expr.id == "_":
            raise error(
                "E0202",
                "`_` stands for nothing here",
                expr.span,
                help="`_` is the value that enters the nearest enclosing stage",
            )
        raise unknown_name(expr.id, expr.span, scope)
    value = binding.force(expr.id, expr.span)
    if isinstance(value, Poison):
        raise Poisoned
    if callable(value) and not isinstance(value, CALLABLE):
        value = value(cx, expr.span)  # an ambient scalar
    if isinstance(value, Deferred):
        return cx.eval(value.expr, value.scope)
    return cx.localize(value)


def _number(cx: Context, expr: tree.Number, scope: Scope) -> Any:
    if not expr.unit:
        return check_static(expr.value, expr.span)
    if expr.unit == "%":
        return expr.value / 100
    if expr.unit not in UNITS:
        raise error(
            "E0205",
            f"unknown unit `{expr.unit}`",
            expr.span,
            help=suggest(expr.unit, UNITS) or "units are `%`, `epochs` and `steps`",
        )
    return Duration(expr.value, UNITS[expr.unit])


def _string(cx: Context, expr: tree.String, scope: Scope) -> Any:
    return expr.value


def _literal(cx: Context, expr: tree.Literal, scope: Scope) -> Any:
    return expr.value


def _tuple(cx: Context, expr: tree.Tuple, scope: Scope) -> Any:
    if expr.is_group:
        return cx.eval(expr.items[0].value, scope)
    seen: set[str] = set()
    for item in expr.items:
        if item.name and item.name in seen:
            raise error("E0203", f"`{item.name}` is defined twice", item.span)
        seen.add(item.name)
    values = evaluate_all(partial(cx.eval, item.value, scope) for item in expr.items)
    return TupleValue(tuple(zip((item.name for item in expr.items), values, strict=True)))


def _list(cx: Context, expr: tree.List, scope: Scope) -> Any:
    for item in expr.items:
        if item.name:
            raise error("E0206", "a list has no names", item.span, help="`(x = 1)` is a record")
    only = expr.items[0].value if len(expr.items) == 1 else None
    if not isinstance(only, tree.For):
        return ListValue(
            tuple(evaluate_all(partial(cx.eval, item.value, scope) for item in expr.items))
        )
    values: list[Any] = []
    for number, inner in iterations(cx, only, scope):
        with cx.assigned(iteration=(*cx.iteration, number)):
            values.append(cx.eval(only.body, inner))
    return ListValue(tuple(values))


def _call(cx: Context, expr: tree.Call, scope: Scope) -> Any:
    callee = cx.eval(expr.function, scope)
    args = evaluate_arguments(cx, expr.arguments, scope, callee)
    return call(cx, callee, args, expr.span)


def _attribute(cx: Context, expr: tree.Attribute, scope: Scope) -> Any:
    return attribute(cx, cx.eval(expr.value, scope), expr, scope)


def _index(cx: Context, expr: tree.Index, scope: Scope) -> Any:
    return index(cx, cx.eval(expr.value, scope), expr, scope)


def _chain(cx: Context, expr: tree.Chain, scope: Scope) -> Any:
    if expr.kind == "pipe":
        return _pipe(cx, expr, scope)
    if expr.kind in ("and", "or"):
        return _logical(cx, expr, scope, cx.eval(expr.first, scope))
    operands = (expr.first, *(operand for _, operand in expr.rest))
    values = evaluate_all(partial(cx.eval, operand, scope) for operand in operands)
    value, place = values[0], expr.first.span
    for (operator, operand), right in zip(expr.rest, values[1:], strict=True):
        value = binary(cx, operator.symbol, (value, place), (right, operand.span), operator.span)
        place = place.to(operand.span)
    return value


def _logical(cx: Context, expr: tree.Chain, scope: Scope, value: Any) -> Any:
    """`and`, `or`: lazy for static operands, so `N > 0 and T % N == 0` is safe."""
    place = expr.first.span
    for operator, operand in expr.rest:
        if isinstance(value, bool) and value == (expr.kind == "or"):
            return value
        right = (cx.eval(operand, scope), operand.span)
        value = binary(cx, expr.kind, (value, place), right, operator.span)
    return value


def _pipe(cx: Context, expr: tree.Chain, scope: Scope) -> Any:
    first = expr.first
    if isinstance(first, (tree.Repeat, tree.For)) or (
        isinstance(first, tree.If) and first.orelse is None
    ):
        value: Any = stage_of(cx, first, scope)
    else:
        value = cx.eval(first, scope)
    if isinstance(value, BlockValue):
        raise error(
            "E0220",
            f"`{value.name}` is used without its static call",
            first.span,
            help=f"write `{value.name}()`",
        )
    for number, (_, operand) in enumerate(expr.rest):
        if isinstance(value, CALLABLE):
            before = value.parts if isinstance(value, Stage) else (value,)
            value = Stage((*before, *stage_of(cx, operand, scope).parts))
            continue
        problems = Collected()
        value = problems.attempt(pipe_into, cx, value, operand, scope)
        if problems.found or problems.poisoned:
            for _, later in expr.rest[number + 1 :]:
                problems.attempt(check_stage, cx, later, scope)
            problems.finish()
    return value


def _unary(cx: Context, expr: tree.Unary, scope: Scope) -> Any:
    value = cx.eval(expr.operand, scope)
    apply = invert if expr.operator.symbol == "not" else negate
    return apply(cx, value, expr.span)


def _power(cx: Context, expr: tree.Power, scope: Scope) -> Any:
    base = (cx.eval(expr.base, scope), expr.base.span)
    exponent = (cx.eval(expr.exponent, scope), expr.exponent.span)
    return binary(cx, "^", base, exponent, expr.operator.span)


def _range(cx: Context, expr: tree.Range, scope: Scope) -> Any:
    start, stop = cx.eval(expr.start, scope), cx.eval(expr.stop, scope)
    for value, part in ((start, expr.start), (stop, expr.stop)):
        if not is_int(value):
            raise error("E0307", f"a range needs ints; this is {describe(value)}", part.span)
    return RangeValue(start, stop)


def branch(cx: Context, expr: tree.If, scope: Scope) -> tree.Expr | None:
    """The branch that a static condition takes; None for a missing `else`."""
    condition = cx.eval(expr.condition, scope)
    if isinstance(condition, Poison):
        raise Poisoned
    if isinstance(condition, TensorValue):
        raise error(
            "E0250",
            f"`if` cannot test a tensor; this is {describe(condition)}",
            expr.condition.span,
            help="`where(condition, a, b)` chooses element by element",
        )
    if not isinstance(condition, bool):
        raise error(
            "E0251",
            f"`if` needs a static condition here; this is {describe(condition)}",
            expr.condition.span,
            help=f"write `{expr.condition.span.text} > 0`" if is_int(condition) else "",
        )
    return expr.then if condition else expr.orelse


def _if(cx: Context, expr: tree.If, scope: Scope) -> Any:
    condition = cx.eval(expr.condition, scope)
    if isinstance(condition, Host) and condition.kind == "bool":
        return _host_if(cx, expr, condition, scope)
    taken = branch(cx, expr, scope)
    if taken is None:
        if expr.orelse is None and not isinstance(condition, bool):
            raise Poisoned
        return stage_of(cx, expr, scope)
    if expr.orelse is None and not mentions_placeholder(taken):
        return stage_of(cx, expr, scope)
    return cx.eval(taken, scope)


def _host_if(cx: Context, expr: tree.If, condition: Host, scope: Scope) -> Host:
    if expr.orelse is None:
        raise error("E0252", "an `if` over steps needs an `else`", expr.span)
    then, orelse = cx.eval(expr.then, scope), cx.eval(expr.orelse, scope)
    for value, part in ((then, expr.then), (orelse, expr.orelse)):
        scalar = isinstance(value, (Host, int, float)) and not isinstance(value, Poly)
        if not scalar:
            raise error(
                "E0252",
                f"an `if` over steps chooses between scalars; this is {describe(value)}",
                part.span,
                help="a tensor can be scaled by such a scalar",
            )
    kinds = {host_kind(then), host_kind(orelse)}
    kind = kinds.pop() if len(kinds) == 1 else "float"
    return Host(HostIf(condition.expr, host_expr(then), host_expr(orelse)), kind)


def iterations(
    cx: Context, expr: tree.Repeat | tree.For, scope: Scope
) -> Iterator[tuple[int, Scope]]:
    """The rounds of a static loop: their number and the scope with the loop's names."""
    before = cx.size()
    rounds = list(_rounds(cx, expr, scope))
    head = expr.count if isinstance(expr, tree.Repeat) else expr.sequence
    for number, inner in rounds:
        yield number, inner
        if number == 0:
            cx.check_growth(before, len(rounds), head.span)


def repeat_count(cx: Context, expr: tree.Repeat, scope: Scope) -> int:
    count = cx.eval(expr.count, scope)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise error("E0253", f"`repeat` needs a count; this is {describe(count)}", expr.count.span)
    return count


def _rounds(cx: Context, expr: tree.Repeat | tree.For, scope: Scope) -> Iterator[tuple[int, Scope]]:
    if isinstance(expr, tree.Repeat):
        count = repeat_count(cx, expr, scope)
        cx.spend(count, expr.count.span)
        for number in range(count):
            yield number, Scope(scope, "repeat")
        return
    for number, value in enumerate(_sequence(cx, expr, scope)):
        inner = Scope(scope, "for")
        values = (value,)
        if len(expr.names) > 1:
            if not isinstance(value, TupleValue) or len(value.items) != len(expr.names):
                raise error(
                    "E0232", f"{len(expr.names)} names for {describe(value)}", expr.sequence.span
                )
            values = value.values
        for name, item in zip(expr.names, values, strict=True):
            inner.define(name.id, item, name.span)
        yield number, inner


def _sequence(cx: Context, expr: tree.For, scope: Scope) -> Any:
    sequence = cx.eval(expr.sequence, scope)
    if isinstance(sequence, Poison):
        raise Poisoned
    if isinstance(sequence, (ListValue, TupleValue)):
        return sequence.values
    if isinstance(sequence, RangeValue):
        start, stop = sequence.start, sequence.stop
        if isinstance(start, int) and isinstance(stop, int):
            cx.spend(max(stop - start, 0), expr.sequence.span)
            return range(start, stop)
    help = "`scan` runs over the steps of a tensor" if isinstance(sequence, TensorValue) else ""
    raise error(
        "E0253",
        f"`for` needs a list or a range; this is {describe(sequence)}",
        expr.sequence.span,
        help=help,
    )


def _loop(cx: Context, expr: Any, scope: Scope) -> Any:
    """`repeat` or `for` with no value on its left is a stage."""
    return stage_of(cx, expr, scope)


def _ellipsis(cx: Context, expr: tree.Ellipsis_, scope: Scope) -> Any:
    raise error("E0207", "`...` belongs in a type or an index", expr.span)


EVALUATORS: dict[type, Callable[[Context, Any, Scope], Any]] = {
    tree.Name: _name,
    tree.Number: _number,
    tree.String: _string,
    tree.Literal: _literal,
    tree.Tuple: _tuple,
    tree.List: _list,
    tree.Call: _call,
    tree.Attribute: _attribute,
    tree.Index: _index,
    tree.Chain: _chain,
    tree.Unary: _unary,
    tree.Power: _power,
    tree.Range: _range,
    tree.If: _if,
    tree.Repeat: _loop,
    tree.For: _loop,
    tree.Scan: scan,
    tree.Ellipsis_: _ellipsis,
}
