"""Errors in the user's terms: a code, a place, labels at the other places involved, help.

Anything below the command line that finds a fault in a program raises `NncError` with a
`Diagnostic` (or collects several); nothing a user can write may end in another exception.
"""

from __future__ import annotations

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
    """The candidate that `word` may be a misspelling of, or "".

    One slip is forgiven in a short word, three in a long one; a word may also lack its end
    (`acc`) or have more of one (`batch_size`).
    """
    allowed = 1 if len(word) < 5 else 2 if len(word) < 9 else 3
    best, least = "", float("inf")
    for candidate in candidates:
        slips: float = edits(word, candidate)
        short, long = sorted((word, candidate), key=len)
        if (len(short) > 2 and long.startswith(short)) or _plain(word) == _plain(candidate):
            slips = min(slips, allowed)
        if slips <= allowed and slips < len(short):
            slips += (word[:1].isupper() != candidate[:1].isupper()) / 2
            if slips < least:
                best, least = candidate, slips
    return best


def _plain(word: str) -> str:
    return word.replace("_", "").lower()


def edits(a: str, b: str) -> int:
    """How many letters to insert, remove, replace or swap with the next turn `a` into `b`
    (optimal string alignment); case does not count."""
    if abs(len(a) - len(b)) > 3:
        return max(len(a), len(b))
    a, b = a.lower(), b.lower()
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row, older = row, [i], before
        for j, y in enumerate(b, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        before = above
    return row[-1]
