"""What `nnc doc` and editors say about a name: the library, what is built in, readers, transforms.

A definition of the library is shown with its text, which is in the language and short; what is
built in with its signature.  All that is said about a name stands beside its definition, in `##`
comments and docstrings; here it is only found.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from typing import Any

from nnc.data import READERS, TRANSFORMS
from nnc.elaborate.functions import BUILTINS
from nnc.elaborate.module import library_files
from nnc.elaborate.values import Builtin
from nnc.language import tree
from nnc.language.diagnostics import error, suggest
from nnc.language.parser import parse
from nnc.language.tree import Source

#: The scalars that every program may use.
SCALARS = {
    "step": "The number of this step, from 0: of the phase in a schedule, of its own updates in an "
    "optimizer.  Computed on the host.",
    "steps": "How many steps the phase has.",
    "epoch": "The number of this epoch, from 0: step // steps in an epoch.",
    "epochs": "How many epochs the phase has.",
    "training": "`true` in training, `false` in evaluation, inference and inside `frozen(...)`.",
    "pi": "3.141592653589793.",
}


@dataclass(frozen=True)
class Entry:
    """One name: what kind of thing it is, where it is defined, its text and documentation."""

    name: str
    kind: str
    place: str
    text: str
    doc: str

    @property
    def summary(self) -> str:
        """The first sentence or paragraph, on one line."""
        return " ".join(self.doc.partition("\n\n")[0].split())


def document(name: str) -> str:
    """The documentation of every thing called `name`; NncError E0802 where there is none."""
    found = [entry for entry in entries() if entry.name == name]
    if not found:
        raise error(
            "E0802", f"there is no documentation of `{name}`",
            help=suggest(name, [e.name for e in entries()]) or "`nnc doc` lists all names",
        )  # fmt: skip
    return "\n\n".join(map(_page, found))


def overview() -> str:
    """All names, by the place of their definition, with one line each."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries():
        groups.setdefault(entry.place.partition(":")[0], []).append(entry)
    lines = []
    for place, group in groups.items():
        lines.append(place)
        for entry in sorted(group, key=lambda e: e.name.lower()):
            summary = textwrap.shorten(entry.summary, 76, placeholder=" ...")
            lines.append(f"  {entry.name:20} {summary}")
        lines.append("")
    return "\n".join(lines).rstrip()


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """Everything that has a name and a documentation; what begins with `_` is the library's own."""
    found = [*_library(), *_builtins(), *_scalars(), *_host("reader", READERS)]
    found += _host("transform", TRANSFORMS)
    return tuple(entry for entry in found if not entry.name.startswith("_"))


# ---------------------------------------------------------------- where entries come from
def _library() -> Iterator[Entry]:
    for file in library_files():
        program, _ = parse(Source(f"std/{file.name}", file.read_text("utf-8")))
        for item in program.items:
            if isinstance(item, (tree.Fn, tree.Block)):
                kind = "function" if isinstance(item, tree.Fn) else item.kind
                place = f"std/{file.name}:{item.span.line}"
                yield Entry(item.name, kind, place, item.span.text, item.doc)


def _builtins() -> Iterator[Entry]:
    for name, builtin in BUILTINS.items():
        yield Entry(name, "function", "built in", _signature(builtin), builtin.doc)


def _scalars() -> Iterator[Entry]:
    for name, doc in SCALARS.items():
        yield Entry(name, "scalar", "built in", name, doc)


def _host(kind: str, table: dict[str, Any]) -> Iterator[Entry]:
    for name, described in table.items():
        doc = inspect.getdoc(described) or ""
        yield Entry(name, kind, "data sections", _fields(described), doc)


# ---------------------------------------------------------------- signatures
def _signature(builtin: Builtin) -> str:
    return f"{builtin.name}({', '.join(map(_parameter, builtin.parameters))})"


def _parameter(parameter: inspect.Parameter) -> str:
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return f"{parameter.name}, ..."
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return "NAME = ..., ..."
    kind = str(parameter.annotation)
    kind = {"TensorValue": ": tensor", "Any": ""}.get(kind, f": {kind}")
    if parameter.default is inspect.Parameter.empty:
        return parameter.name + kind
    return f"{parameter.name}{kind} = {_value(parameter.default)}"


def _fields(described: Any) -> str:
    """A reader or transform as it is called: the fields of its dataclass are its parameters."""
    names = [
        f.name if f.default is MISSING else f"{f.name} = {_value(f.default)}"
        for f in fields(described)
    ]
    return f"{described.name}({', '.join(names)})"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


# ---------------------------------------------------------------- pages
def _page(entry: Entry) -> str:
    text = textwrap.indent(entry.text, "    ", lambda line: bool(line.strip()))
    return f"{entry.name}: {entry.kind}, {entry.place}\n\n{entry.doc}\n\n{text}"
