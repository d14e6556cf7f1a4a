"""Errors in the user's terms: a code, a place, labels at the other places involved, help.

Anything below the command line that finds a fault in a program raises `NncError` with a
`Diagnostic` (or collects several); nothing a user can write may end in another exception.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from nnc.language.tree import Span


@dataclass(frozen=True)
class Label:
    """A further place that explains an error, with what to say there."""

    span: Span
    text: str


@dataclass(frozen=True)
class Diagnostic:
    """One error.  `code` is a key of the catalogue (`nnc explain CODE`)."""

    code: str
    message: str
    span: Span | None = None
    labels: tuple[Label, ...] = ()
    help: str = ""


class NncError(Exception):
    """One or more diagnostics."""

    def __init__(self, *diagnostics: Diagnostic):
        super().__init__("; ".join(d.message for d in diagnostics))
        self.diagnostics = diagnostics


def error(
    code: str, message: str, span: Span | None = None, *labels: Label, help: str = ""
) -> NncError:
    """The exception for a single diagnostic, to be raised by the caller."""
    return NncError(Diagnostic(code, message, span, labels, help))


def suggest(word: str, candidates: Iterable[str]) -> str:
    """`did you mean ...?` for the candidate nearest to `word`, or ""."""
    near = nearest(word, candidates)
    return f"did you mean `{near}`?" if near else ""


def nearest(word: str, candidates: Iterable[str]) -> str:
    """The candidate that `word` may be a misspelling of, or ""."""
    known = list(candidates)
    lower = {c.lower(): c for c in known}
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return near[0] if near else lower.get(word.lower(), "")
