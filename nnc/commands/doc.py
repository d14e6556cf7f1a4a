"""`nnc doc NAME`: what a name of the library, of `data` sections or of the compiler means.

What the library defines is shown with its definition: it is in the language, and short.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Any

from nnc.data import READERS, TRANSFORMS
from nnc.elaborate.functions import BUILTINS
from nnc.elaborate.module import library_files
from nnc.elaborate.values import Builtin
from nnc.language import tree
from nnc.language.diagnostics import error, suggest
from nnc.language.parser import parse
from nnc.language.tree import Source


@dataclass(frozen=True)
class Entry:
    """One name: what kind of thing it is, its documentation, its signature or definition."""

    name: str
    kind: str
    place: str
    doc: str
    text: str


def run(args: argparse.Namespace) -> int:
    entries = list(all_entries())
    if args.name is None:
        for entry in sorted(entries, key=lambda e: (e.place, e.name)):
            print(f"{entry.name:24} {entry.kind:10} {entry.doc.partition(chr(10))[0]}".rstrip())
        return 0
    found = [entry for entry in entries if entry.name == args.name]
    if not found:
        raise error(
            "E0802",
            f"there is no documentation of `{args.name}`",
            help=suggest(args.name, [e.name for e in entries]) or "`nnc doc` lists all names",
        )
    print("\n\n".join(_text(entry) for entry in found))
    return 0


def all_entries() -> Iterator[Entry]:
    yield from _library()
    for kind, table in (("reader", READERS), ("transform", TRANSFORMS)):
        for name, described in table.items():
            yield Entry(name, kind, "data", inspect.getdoc(described) or "", _fields(described))
    for name, builtin in BUILTINS.items():
        yield Entry(name, "function", "built in", builtin.doc, _signature(builtin))


def _library() -> Iterator[Entry]:
    for file in library_files():
        program, _ = parse(Source(f"std/{file.name}", file.read_text("utf-8")))
        for item in program.items:
            if isinstance(item, (tree.Fn, tree.Block)):
                kind = "function" if isinstance(item, tree.Fn) else item.kind
                place = f"std/{file.name}:{item.span.line}"
                yield Entry(item.name, kind, place, item.doc, item.span.text)


def _fields(described: Any) -> str:
    """A reader or transform as it is called: the fields of its dataclass are its parameters."""
    names = [
        f.name if f.default is MISSING else f"{f.name} = {_value(f.default)}"
        for f in fields(described)
    ]
    return f"{described.name}({', '.join(names)})"


def _signature(builtin: Builtin) -> str:
    if builtin.doc.startswith(f"`{builtin.name}("):  # the documentation begins with it
        return ""
    return f"{builtin.name}({', '.join(map(_parameter, builtin.parameters))})"


def _parameter(parameter: inspect.Parameter) -> str:
    star = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else ""
    if parameter.default is inspect.Parameter.empty:
        return star + parameter.name
    return f"{parameter.name} = {_value(parameter.default)}"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _text(entry: Entry) -> str:
    parts = [f"{entry.name}: {entry.kind}, {entry.place}", entry.doc, _indented(entry.text)]
    return "\n\n".join(part for part in parts if part)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())
