"""Runs the blocks of the documentation: programs are checked, commands and Python are run."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnc.cli import main
from nnc.elaborate import check_text
from nnc.elaborate.context import Context
from nnc.elaborate.data import Data
from nnc.elaborate.module import library
from nnc.elaborate.scope import Scope
from nnc.elaborate.statements import evaluate_let
from nnc.elaborate.values import (
    ListValue,
    Partial,
    Stage,
    TensorValue,
    TupleValue,
    describe,
)
from nnc.elaborate.world import World
from nnc.ir.dims import Dim, symbol
from nnc.ir.graph import Graph
from nnc.ir.types import TensorType
from nnc.language import tree
from nnc.language.diagnostics import NncError
from nnc.language.parser import parse_text
from nnc.language.render import render

from .snippets import ROOT, Block

MODELS = ROOT / "models"
#: what is tested, wherever an installed nnc may lie
SOURCES = os.pathsep.join([str(ROOT), str(ROOT / "backends")])

_DIGITS = """
data digits {
  x: f32[N, 64] = csv("data/digits.csv.gz", columns = 0..64) |> scale(1 / 16)
  y: i32[N]     = csv("data/digits.csv.gz", columns = 64)
  batch = 64
  split = (train = 80%, val = 10%, test = 10%)
}
"""
_MLP = """
model MLP()(x: f32[N, D]) -> f32[N, 10] = x |> Dense(32) |> relu |> Dense(10)
"""
#: what `with` may name
PRELUDES = {"digits": _DIGITS, "digits and MLP": _DIGITS + _MLP}


# ---------------------------------------------------------------- programs
def program_of(block: Block) -> str:
    """The whole program that a block of nn stands for."""
    text = block.text
    inside = block.says("inside")
    if inside is not None:
        needs_return = inside.startswith(("block", "model", "fn")) and not re.search(
            r"^return\b", text, re.MULTILINE
        )
        text = f"{inside} {{\n{text}{'return zeros([1])' * needs_return}\n}}\n"
    return PRELUDES.get(block.says("with") or "", "") + text + (block.says("also") or "") + "\n"


def check_program(block: Block, root: Path = MODELS) -> None:
    """The program has no errors, or those that the block announces."""
    diagnostics = check_text(program_of(block), block.place, root)
    expected = (block.says("error") or "").replace(",", " ").split()
    found = [d.code for d in diagnostics]
    shown = render(diagnostics)
    assert found == expected, f"{block.place}: errors {found}, expected {expected}\n{shown}"


def check_values(block: Block) -> None:
    """Each line `expression   # value` has that value, for inputs of the given types."""
    cx, scope = _given(block)
    for number, line in enumerate(block.text.splitlines()):
        expression, *rest = re.split(r"\s+# ", line, maxsplit=1)
        if not rest:
            assert not line.strip(), f"{block.place}: `{line}` says no value"
            continue
        expected = rest[0]
        found = _value(cx, scope, expression)
        place = f"{block.path.relative_to(ROOT)}:{block.line + number}"
        assert found == expected.strip(), f"{place}: `{expression.strip()}` is {found}"


def _given(block: Block) -> tuple[Context, Scope]:
    """A scope with inputs of the types that the block names, and their sizes."""
    program = parse_text(f"model Given()({block.says('values')}) = 0")
    (model,) = program.items
    assert isinstance(model, tree.Block)
    world = World(Data(MODELS), steps=1000, epochs=10, steps_per_epoch=100)
    cx = Context(world, Graph("values"), training=True, batch=symbol("N"))
    scope = Scope(library())
    for parameter in model.inputs or ():
        assert isinstance(parameter.type, tree.TensorTypeExpr)
        shape: list[Dim] = []
        names: list[str | None] = []
        for item in parameter.type.dims or ():
            size = int(item.value.value) if isinstance(item.value, tree.Number) else symbol("N")
            shape.append(size)
            names.append(item.name or (None if isinstance(size, int) else "N"))
            if names[-1] and names[-1] not in scope.bindings:
                scope.define(names[-1], size)
        type = TensorType(parameter.type.dtype, tuple(shape))
        tensor = cx.input(parameter.name, type, "argument")
        scope.define(parameter.name, TensorValue(tensor, tuple(names)))
    return cx, scope


def _value(cx: Context, scope: Scope, expression: str) -> str:
    if expression.startswith("let "):
        (statement,) = parse_text(expression).items
        for name, value in evaluate_let(cx, statement, scope):  # type: ignore[arg-type]
            scope.define(name.id, value)
        return _shown(value)
    try:
        (statement,) = parse_text(f"let value_ = {expression}").items
        ((_, value),) = evaluate_let(cx, statement, scope)  # type: ignore[arg-type]
    except NncError as failure:
        return f"error {failure.diagnostics[0].code}"
    return _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, (TupleValue, ListValue)):
        items = ", ".join(map(_shown, value.values))
        return f"({items})" if isinstance(value, TupleValue) else f"[{items}]"
    if isinstance(value, Stage | Partial):
        return "a stage"
    text = describe(value)
    for prefix in ("the int ", "the number ", "the bool ", "the string ", "the duration "):
        text = text.removeprefix(prefix)
    return text[1:-1] if text.startswith("`") and text.endswith("`") else text


# ---------------------------------------------------------------- commands and Python
@dataclass
class Folder:
    """A working folder in which the console and Python blocks of a section run, in order."""

    path: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def write(self, block: Block) -> None:
        target = self.path / (block.says("file") or "")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.text, encoding="utf-8")
        if target.name == "pyproject.toml":
            self._install(tomllib.loads(block.text)["project"])

    def _install(self, project: dict[str, Any]) -> None:
        """What `pip install -e .` makes known: the entry points."""
        folder = self.path / f"{project['name']}-{project['version']}.dist-info"
        folder.mkdir()
        lines = []
        for group, points in project["entry-points"].items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
        (folder / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def run(self, block: Block) -> None:
        {"console": self.console, "python": self.python}[block.language](block)

    def python(self, block: Block) -> None:
        with contextlib.chdir(self.path), self._importable():
            if not block.text.startswith(">>>"):
                # The line numbers of a traceback are then those of the document.
                code = compile("\n" * (block.line - 1) + block.text, block.place, "exec")
                exec(code, self.names)
                return
            test = doctest.DocTestParser().get_doctest(
                block.text, self.names, block.place, str(block.path), block.line - 1
            )
            report = io.StringIO()
            runner = doctest.DocTestRunner(_Checker(), optionflags=doctest.ELLIPSIS)
            runner.run(test, out=report.write, clear_globs=False)
            self.names.update(test.globs)
            assert not runner.failures, report.getvalue()

    @contextlib.contextmanager
    def _importable(self) -> Iterator[None]:
        """Modules of the folder can be imported, and are forgotten afterwards."""
        known = set(sys.modules)
        sys.path.insert(0, str(self.path))
        try:
            yield
        finally:
            sys.path.remove(str(self.path))
            for name in set(sys.modules) - known:
                if (self.path / f"{name}.py").exists():
                    del sys.modules[name]

    def console(self, block: Block) -> None:
        lines = block.text.splitlines()
        starts = [i for i, line in enumerate(lines) if line.startswith("$ ")]
        assert starts[:1] == [0], f"{block.place}: a console block starts with `$ `"
        for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
            found = self.command(lines[start][2:])
            expected = "\n".join(lines[start + 1 : stop])
            place = f"{block.path.relative_to(ROOT)}:{block.line + start}"
            assert matches(expected, found), f"{place}: the output is\n{found}"

    def command(self, line: str) -> str:
        """What a command prints, both streams as they come."""
        words = shlex.split(line, comments=True)
        with contextlib.chdir(self.path), self._importable():
            if words[0] == "nnc" and not set("|<>&;*") & set(line):
                return _in_process(words[1:])
            binaries = str(Path(sys.executable).parent)
            path = os.pathsep.join([binaries, os.environ.get("PATH", "")])
            done = subprocess.run(
                ["bash", "-c", line], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env={**os.environ, "PATH": path, "PYTHONPATH": SOURCES}, check=False, timeout=60,
            )  # fmt: skip
            return done.stdout


def _in_process(words: list[str]) -> str:
    """`nnc` without the time that a new interpreter takes to start."""
    output = io.StringIO()
    streams = contextlib.redirect_stdout(output), contextlib.redirect_stderr(output)
    with streams[0], streams[1], contextlib.suppress(SystemExit):
        main(words)
    return output.getvalue()


class _Checker(doctest.OutputChecker):
    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(want, got, optionflags) or matches(want, got)


_NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d+(?:e[+-]?\d+)?(?![\w.])")


def matches(expected: str, found: str) -> bool:
    """Whether an output is as documented: `...` stands for anything, as a line for any lines.

    Decimal numbers may differ by 2%: after hundreds of steps in float32 the sums of another
    processor or BLAS show in them.
    """
    expected, found = _trimmed(expected), _trimmed(found)
    numbers = _NUMBER.findall(expected)
    parts = [_pattern(part) for part in _NUMBER.split(expected)]
    match = re.fullmatch(f"({_NUMBER.pattern})".join(parts), found, re.DOTALL)
    if match is None:
        return False
    return all(_near(float(a), float(b)) for a, b in zip(numbers, match.groups(), strict=True))


def _pattern(text: str) -> str:
    """A regular expression for a piece of an output."""
    escaped = re.escape(text).replace("\\\n", "\n")
    lines = re.sub(r"^\\\.\\\.\\\.\n", r"(?:[^\n]*\n)*?", escaped, flags=re.MULTILINE)
    return lines.replace(r"\.\.\.", ".*?")


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= 0.02 * max(1.0, abs(a), abs(b))


def _trimmed(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.strip("\n").splitlines())
