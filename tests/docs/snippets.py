"""The fenced blocks of the documentation, with what the comments above them say of them.

A block may stand below directives that a reader does not see:

    <!-- inside: model Net()(x: f32[N, 64]) -->     the block is the body of this
    <!-- with: digits -->                           these definitions (`PRELUDES`) stand before it
    <!-- also: model M()(x: f32[N, 8]) = x |> F() -->  this text stands after it
    <!-- error: E0320 -->                           the program has exactly these errors
    <!-- values: x: f32[N, 8] -->                   each line is `expression   # its value`
    <!-- file: mine.nn -->                          the block is this file of the folder
    <!-- not run -->                                a sketch, which is shown only
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DIRECTIVES = ("inside", "with", "also", "error", "values", "file", "not run", "table", "end")

_DIRECTIVE = re.compile(r"<!--\s*([a-z ]+?)\s*(?::\s*(.*?))?\s*-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block; `line` is that of its first line, from 1."""

    path: Path
    line: int
    language: str
    text: str
    directives: tuple[tuple[str, str], ...]
    section: str

    @property
    def place(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    def says(self, directive: str) -> str | None:
        return dict(self.directives).get(directive)


def documents() -> list[Path]:
    return sorted(DOCS.glob("*.md"))


@cache
def blocks(path: Path) -> tuple[Block, ...]:
    """The fenced blocks of a document, in order."""
    return tuple(_blocks(path, path.read_text(encoding="utf-8")))


def _blocks(path: Path, text: str) -> Iterator[Block]:
    lines = text.splitlines()
    section, above, number = "", "", 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if line.startswith("```"):
            end = lines.index("```", number)
            body = "\n".join(lines[number:end]) + "\n"
            yield Block(path, number + 1, line[3:].strip(), body, _directives(above), section)
            number, above = end + 1, ""
        elif line.startswith("## "):
            section, above = line[3:], ""
        elif line.startswith("<!--") or (above.count("<!--") > above.count("-->")):
            above += line + "\n"
        elif line.strip():
            above = ""


def _directives(text: str) -> tuple[tuple[str, str], ...]:
    found = [(m[1], m[2] or "") for m in _DIRECTIVE.finditer(text)]
    unknown = [name for name, _ in found if name not in DIRECTIVES]
    assert not unknown, f"unknown directives {unknown}"
    return tuple(found)
