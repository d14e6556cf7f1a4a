"""The `init` setting: weights that come from a file instead of their initializers."""

from __future__ import annotations

from typing import Any

from nnc.elaborate.context import Context
from nnc.elaborate.train.common import Section
from nnc.elaborate.values import PathRef, Template, describe
from nnc.ir.graph import Graph
from nnc.ir.program import Load
from nnc.language import tree
from nnc.language.diagnostics import error, suggest

_PARAMETERS = ("file", "into", "strict", "part")


def initial_weights(section: Section) -> list[Load]:
    """`init = load("weights.safetensors", into = net, strict = false)`, or a list of them."""
    setting = section.settings.get("init")
    if setting is None:
        return []
    cx = section.context(Graph("init"), training=False)
    calls = (
        [i.value for i in setting.value.items]
        if isinstance(setting.value, tree.List)
        else [setting.value]
    )
    return [_load(section, cx, call) for call in calls]


def _load(section: Section, cx: Context, call: tree.Expr) -> Load:
    known = isinstance(call, tree.Call) and isinstance(call.function, tree.Name)
    if not known or call.function.id != "load":  # type: ignore[union-attr]
        raise error("E0433", '`init` is `load("weights.safetensors", into = net)`', call.span)
    scope = section.scope(cx)
    values: dict[str, Any] = {"into": None, "strict": True, "part": None}
    for position, item in enumerate(call.arguments):  # type: ignore[union-attr]
        name = item.name or (_PARAMETERS[position] if position < len(_PARAMETERS) else "")
        if name not in _PARAMETERS:
            raise error(
                "E0211",
                f"`load` has no parameter `{item.name or item.span.text}`",
                item.span,
                help=suggest(item.name, _PARAMETERS),
            )
        values[name] = cx.eval(item.value, scope)
    file, into, strict, part = (values.get(name) for name in _PARAMETERS)
    if not isinstance(file, str) or not isinstance(strict, bool):
        raise error(
            "E0433", "`load` takes the name of a file, and `strict` true or false", call.span
        )
    if part is not None and not isinstance(part, str):
        raise error("E0433", f"`part` is a path in the file; this is {describe(part)}", call.span)
    if into is not None and not isinstance(into, (Template, PathRef)):
        raise error("E0433", f"`into` names an instance; this is {describe(into)}", call.span)
    prefix = "" if into is None else into.path
    return Load(str(section.module.data.inside(file, call.span)), prefix, strict, part)
