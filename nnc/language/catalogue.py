"""The pages behind `nnc explain CODE`, one markdown file for each code in `explain/`.

A page is a title (`# E0101: a bracket that is never closed`), what it is about, a program that
has the error in a block of ```nn, and the same program put right in another.  A code without a
program (a file that does not exist has none) leaves both out.  Whoever adds a code adds a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_TITLE = re.compile(r"# (E\d{4}): (.+)\n")
_PROGRAM = re.compile(r"^```nn\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """A page: `explanation` is its text before the programs, `page` all of it as written."""

    code: str
    title: str
    explanation: str
    example: str
    fixed: str
    page: str


def parse_page(text: str) -> Entry:
    """The entry that a page describes; raises `ValueError` where it has another form."""
    title = _TITLE.match(text)
    programs = list(_PROGRAM.finditer(text))
    if title is None or len(programs) not in (0, 2):
        raise ValueError("a page has a title `# E0000: ...` and two programs or none")
    explanation = text[title.end() : programs[0].start() if programs else None].strip()
    example, fixed = (p.group(1) for p in programs) if programs else ("", "")
    return Entry(title[1], title[2], explanation, example, fixed, text)


_FOLDER = files("nnc.language") / "explain"


@cache
def _codes() -> tuple[str, ...]:
    names = (path.name for path in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(".md") for name in names if name.endswith(".md")))


class _Catalogue(Mapping[str, Entry]):
    """Code to entry; a page is read when it is asked for."""

    def __getitem__(self, code: str) -> Entry:
        if code not in _codes():
            raise KeyError(code)
        return parse_page((_FOLDER / f"{code}.md").read_text(encoding="utf-8"))

    def __iter__(self) -> Iterator[str]:
        return iter(_codes())

    def __len__(self) -> int:
        return len(_codes())


CATALOGUE: Mapping[str, Entry] = _Catalogue()
