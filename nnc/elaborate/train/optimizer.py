"""The `optimizer` setting: groups of weights, and one update rule applied to one weight."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from nnc.elaborate.arithmetic import as_tensor
from nnc.elaborate.context import Context, Naming
from nnc.elaborate.instances import apply
from nnc.elaborate.layers import Layers, Unstackable, element, in_rounds
from nnc.elaborate.scope import Scope
from nnc.elaborate.values import (
    BlockValue,
    ListValue,
    PathRef,
    Poison,
    Poisoned,
    Template,
    TensorValue,
    TupleValue,
    describe,
)
from nnc.ir.builder import Tensor
from nnc.ir.types import SHORT_FLOATS
from nnc.language import tree
from nnc.language.diagnostics import error
from nnc.language.tree import Span

#: (pattern or path of a group, None for all weights; its update rule), the first match wins
Groups = list[tuple[str | None, Template]]


def optimizer_groups(cx: Context, expr: tree.Expr, scope: Scope) -> Groups:
    """The groups of `optimizer = Adam(1e-3)` or `= [("*.b", Adam(1e-3)), (net, Adam(1e-4))]`."""
    with cx.assigned(naming=Naming("", {})):
        value = cx.eval(expr, scope)
    span = expr.span
    if not isinstance(value, ListValue):
        return [(None, _rule(value, span))]
    return [_group(item, span) for item in value.values]


def _group(item: Any, span: Span) -> tuple[str | None, Template]:
    pair = item.values if isinstance(item, TupleValue) else ()
    if len(pair) != 2:
        raise error("E0425", "a group is a pair (what, optimizer)", span)
    what, rule = pair
    if isinstance(what, (Template, PathRef)):
        return what.path, _rule(rule, span)
    if isinstance(what, str):
        return what, _rule(rule, span)
    raise error(
        "E0425",
        f'a group names an instance or a pattern such as "*.b"; this is {describe(what)}',
        span,
    )


def _rule(value: Any, span: Span) -> Template:
    if isinstance(value, Poison):
        raise Poisoned
    if isinstance(value, Template) and len(value.block.definition.inputs or ()) == 2:
        return value
    raise error(
        "E0425",
        f"an optimizer is a block with the inputs (p, grad); this is {describe(value)}",
        span,
        help=f"write `{value.name}(...)`"
        if isinstance(value, BlockValue)
        else "write `Adam(1e-3)`",
    )


def rule_of(cx: Context, groups: Groups, path: str, span: Span) -> Template:
    """The rule of the weight at `path`, which must be one for all layers where it is a stack."""
    rules = [rule_for(groups, one, span) for one in cx.world.state[path].paths]
    if any(rule is not rules[0] for rule in rules):
        raise Unstackable(cx.world.layers[path][0].span, "its rounds have different optimizers")
    return rules[0]


def rule_for(groups: Groups, path: str, span: Span) -> Template:
    """The rule of the first group that the weight at `path` belongs to."""
    for what, rule in groups:
        if what is None or path == what or path.startswith(f"{what}.") or fnmatchcase(path, what):
            return rule
    raise error(
        "E0426",
        f"no group of the optimizer matches `{path}`",
        span,
        help="the last group can be the whole net: `(net, Adam(1e-3))`",
    )


def apply_rule(
    cx: Context, rule: Template, step: str, path: str, gradient: TensorValue, span: Span
) -> TensorValue:
    """The new value of the weight at `path`; its moments stand at `@opt/STEP/NAME/PATH`.

    A rule computes in f32: a weight of a short float is widened for it, and its new value rounded.
    Of stacked layers each is updated by itself.
    """
    stacks = cx.world.layers.get(path, ())
    weight = TensorValue(cx.inputs[path], cx.world.names[path])

    def update() -> Tensor:
        kept, slope = (_layer(cx, value, stacks) for value in (weight, gradient))
        return _updated(cx, replace(rule, stacks=stacks), step, path, kept, slope, span)

    return weight.with_tensor(in_rounds(cx, stacks, span, update))


def _layer(cx: Context, value: TensorValue, stacks: tuple[Layers, ...]) -> TensorValue:
    return TensorValue(element(cx, value.tensor, stacks), value.names[len(stacks) :])


def _updated(
    cx: Context,
    rule: Template,
    step: str,
    path: str,
    kept: TensorValue,
    gradient: TensorValue,
    span: Span,
) -> Tensor:
    """The new value of `kept`, a weight or what a layer has of it."""
    named = replace(rule, naming=Naming("", {}), place=("@update." + path,) * 2, iteration=())
    with cx.at(span):
        weight, gradient = (_in_f32(value) for value in (kept, gradient))
    state_path = f"@opt/{step}/{{}}/{path}"
    with cx.assigned(state_path=state_path, state_kind="optimizer", counter="updates"):
        result = apply(cx, named, [("", weight, span), ("", gradient, span)], span)
    value = as_tensor(cx, result, weight.dtype, span)
    if value.type != weight.type:
        raise error(
            "E0301", f"the optimizer makes {describe(value)} of `{path}`, {describe(weight)}", span
        )
    with cx.at(span):
        return value.tensor.cast(kept.dtype)


def _in_f32(value: TensorValue) -> TensorValue:
    short = value.dtype in SHORT_FLOATS
    return value.with_tensor(value.tensor.cast("f32")) if short else value
