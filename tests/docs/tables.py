"""Tables of the documentation that are written from the code: `python -m tests.docs.tables`.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`.  A test compares it with what the
code says; this module, run as a program, rewrites it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from nnc.doc import entries
from nnc.elaborate import context
from nnc.elaborate.functions import BUILTINS
from nnc.elaborate.module import library_files
from nnc.elaborate.values import Builtin
from nnc.ir.types import NUMPY_DTYPES
from nnc.language import limits, tree
from nnc.language.parser import parse_text
from nnc.passes.base import AFTER, BEFORE, Pass
from nnc.passes.pipeline import DEFAULT, FAST_MATH, NEEDED

from . import ops
from .snippets import DOCS, ROOT, documents

_TABLE = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """A document whose tables are those of the code."""
    return _TABLE.sub(lambda m: f"{m[1]}\n{TABLES[m[2]]()}\n{m[4]}", text)


# ---------------------------------------------------------------- readers and transforms
def _data(kind: str) -> Callable[[], str]:
    def table() -> str:
        found = [e for e in entries() if e.kind == kind]
        rows = ((f"`{e.text}`", _one_line(e.doc)) for e in found)
        return _rows((kind, "meaning"), rows)

    return table


# ---------------------------------------------------------------- the library
def library() -> str:
    """One table a file: its blocks and functions with their parameters and first sentences."""
    parts = []
    for file in library_files():
        program = parse_text(file.read_text("utf-8"), f"std/{file.name}")
        items = [i for i in program.items if isinstance(i, tree.Fn | tree.Block)]
        rows = (
            (f"`{signature(item)}`", _summary(item.doc))
            for item in items
            if not item.name.startswith("_")
        )
        parts.append(f"**{file.name.removesuffix('.nn')}**\n\n{_rows(('name', 'meaning'), rows)}")
    return "\n".join(parts)


def signature(item: tree.Fn | tree.Block) -> str:
    """`Dense(out, bias = true)(x)`: how a definition is called."""
    if isinstance(item, tree.Fn):
        return item.name + _parameters(item.parameters)
    inputs = "" if item.inputs is None else _parameters(item.inputs)
    return item.name + _parameters(item.static) + inputs


def _parameters(parameters: tuple[tree.Parameter, ...]) -> str:
    words = [
        p.name if p.default is None else f"{p.name} = {p.default.span.text}" for p in parameters
    ]
    return f"({', '.join(words)})"


def library_names() -> list[str]:
    """Every public name of the library."""
    return re.findall(r"^\| `(\w+)\(", library(), re.MULTILINE)


# ---------------------------------------------------------------- built-in functions
_GROUPS = {
    "elementwise": "Elementwise, also of per-step and static numbers and trees of weights",
    "reduce": "Along axes",
    "constants": "Constants and facts",
    "shape": "Shapes",
    "index": "Places given by indices",
    "einops": "Strings of axes",
    "neural": "Convolution and pooling",
    "draws": "Random numbers and initial values",
    "weights": "Gradients and weights",
}


def builtins() -> str:
    groups: dict[str, list[tuple[str, str]]] = {}
    for builtin in BUILTINS.values():
        groups.setdefault(_module(builtin), []).append(_split(builtin))
    parts = []
    for module, rows in groups.items():
        title = _GROUPS.get(module, module.capitalize())
        parts.append(f"**{title}**\n\n{_rows(('function', 'meaning'), iter(rows))}")
    return "\n".join(parts)


def _module(builtin: Builtin) -> str:
    """The file that a built-in function is defined in."""
    function = inspect.getclosurevars(builtin.run).nonlocals["function"]
    return function.__module__.rpartition(".")[2]


def _split(builtin: Builtin) -> tuple[str, str]:
    """Its documentation begins with how it is called: "`name(x, ...)`: what it is"."""
    match = re.match(r"(`.*?`)[:,]?\s+(.*)", _one_line(builtin.doc))
    assert match, f"the documentation of `{builtin.name}` is empty"
    assert match[1].startswith(f"`{builtin.name}("), f"how is `{builtin.name}` called?"
    return match[1], match[2]


# ---------------------------------------------------------------- ops and backends
def op_tables() -> str:
    """One table a family: its ops with their meanings, and what each backend does with them."""
    head = ("op", "meaning", *ops.BACKENDS)
    parts = (
        f"**{family}**\n\n{_rows(head, (tuple(ops.row(name)) for name in names))}"
        for family, names in ops.families().items()
    )
    return "\n".join(parts)


def element_types() -> str:
    rows = (tuple(ops.type_row(dtype)) for dtype in NUMPY_DTYPES)
    return _rows(("element type", *ops.BACKENDS), rows)


# ---------------------------------------------------------------- passes
def passes() -> str:
    """What happens to a graph, in order."""

    def row(each: Pass) -> tuple[str, ...]:
        values = "kept" if each.exact else "to rounding"
        return f"`{each.name}`", each.doc, values + ", on request" * (each not in DEFAULT)

    def needed(name: str) -> tuple[str, ...]:
        return f"`{name}`", NEEDED[name], "always runs"

    rows = [needed("precision")]
    rows += [row(each) for each in FAST_MATH if each.stage == BEFORE]
    rows += [needed("autodiff")]
    rows += [row(each) for each in FAST_MATH if each.stage == AFTER]
    rows += [needed(name) for name in ("legalize", "rewrite", "remat")]
    return _rows(("pass", "what it does", "values"), iter(rows))


# ---------------------------------------------------------------- the rest
def limit_table() -> str:
    rows = (
        ("size of a file", f"{limits.MAX_BYTES >> 20} MiB"),
        ("brackets inside one another", f"{limits.MAX_BRACKETS}"),
        ("calls of functions and blocks inside one another", f"{context.MAX_DEPTH}"),
        ("calls, and rounds of `repeat` and `for`, in a graph", f"{context.MAX_CALLS:,}"),
        ("operations of a graph", f"{context.MAX_NODES:,}"),
        ("weights", f"{context.MAX_WEIGHTS:,}"),
        ("weights, in elements", f"{context.MAX_PARAMETERS:,}"),
    )
    return _rows(("what", "at most"), iter(rows))


def grammar() -> str:
    text = (ROOT / "grammar" / "nn.lark").read_text("utf-8")
    rules = text[text.index("start:") :]
    return f"```text\n{rules.rstrip()}\n```\n"


def _rows(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in r)} |\n" for r in lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _summary(doc: str) -> str:
    """The first paragraph."""
    return _one_line(doc.partition("\n\n")[0])


TABLES: dict[str, Callable[[], str]] = {
    "readers": _data("reader"),
    "transforms": _data("transform"),
    "library": library,
    "builtins": builtins,
    "passes": passes,
    "limits": limit_table,
    "grammar": grammar,
    "ops": op_tables,
    "element_types": element_types,
}


def stale() -> list[Path]:
    """The documents whose tables are not those of the code."""
    texts = ((path, path.read_text("utf-8")) for path in documents())
    return [path for path, text in texts if with_tables(text) != text]


if __name__ == "__main__":
    for document in stale():
        document.write_text(with_tables(document.read_text("utf-8")), encoding="utf-8")
        print(f"rewrote {document.relative_to(DOCS.parent)}")
