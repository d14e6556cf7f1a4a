"""Unknown names in what is not elaborated: a check of the text alone.

What is elaborated reports its own unknown names; this finds those in code that is not reached (an
untaken branch, a block that nothing applies).  It may know too many names, never too few.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nnc.elaborate.module import Module
from nnc.elaborate.scope import Binding, Scope, unknown_name
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic
from nnc.language.walk import walk


def unknown_names(module: Module) -> Iterator[Diagnostic]:
    """E0201 for each name in a `block`, `fn` or `train` that nothing introduces."""
    for definition in module.definitions():
        yield from _unknown(module, definition, definition.body)
    for section in module.trains.values():
        yield from _unknown(module, section, tuple(_expressions(section)))


def _unknown(module: Module, owner: Any, body: Any) -> Iterator[Diagnostic]:
    scope = Scope(module.scope)
    scope.bindings = {name: Binding() for name in _introduced(owner)}
    for node in walk(body):
        if isinstance(node, tree.Name) and node.id != "_" and scope.find(node.id) is None:
            yield unknown_name(node.id, node.span, scope).diagnostics[0]


def _expressions(section: tree.Section) -> Iterator[tree.Expr]:
    """The values in a `train`; in some settings stand names of other kinds."""
    others = ("stop", "clock", "init", "precision", "memory", "remat")
    for node in walk(section.body):
        if isinstance(node, tree.Let) or (
            isinstance(node, tree.Set) and node.names[0].id not in others
        ):
            yield node.value


def _introduced(definition: Any) -> Iterator[str]:
    """Every name that a definition introduces anywhere: parameters, dims, lets, loops, labels."""
    for node in walk(definition):
        if isinstance(node, tree.Parameter):
            yield node.name
        elif isinstance(node, (tree.Let, tree.Set, tree.For, tree.Scan)):
            yield from (name.id for name in node.names)
            if isinstance(node, tree.Scan):
                yield from (carry.name for carry in node.carries)
                yield from ([node.axis.id] if node.axis else [])
        elif isinstance(node, tree.Decl):
            yield node.name
        elif isinstance(node, tree.Section):
            yield from ("N", "loss")
        elif isinstance(node, tree.TensorTypeExpr):
            for item in node.dims or ():
                yield from (n.id for n in walk(item) if isinstance(n, tree.Name))
                yield item.name
        elif isinstance(node, tree.Index):
            for item in node.items:
                yield from (
                    n.id for n in walk(item) if isinstance(n, tree.Name) and n.id[:1].isupper()
                )
                yield item.name
        elif isinstance(node, tree.Argument) and node.name == "axis":
            yield from (n.id for n in walk(node) if isinstance(n, tree.Name))
