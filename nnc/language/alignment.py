"""Aligning the columns of consecutive statements.

Runs of `let`s and settings share the column of their `=`; declarations and fields share the
columns of their names, types and `=`.  An empty line, a comment between, or a gap that would
be too wide starts a new run, and so does a `let` after settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnc.language.layout import Doc, Line

MAX_GAP = 12


@dataclass(frozen=True)
class Row:
    """A statement: the line before it, the words left of its `=`, and the rest.

    `kind` is "let", "set", "decl", "field" or "" for what is never aligned.  `right` is None
    where nothing follows the words.
    """

    line: Line | None
    kind: str
    left: tuple[str, ...]
    right: Doc | None
    is_alone: bool = False

    @property
    def width(self) -> int:
        return sum(map(len, self.left)) + len(self.left) - 1


def align(rows: Sequence[Row]) -> Doc:
    """The statements as one document."""
    docs: list[Doc] = []
    run: list[Row] = []
    narrow = wide = 0
    for row in rows:
        narrow, wide = min(narrow, row.width), max(wide, row.width)
        if not run or not _continues(run[-1], row) or wide - narrow > MAX_GAP:
            docs += _aligned(run)
            run, narrow, wide = [], row.width, row.width
        run.append(row)
    return docs + _aligned(run)


def _continues(last: Row, row: Row) -> bool:
    """Whether a row can be in the run of the one before, widths aside."""
    if row.line is None or row.line.blank or row.line.own or row.is_alone or last.is_alone:
        return False
    binds = {row.kind, last.kind} <= {"let", "set"} and (last.kind, row.kind) != ("set", "let")
    return bool(row.kind) and (binds or row.kind == last.kind)


def _aligned(run: list[Row]) -> list[Doc]:
    docs: list[Doc] = []
    widths = [max(map(len, column)) for column in zip(*(row.left for row in run), strict=True)]
    for row in run:
        padded = " ".join(f"{word:<{w}}" for word, w in zip(row.left, widths, strict=True))
        if row.right is None:
            padded = padded.rstrip()
        docs += [row.line] if row.line is not None else []
        docs += [padded] if row.left else []
        if row.right is not None:
            docs += [" ", row.right] if row.left else [row.right]
    return docs
