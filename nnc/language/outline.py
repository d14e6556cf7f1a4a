"""The shape of a text before it is parsed: brackets, statements and lines.

A parser that meets a fault knows a token, not what the user was about to write.  The outline
knows which bracket stayed open, where each statement starts (by lines and indentation, which the
grammar ignores) and so how much to leave out for the rest to be checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nnc.language.diagnostics import Diagnostic, Label, NncError
from nnc.language.lexer import Token, tokens
from nnc.language.limits import MAX_BRACKETS, MAX_TOKENS, too_deep
from nnc.language.tree import Source, Span

CLOSING = {"(": ")", "[": "]", "{": "}"}
OPENING = {close: start for start, close in CLOSING.items()}
ITEM_WORDS = frozenset(("block", "model", "fn", "use", "language"))
STATEMENT_WORDS = ITEM_WORDS | {
    "let", "return", "yield", "assert", "config", "param", "buffer",
}  # fmt: skip
_BRACED = frozenset(("if", "else", "repeat", "for", "scan"))
_TOP_SECTIONS = frozenset(("data", "train"))
_CONTINUING = frozenset(("or", "and", "in", "over", "with", "as", "else"))
_CONSTANTS = frozenset(("true", "false", "none"))


@dataclass
class Outline:
    """What the scan over a text found; indices are those of `tokens`, which has no comments."""

    source: Source
    tokens: list[Token]
    comments: list[Token]
    opener: list[int] = field(default_factory=list)  # the bracket around each token, or -1
    statement: list[int] = field(default_factory=list)  # the first token of its statement
    end: dict[int, int] = field(default_factory=dict)  # of each statement, exclusive
    bodies: set[int] = field(default_factory=set)  # the `{` that hold statements
    inserted: list[tuple[int, str]] = field(default_factory=list)  # (before which token, bracket)
    removed: list[int] = field(default_factory=list)  # closing brackets that close nothing
    faults: list[tuple[int, Diagnostic]] = field(default_factory=list)  # token to blame, or -1

    def span(self, index: int) -> Span:
        if index >= len(self.tokens):  # the end of the text: where its last token ends
            end = self.tokens[-1].end if self.tokens else 0
            return Span(self.source, end, end)
        return Span(self.source, self.tokens[index].start, self.tokens[index].end)

    def text(self, index: int) -> str:
        """The text of a token, "" beyond the ends."""
        return self.tokens[index].text if 0 <= index < len(self.tokens) else ""

    def kind(self, index: int) -> str:
        return self.tokens[index].kind if 0 <= index < len(self.tokens) else ""

    def first_on_line(self, index: int) -> bool:
        if index == 0 or index >= len(self.tokens):
            return True
        before, here = self.tokens[index - 1], self.tokens[index]
        return "\n" in self.source.text[before.end : here.start]

    def indentation(self, index: int) -> int:
        """The column of the first thing on the line of a token."""
        line = self.source.line(self.span(index).line)
        return len(line) - len(line.lstrip()) + 1

    def is_operand_end(self, index: int) -> bool:
        """Whether an expression can end with this token."""
        kind, text = self.kind(index), self.text(index)
        return kind in ("name", "number", "string") or text in OPENING or text in _CONSTANTS

    def is_operand_start(self, index: int) -> bool:
        """Whether an expression can start here, brackets and signs aside."""
        kind, text = self.kind(index), self.text(index)
        words = _CONSTANTS | {"if", "repeat", "for", "scan"}
        return kind in ("name", "number", "string") or text in words

    def goes_on(self, index: int) -> bool:
        """Whether something must follow this token for the statement to be complete."""
        if self.kind(index) == "keyword":
            return self.text(index) not in _CONSTANTS
        return self.kind(index) == "operator" and self.text(index) not in OPENING

    def open_word(self, at: int) -> str:
        """`if`, `else`, `repeat`, `for` or `scan` whose `{` is still to come at a token, or ""."""
        inside = at < len(self.tokens)
        around = self.opener[at] if inside else -1
        first = self.statement[at if inside else -1] if self.tokens else 0
        for i in range(at - 1, max(first, around + 1) - 1, -1):
            if self.opener[i] == around and (self.text(i) in _BRACED or self.text(i) == "}"):
                return self.text(i).strip("}")
        return ""


def outline(source: Source) -> Outline:
    """Matches brackets, finds the statements and reports unmatched brackets.

    Raises `NncError` for too many tokens or brackets too deep.
    """
    every = list(tokens(source.text))
    found = Outline(
        source,
        [token for token in every if token.kind != "comment"],
        [token for token in every if token.kind == "comment"],
    )
    if len(every) > MAX_TOKENS:
        raise NncError(
            Diagnostic(
                "E0006",
                f"more than {MAX_TOKENS} words and signs in one file",
                Span(source, every[MAX_TOKENS].start, every[MAX_TOKENS].end),
                help="split the program into files and join them with `use`",
            )
        )
    _Scan(found).run()
    return found


@dataclass
class _Level:
    """One open bracket, or the top of the file."""

    opener: int
    sign: str
    is_body: bool
    statement: int  # the one in progress; in a body or at the top each has its own
    sets: bool = False  # whether this statement has had its `=`
    pending: list[str] = field(default_factory=list)  # words whose braces are still to come


class _Scan:
    def __init__(self, found: Outline):
        self.found = found
        self.levels = [_Level(-1, "", True, -1)]
        self.crooked: tuple[int, int] | None = None  # a `{` and a `}` too far left to be its own

    def run(self) -> None:
        found = self.found
        for index, token in enumerate(found.tokens):
            forced = found.first_on_line(index) and self._close_forgotten(index)
            top = self.levels[-1]
            if top.is_body and (forced or self._starts_statement(index, top)):
                self._finish(top, index)
                top.statement, top.sets, top.pending = index, False, []
            if token.kind == "operator" and token.text in OPENING:
                self._close(index)
                top = self.levels[-1]
            top.sets = top.sets or token.text == "="
            found.opener.append(top.opener)
            found.statement.append(self._statement())
            if token.kind == "operator" and token.text in CLOSING:
                self._open(index, top)
            elif token.kind == "keyword" and token.text in _BRACED:
                if token.text == "if" and top.pending[-1:] == ["else"]:
                    top.pending.pop()
                top.pending.append(token.text)
        self._end_of_text()

    def _statement(self) -> int:
        return next((x.statement for x in reversed(self.levels) if x.statement >= 0), 0)

    # ------------------------------------------------------------ statements
    def _starts_statement(self, index: int, level: _Level) -> bool:
        found = self.found
        after_brace = index - 1 == level.opener
        if not (found.first_on_line(index) or after_brace):
            return False
        kind, text = found.kind(index), found.text(index)
        goes_on = not after_brace and found.goes_on(index - 1)
        if text in STATEMENT_WORDS:
            return True
        if kind == "operator" or text in _CONTINUING:
            return False
        if goes_on:  # only a line that cannot be the rest of the one above
            after, comma = found.text(index + 1), found.text(index - 1) in (",", ".")
            is_set = kind == "name" and after == "=" and (level.sets or not comma)
            return is_set or (kind in ("name", "string") and after == ":")
        return True

    def _finish(self, level: _Level, index: int) -> None:
        if level.is_body and level.statement >= 0:
            self.found.end[level.statement] = index

    # ------------------------------------------------------------ brackets
    def _open(self, index: int, top: _Level) -> None:
        sign = self.found.text(index)
        word = top.pending.pop() if sign == "{" and top.pending else ""
        follows = word == "" and top.is_body and not self.found.goes_on(index - 1)
        is_body = sign == "{" and (word == "scan" or follows)
        if is_body:
            self.found.bodies.add(index)
        self.levels.append(_Level(index, sign, is_body, -1))
        if len(self.levels) - 1 > MAX_BRACKETS:
            raise NncError(too_deep(self.found.span(index)))

    def _close(self, index: int) -> None:
        """Pops the level that the closing bracket at `index` ends."""
        found, sign = self.found, self.found.text(index)
        depth = self._opener_of(sign)
        if depth is None:
            top = self.levels[-1]
            if top.sign in ("(", "[") and sign in (")", "]"):
                self.levels.pop()
                message = f"`{found.text(top.opener)}` is closed by `{sign}`"
                label = Label(found.span(top.opener), "opened here")
                help = f"write `{CLOSING[top.sign]}`"
                fault = Diagnostic("E0102", message, found.span(index), (label,), help)
            else:
                found.removed.append(index)
                message = f"`{sign}` closes nothing"
                help = f"remove it, or write the `{OPENING[sign]}` that it should close"
                fault = Diagnostic("E0102", message, found.span(index), help=help)
            found.faults.append((-1 if sign == "}" else index, fault))
            return
        if depth < len(self.levels) - 1:
            self._report_open(self.levels[-1], index)
        while len(self.levels) - 1 > depth:
            self._finish(self.levels.pop(), index)
        level = self.levels.pop()
        self._finish(level, index)
        left = found.span(index).column < found.indentation(level.opener)
        if level.is_body and left and found.first_on_line(index):
            self.crooked = self.crooked or (level.opener, index)

    def _opener_of(self, sign: str) -> int | None:
        """The depth of the level that a closing bracket fits, not looking beyond a body."""
        for depth in range(len(self.levels) - 1, 0, -1):
            if self.levels[depth].sign == OPENING[sign]:
                return depth
            if self.levels[depth].is_body:
                return None
        return None

    def _report_open(self, level: _Level, index: int) -> None:
        found, opener, labels = self.found, level.opener, []
        if index < len(found.tokens):
            labels.append(Label(found.span(index), "expected it before this"))
        elif level.is_body and self.crooked is not None:
            opener, closer = self.crooked
            labels.append(Label(found.span(closer), "this `}` stands too far left to be its own"))
        message = f"`{level.sign}` is never closed"
        help = f"add the missing `{CLOSING[level.sign]}`"
        fault = Diagnostic("E0101", message, found.span(opener), tuple(labels), help)
        found.faults.append((-1 if level.is_body else opener, fault))

    def _close_forgotten(self, index: int) -> bool:
        """Closes what the line that starts at `index` shows to have been left open."""
        closed = False
        if not self.levels[-1].is_body and self._begins_anew(index):
            self._report_open(self.levels[-1], index)
            while not self.levels[-1].is_body:
                self.levels.pop()
            closed = True
        while self._begins_item(index, self.levels[-1]):
            self._report_open(self.levels[-1], index)
            self.found.inserted.append((index, "}"))
            self._finish(self.levels.pop(), index)
            closed = True
        return closed

    def _begins_anew(self, index: int) -> bool:
        """Whether a line inside brackets can only be a new statement."""
        found, top = self.found, self.levels[-1]
        text, after = found.text(index), found.text(index + 1)
        left = found.span(index).column <= found.indentation(self._statement())
        if found.text(index - 1) == "." or (top.sign == "{" and not left):
            return False
        if text in STATEMENT_WORDS:
            return after not in ("=", ",", ")", "]")
        if found.kind(index) != "name" or not left:
            return False
        if found.kind(index + 1) == "name":
            return True
        complete = not found.goes_on(index - 1) and found.text(index - 1) not in CLOSING
        return complete and after in ("=", ":", "{")

    def _begins_item(self, index: int, level: _Level) -> bool:
        """Whether a line in a body can only stand at the top of a file."""
        found = self.found
        if not level.is_body or level.opener < 0:
            return False
        text = found.text(index)
        named = found.kind(index + 1) == "name"
        is_item = text in ITEM_WORDS or (text in _TOP_SECTIONS and named)
        return is_item and found.span(index).column <= found.indentation(level.opener)

    def _end_of_text(self) -> None:
        found, end = self.found, len(self.found.tokens)
        if len(self.levels) > 1:
            self._report_open(self.levels[-1], end)
        for level in reversed(self.levels):
            self._finish(level, end)
            if level.is_body and level.opener >= 0:
                found.inserted.append((end, "}"))
