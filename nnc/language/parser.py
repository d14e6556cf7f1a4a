"""Text to tree, with every syntax error of the text in one run.

The parser is fed the tokens one by one.  Where it refuses one, the statement at fault is left out
and parsing starts again; what stood in it goes into `Program.lost`.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from nnc.language.builder import Builder
from nnc.language.diagnostics import Diagnostic, NncError
from nnc.language.faults import FOREIGN_KINDS, token_faults
from nnc.language.lexer import Token
from nnc.language.limits import check_depth, check_text, make_source
from nnc.language.outline import Outline, outline
from nnc.language.refusal import Refusal, blame
from nnc.language.syntax import explain
from nnc.language.tables import make_parser
from nnc.language.tree import Program, Section, Source

if TYPE_CHECKING:
    from lark import Lark

MAX_ERRORS = 50
_STAND_IN = "_left_out"  # the kind of the section that keeps the body of a statement left out
# Consequences of a header that was left out: its body seems to stand at the top of the file.
_CASCADES = frozenset(("E0117", "E0119"))

_lock = threading.Lock()  # there is one parser, and it feeds one builder


def parse(source: Source) -> tuple[Program, list[Diagnostic]]:
    """The tree of a source, and its errors in the order of their places.

    With errors, the tree lacks the statements at fault, and `Program.lost` holds their words.
    """
    empty = Program(source, None, ())
    if faults := check_text(source):
        return empty, faults
    try:
        with _lock:
            program, faults = _Parse(outline(source)).run()
        check_depth(program)
    except NncError as fault:
        return empty, list(fault.diagnostics)
    return program, sorted(faults, key=lambda d: d.span.start if d.span else 0)


def parse_text(text: str, path: str = "<text>") -> Program:
    """The tree of a text; raises `NncError` with every error in it."""
    program, diagnostics = parse(make_source(text, path))
    if diagnostics:
        raise NncError(*diagnostics)
    return program


class _Machine:
    """The LALR parser, its builder, and its names for the tokens."""

    def __init__(self) -> None:
        self.builder = Builder()
        self.lark: Lark = make_parser(self.builder)
        self.names = {"name": "NAME", "number": "NUMBER", "string": "STRING"}
        self.shown = {"NAME": "a name", "NUMBER": "a number", "STRING": "a string"}
        for terminal in self.lark.terminals:
            if terminal.pattern.type == "str":
                self.names[terminal.pattern.value] = terminal.name
                self.shown[terminal.name] = terminal.pattern.value
        self.names.update(dict.fromkeys(("==", "!=", "<", ">", "<=", ">="), "CMP"))
        self.names.update(dict.fromkeys(("*", "/", "//", "%", "@"), "MUL"))
        self.shown |= {"CMP": "a comparison", "MUL": "an operator", "$END": "the end of the text"}

    def lexeme(self, token: Token) -> Any:
        from lark import Token as Lexeme

        kind, text, start, end = token
        return Lexeme(self.names.get(kind) or self.names[text], text, start, end_pos=end)


_machine = cache(_Machine)


class _Parse:
    """One text on its way through the parser, as often as its faults ask for."""

    def __init__(self, found: Outline):
        self.found = found
        self.alive = [token.kind not in FOREIGN_KINDS for token in found.tokens]
        self.left_out: set[int] = set()  # statements, by their first token
        self.stand_ins: set[int] = set()  # those whose body stayed
        self.inserted: dict[int, int] = {}  # before which token how many `}` are missing
        for index, _ in found.inserted:
            self.inserted[index] = self.inserted.get(index, 0) + 1
        for index in found.removed:
            self.alive[index] = False
        self.faults: list[Diagnostic] = []

    def run(self) -> tuple[Program, list[Diagnostic]]:
        for at, fault in [*self.found.faults, *token_faults(self.found)]:
            if at < 0 or self._leave_out(self.found.statement[at]):
                self.faults.append(fault)
        builder = _machine().builder
        builder.source, builder.docs = self.found.source, _docs(self.found)
        program = None
        while program is None and len(self.faults) < MAX_ERRORS:
            builder.faults = []
            program = self._attempt()
        if program is None:
            return Program(self.found.source, None, ()), self.faults
        words = zip(self.found.tokens, self.alive, strict=True)
        lost = frozenset(token.text for token, alive in words if not alive)
        items = _kept(program.items) if self.stand_ins else program.items
        doc = _top_doc(self.found, program)
        return replace(program, items=items, lost=lost, doc=doc), self.faults + builder.faults

    def _attempt(self) -> Program | None:
        """The tree of the tokens that are left; None after a refusal, which is then dealt with."""
        from lark.exceptions import UnexpectedToken

        machine, tokens = _machine(), self.found.tokens
        state = machine.lark.parse_interactive()
        before = at = -1
        try:
            for at in range(len(tokens) + 1):
                for _ in range(self.inserted.get(at, 0)):
                    state.feed_token(machine.lexeme(Token("operator", "}", 0, 0)))
                if at in self.stand_ins:
                    start = tokens[at].start
                    state.feed_token(machine.lexeme(Token("name", _STAND_IN, start, start)))
                if at < len(tokens) and self.alive[at]:
                    state.feed_token(machine.lexeme(tokens[at]))
                    before = at
            program: Program = state.feed_eof()
            return program
        except UnexpectedToken:
            expected = frozenset(machine.shown[name] for name in state.accepts())
        first = blame(self.found, self.alive, at, before)
        if self._leave_out(first):
            follows = first > 0 and not self.alive[first - 1]
            fault = explain(Refusal(self.found, at, before, first, expected))
            if not (follows and fault.code in _CASCADES):
                self.faults.append(fault)
        else:
            self._leave_out_everything(first, before)
        return None

    def _leave_out(self, first: int) -> bool:
        """Leaves a statement out, but for the body it may have; False if it already is."""
        found = self.found
        if first in self.left_out:
            return False
        self.left_out.add(first)
        end = found.end.get(first, len(found.tokens))
        body = self._body(first, end)
        for index in range(first, end if body < 0 else body):
            self.alive[index] = False
        if body >= 0:
            self.stand_ins.add(first)
        return True

    def _body(self, first: int, end: int) -> int:
        """The `{` of the body that ends a statement, or -1 where there is none."""
        found, around = self.found, self.found.opener[first]
        bodies = [i for i in range(first, end) if i in found.bodies and found.opener[i] == around]
        if len(bodies) != 1:
            return -1
        after = [i for i in range(bodies[0] + 1, end) if found.opener[i] == around]
        closed = not after or (after == [end - 1] and found.text(end - 1) == "}")
        return bodies[0] if closed and self.alive[bodies[0]] else -1

    def _leave_out_everything(self, first: int, before: int) -> None:
        """The way out when leaving out a header was not enough: its body goes too, or all."""
        end = max(self.found.end.get(first, 0), before + 1)
        if not any(self.alive[first:end]):
            first, end = 0, len(self.alive)
        for index in range(first, end):
            self.alive[index] = False
            self.stand_ins.discard(index)
        self.inserted.clear()


def _kept(items: Any) -> Any:
    """Items or statements without the sections that stand in for what was left out."""

    def inside(item: Any) -> Any:
        body = getattr(item, "body", None)
        return replace(item, body=_kept(body)) if isinstance(body, tuple) else item

    def stands_in(item: Any) -> bool:
        return isinstance(item, Section) and item.kind == _STAND_IN

    return tuple(inside(item) for item in items if not stands_in(item))


def _docs(found: Outline) -> dict[int, str]:
    """The documentation that ends at each line: its `##` comments on lines of their own."""
    docs: dict[int, str] = {}
    source = found.source
    for token in found.comments:
        if not token.text.startswith("##"):
            continue
        line, column = source.position(token.start)
        if source.text[token.start - column + 1 : token.start].strip():
            continue
        above = docs.pop(line - 1, None)
        text = token.text.removeprefix("##").removeprefix(" ").rstrip()
        docs[line] = text if above is None else f"{above}\n{text}"
    return docs


def _top_doc(found: Outline, program: Program) -> str:
    """The `##` comment that starts a file, unless it belongs to the first item."""
    first = found.comments[0] if found.comments else None
    if first is None or (found.tokens and found.tokens[0].start < first.start):
        return ""
    line = found.source.position(first.start)[0]
    docs = _docs(found)
    end = next((n for n in docs if n - docs[n].count("\n") == line), 0)
    items = program.version is None and program.items
    described = items and items[0].span.line == end + 1
    return "" if described else docs.get(end, "")
