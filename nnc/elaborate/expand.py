"""A program with every default written out: `nnc compile --emit expanded`, and the record of a run.

Configs take the values they were given, calls of the program's and the library's functions and
blocks name the parameters that were left out, and sections show the settings that they did not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from nnc.elaborate.module import Module
from nnc.elaborate.values import BlockValue, Function
from nnc.language import tree
from nnc.language.formatter import print_program
from nnc.language.tree import Source, Span

NOWHERE = Span(Source("", ""), 0, 0)


def expanded(module: Module) -> str:
    """The text of the program with its defaults; it means what the program means."""
    items = tuple(_item(module, item) for item in module.program.items)
    return print_program(replace(module.program, items=items))


def _item(module: Module, item: Any) -> Any:
    if isinstance(item, tree.Decl) and item.name in module.configs:
        item = replace(item, value=_literal(module.configs[item.name]))
    if isinstance(item, tree.Section):
        item = _with_settings(module, item)
    return _rewrite(item, lambda call, piped: _with_defaults(module, call, piped))


def _rewrite(node: Any, change: Callable[[tree.Call, bool], tree.Call], piped: bool = False) -> Any:
    """A copy of a tree with `change` applied to every call, the innermost first."""
    if isinstance(node, tuple):
        return tuple(_rewrite(part, change) for part in node)
    if isinstance(node, tree.Chain) and node.kind == "pipe":
        rest = tuple((op, _rewrite(operand, change, True)) for op, operand in node.rest)
        return replace(node, first=_rewrite(node.first, change), rest=rest)
    if not is_dataclass(node) or isinstance(node, (Span, Source, tree.Operator)):
        return node
    if isinstance(node, (tree.Repeat, tree.For, tree.If)):
        piped = True  # their bodies are stages, or hold the value itself
    inner = {
        f.name: _rewrite(getattr(node, f.name), change, piped and f.name in ("body", "then"))
        for f in fields(node)
        if not f.name.endswith("span") and f.name != "source"
    }
    copied = replace(node, **inner)  # type: ignore[type-var]
    return change(copied, piped) if isinstance(copied, tree.Call) else copied


def _with_defaults(module: Module, call: tree.Call, piped: bool) -> tree.Call:
    parameters = _parameters(module, call.function)
    if parameters is None:
        return call
    block, declared = parameters
    positional = sum(not item.name for item in call.arguments)
    first = 1 if piped and not block and declared else 0
    given = {p.name for p in declared[: positional + first]}
    given |= {item.name for item in call.arguments}
    missing = tuple(
        tree.Argument(p.name, p.default, p.span)
        for p in declared[first:]
        if p.name not in given and p.default is not None
    )
    if not block and not piped and positional < sum(p.default is None for p in declared):
        return call  # a stage: which parameters it lacks shows only where it is used
    return replace(call, arguments=(*call.arguments, *missing))


def _parameters(module: Module, function: Any) -> tuple[bool, tuple[tree.Parameter, ...]] | None:
    """Whether a callee is a block, and its (static) parameters; None for anything else."""
    if not isinstance(function, tree.Name):
        return None
    binding = module.scope.find(function.id)
    value = binding.force(function.id, None) if binding is not None else None
    if isinstance(value, BlockValue):
        return True, value.definition.static
    if isinstance(value, Function):
        return False, value.definition.parameters
    return None


_DEFAULTS: dict[str, dict[str, Any]] = {"train": {"seed": 0}, "data": {"shuffle": True}}


def _with_settings(module: Module, section: tree.Section) -> tree.Section:
    written = {n.id for s in section.body if isinstance(s, tree.Set) for n in s.names}
    missing = tuple(
        tree.Set((tree.Name(name, NOWHERE),), _literal(value), NOWHERE)
        for name, value in _DEFAULTS.get(section.kind, {}).items()
        if name not in written
    )
    return replace(section, body=(*section.body, *missing))


def _literal(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return tree.Literal(value, NOWHERE)
    if isinstance(value, str):
        return tree.String(value, NOWHERE)
    number = tree.Number(abs(value), "", repr(abs(value)), NOWHERE)
    return number if value >= 0 else tree.Unary(tree.Operator("-", NOWHERE), number, NOWHERE)
