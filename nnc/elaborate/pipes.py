"""Pipes and stages: `x |> stage`, and stages that wait for their input (semantics 1 and 2)."""

from __future__ import annotations

from typing import Any

from nnc.elaborate.arguments import Args, evaluate_arguments
from nnc.elaborate.calls import INVOKE, invoke
from nnc.elaborate.context import Context
from nnc.elaborate.instances import apply, definition_span, static_call, static_form
from nnc.elaborate.scope import Scope
from nnc.elaborate.values import (
    CALLABLE,
    BlockValue,
    Part,
    Poison,
    Poisoned,
    Stage,
    describe,
)
from nnc.language import tree
from nnc.language.diagnostics import Label, error
from nnc.language.tree import Span
from nnc.language.walk import children


def pipe_into(cx: Context, value: Any, expr: tree.Expr, scope: Scope) -> Any:
    """`value |> expr` (semantics 1 and 2)."""
    if isinstance(value, Poison):
        raise Poisoned
    if isinstance(expr, (tree.If, tree.Repeat, tree.For)):
        return _control_stage(cx, value, expr, scope)
    if mentions_placeholder(expr):
        inner = Scope(scope, "stage")
        inner.define("_", value, expr.span)
        return cx.eval(expr, inner)
    first = ("", value, expr.span)
    if isinstance(expr, tree.Tuple) and expr.is_group:
        return pipe_into(cx, value, expr.items[0].value, scope)
    if isinstance(expr, tree.Call):
        callee = cx.eval(expr.function, scope)
        args = evaluate_arguments(cx, expr.arguments, scope, callee)
        if isinstance(callee, BlockValue):
            template = static_call(cx, callee, args, expr.span)
            return apply(cx, template, [first], expr.span)
        return invoke(cx, callee, [first, *args], expr.span)
    stage = cx.eval(expr, scope)
    if isinstance(stage, BlockValue):
        raise error(
            "E0220",
            f"`{stage.name}` is used without its static call",
            expr.span,
            Label(definition_span(stage), "a block has two parameter lists"),
            help=f"write `{static_form(stage)}`",
        )
    if not isinstance(stage, CALLABLE):
        raise error(
            "E0215",
            f"`|>` needs a stage on its right; this is {describe(stage)}",
            expr.span,
            help="a stage is a function, an instance, or a block's static call",
        )
    return invoke(cx, stage, [first], expr.span)


def check_stage(cx: Context, expr: tree.Expr, scope: Scope) -> None:
    """What can be said of a stage whose input has an error: its names and static arguments."""
    if isinstance(expr, tree.Name):
        cx.eval(expr, scope)
    elif isinstance(expr, tree.Call) and not mentions_placeholder(expr):
        callee = cx.eval(expr.function, scope)
        args = evaluate_arguments(cx, expr.arguments, scope, callee)
        if isinstance(callee, BlockValue):
            static_call(cx, callee, args, expr.span)


def mentions_placeholder(expr: Any) -> bool:
    """Whether `_` stands in `expr` for the value that enters it (not inside an inner stage)."""
    pending = [expr]
    while pending:
        node = pending.pop()
        if isinstance(node, tree.Name):
            if node.id == "_":
                return True
        elif isinstance(node, tree.Chain) and node.kind == "pipe":
            pending.append(node.first)
        elif isinstance(node, (tree.If, tree.Repeat, tree.For, tree.Scan)):
            head = {tree.If: "condition", tree.Repeat: "count"}.get(type(node), "sequence")
            pending.append(getattr(node, head))
        else:
            pending.extend(children(node))
    return False


def _control_stage(cx: Context, value: Any, expr: Any, scope: Scope) -> Any:
    from nnc.elaborate.expressions import branch, iterations
    from nnc.elaborate.stacked import may_stack, repeat_stacked

    if isinstance(expr, tree.If):
        taken = branch(cx, expr, scope)
        return value if taken is None else pipe_into(cx, value, taken, scope)
    if isinstance(expr, tree.Repeat) and may_stack(cx, expr):
        return repeat_stacked(cx, value, expr, scope)
    for number, inner in iterations(cx, expr, scope):
        with cx.assigned(iteration=(*cx.iteration, number)):
            value = pipe_into(cx, value, expr.body, inner)
    return value


def stage_of(cx: Context, expr: tree.Expr, scope: Scope) -> Stage:
    """An expression kept to be applied later, with its place."""
    return Stage((Part(expr, scope, cx.naming, cx.iteration),))


def _apply_stage(cx: Context, stage: Stage, args: Args, span: Span) -> Any:
    if not args:
        raise error("E0212", "a stage needs its input", span)
    value = args[0][1]
    for number, part in enumerate(stage.parts):
        rest = args[1:] if number == 0 else []
        if isinstance(part, Part):
            with cx.assigned(naming=part.naming, iteration=part.iteration):
                value = pipe_into(cx, value, part.expr, part.scope)
        else:
            value = invoke(cx, part, [("", value, span), *rest], span)
    return value


INVOKE[Stage] = _apply_stage
