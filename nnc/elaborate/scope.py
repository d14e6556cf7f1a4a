"""Names: lexical scopes with lazy bindings, and the message for a name that does not exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from nnc.elaborate.values import POISON, Poisoned
from nnc.language.diagnostics import Label, NncError, error, suggest
from nnc.language.tree import Span


@dataclass
class Binding:
    """A name's value, or how to get it when first needed; `span` is where it was introduced."""

    value: Any = None
    span: Span | None = None
    compute: Callable[[], Any] | None = None
    busy: bool = False

    def force(self, name: str, use: Span | None) -> Any:
        if self.compute is None:
            return self.value
        if self.busy:
            labels = [Label(use, "its value is needed here")] if use and self.span else []
            raise error("E0204", f"`{name}` is defined by itself", self.span or use, *labels)
        self.busy = True
        try:
            self.value = self.compute()
        except (NncError, Poisoned):
            # The error belongs to the definition; every further use stays silent.
            self.value, self.compute = POISON, None
            raise
        except RecursionError:
            self.value, self.compute = POISON, None
            raise error(
                "E0271",
                f"`{name}` needs too many definitions, one inside the other",
                self.span or use,
            ) from None
        finally:
            self.busy = False
        self.compute = None
        return self.value


class Scope:
    """One level of names inside `parent`."""

    def __init__(self, parent: Scope | None = None, kind: str = "body"):
        self.parent = parent
        self.kind = kind
        self.bindings: dict[str, Binding] = {}
        self.carries: set[str] = set()  # the names that a `scan` body may set

    def find(self, name: str) -> Binding | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.bindings:
                return scope.bindings[name]
            scope = scope.parent
        return None

    def define(self, name: str, value: Any, span: Span | None = None) -> None:
        """Introduce `name` here; E0203 where this level has it already."""
        self._claim(name, span)
        self.bindings[name] = Binding(value, span)

    def define_lazy(self, name: str, compute: Callable[[], Any], span: Span | None = None) -> None:
        self._claim(name, span)
        self.bindings[name] = Binding(None, span, compute)

    def names(self) -> Iterator[str]:
        scope: Scope | None = self
        while scope is not None:
            yield from scope.bindings
            scope = scope.parent

    def _claim(self, name: str, span: Span | None) -> None:
        before = self.bindings.get(name)
        if before is not None and name != "_":
            labels = [Label(before.span, "first defined here")] if before.span else []
            raise error("E0203", f"`{name}` is defined twice", span, *labels)


def unknown_name(name: str, span: Span, scope: Scope, what: str = "name") -> NncError:
    """E0201 with the nearest name that does exist."""
    help = suggest(name, [n for n in scope.names() if not n.startswith("_")])
    return error("E0201", f"unknown {what} `{name}`", span, help=help)
