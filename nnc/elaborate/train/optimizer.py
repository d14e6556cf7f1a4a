"""The `optimizer` setting: groups of weights, each with its update rule."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from nnc.elaborate.context import Context
from nnc.elaborate.layers import Unstackable
from nnc.elaborate.places import Naming
from nnc.elaborate.scope import Scope
from nnc.elaborate.values import (
    BlockValue,
    ListValue,
    PathRef,
    Poison,
    Poisoned,
    Template,
    TupleValue,
    describe,
)
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
