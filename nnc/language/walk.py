"""Going through a tree without recursion, so that no program is too long for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from nnc.language.tree import Source, Span

_NOT_NODES = (Span, Source, str, int, float, frozenset, type(None))


@cache
def _slots(kind: Any) -> tuple[str, ...]:
    """The fields of a node class that can hold nodes."""
    if not is_dataclass(kind):
        return ()
    return tuple(f.name for f in fields(kind) if not f.name.endswith("span") and f.name != "source")


def children(node: Any) -> list[Any]:
    """The nodes directly below one, in the order of the source."""
    found: list[Any] = []
    pending = [getattr(node, name) for name in reversed(_slots(node.__class__))]
    while pending:
        value = pending.pop()
        if isinstance(value, tuple):
            pending.extend(reversed(value))
        elif not isinstance(value, _NOT_NODES):
            found.append(value)
    return found


def walk(node: Any) -> Iterator[Any]:
    """A node (or tuple of nodes) and every node below it, parents first, in source order."""
    for found, _ in walk_with_depth(node):
        yield found


def walk_with_depth(node: Any) -> Iterator[tuple[Any, int]]:
    """As `walk`, with how many nodes stand above each one."""
    pending = [(n, 0) for n in reversed(node if isinstance(node, tuple) else (node,))]
    while pending:
        current, depth = pending.pop()
        yield current, depth
        pending.extend((child, depth + 1) for child in reversed(children(current)))
