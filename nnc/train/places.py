"""From the origin of a node to a place in a program's text, for messages of a run."""

from __future__ import annotations

from pathlib import Path

import nnc
from nnc.ir.graph import Origin
from nnc.language.tree import Source, Span


def in_library(origin: Origin) -> bool:
    """Whether a place is in the standard library, not in what the user wrote."""
    return origin.file.startswith("std/")


def span_of(origin: Origin, program: str) -> Span | None:
    """The rest of the line that `origin` points into; None where the file cannot be read.

    `origin.file` is a name as messages show it: of the library, or of a file beside `program`.
    """
    path = Path(nnc.__file__).parent if in_library(origin) else Path(program).parent
    try:
        text = (path / origin.file).read_text("utf-8")
    except (OSError, ValueError):
        return None
    lines = text.split("\n")
    if not 1 <= origin.line <= len(lines):
        return None
    line = lines[origin.line - 1]
    column = max(origin.column - 1, len(line) - len(line.lstrip()))
    start = sum(len(line) + 1 for line in lines[: origin.line - 1]) + column
    rest = line[column:].split("#")[0].rstrip()
    shown = origin.file if in_library(origin) else str(path / origin.file)
    return Span(Source(shown, text), start, start + max(len(rest), 1))
