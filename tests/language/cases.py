"""Programs with the messages they give, kept in `messages.md` and readable there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nnc.language.parser import parse
from nnc.language.render import render
from nnc.language.tree import Source

FILE = Path(__file__).with_name("messages.md")
_CASE = re.compile(r"^## (.+?)\n\n```nn\n(.*?)```\n\n```text\n(.*?)```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Case:
    title: str
    program: str
    message: str


def read() -> list[Case]:
    return [Case(*match.groups()) for match in _CASE.finditer(FILE.read_text(encoding="utf-8"))]


def message(program: str) -> str:
    return render(parse(Source("model.nn", program))[1])


def _write() -> None:
    """Writes what is said today into the file, to be read before it is kept."""
    text = FILE.read_text(encoding="utf-8")
    for case in read():
        old, new = f"```text\n{case.message}```", f"```text\n{message(case.program)}```"
        start = text.index(f"## {case.title}\n")
        text = text[:start] + text[start:].replace(old, new, 1)
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _write()
