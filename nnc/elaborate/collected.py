"""Errors of independent parts, gathered so that one run shows them all.

A part that fails with errors of its own is reported; a part that only used something already
reported (`Poisoned`) stays silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from nnc.elaborate.values import Poisoned
from nnc.language.diagnostics import Diagnostic, NncError

T = TypeVar("T")
P = ParamSpec("P")


@dataclass
class Collected:
    """The errors so far, to be raised together by `finish`."""

    found: list[Diagnostic] = field(default_factory=list)
    poisoned: bool = False

    def attempt(self, part: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What `part` returns; None where it fails, its errors kept."""
        try:
            return part(*args, **kwargs)
        except NncError as failure:
            self.found.extend(failure.diagnostics)
        except Poisoned:
            self.poisoned = True
        return None

    def finish(self) -> None:
        if self.found:
            raise NncError(*self.found)
        if self.poisoned:
            raise Poisoned


def evaluate_all(parts: Iterable[Callable[[], T]]) -> list[T]:
    """The values of all parts; raises the errors of all that fail, in one."""
    problems = Collected()
    values = [problems.attempt(part) for part in parts]
    problems.finish()
    return values  # type: ignore[return-value]  # none failed
