"""Where a parser stopped, and which statement is to blame for it.

The grammar takes no notice of lines.  So a statement that breaks off is refused only in the next
one, and what the parser says has to be brought back to the line that the user got wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

from nnc.language.diagnostics import Diagnostic
from nnc.language.outline import Outline
from nnc.language.tree import Span

_TOP_WORDS = frozenset(("use", "config", "param", "buffer", "let", "fn", "block", "model"))
_BODY_WORDS = frozenset(("let", "config", "param", "buffer", "return", "yield", "assert"))


@dataclass(frozen=True)
class Refusal:
    """The parser stopped at token `at` (one past the last at the end of the text).

    `before` is the token it read last and `first` the start of the statement to blame; `expected`
    are the terminals that would have fitted, as a user would write them.
    """

    found: Outline
    at: int
    before: int
    first: int
    expected: frozenset[str]

    @property
    def text(self) -> str:
        return self.found.text(self.at)

    @property
    def incomplete(self) -> bool:
        """Whether the blamed statement ended before the parser stopped."""
        return self.at >= self.found.end.get(self.first, len(self.found.tokens))

    @property
    def bracket(self) -> str:
        """The bracket around the place, "" at the top of the file."""
        opener = self._opener
        return self.found.text(opener) if opener >= 0 else ""

    @property
    def _opener(self) -> int:
        return self.found.opener[self.at] if self.at < len(self.found.tokens) else -1

    @property
    def in_stage(self) -> bool:
        """Whether the place lies directly in braces that hold an expression."""
        return self.bracket == "{" and self._opener not in self.found.bodies

    @property
    def wants_expression(self) -> bool:
        return "a number" in self.expected

    def says(self, code: str, message: str, help: str, at: int | None = None) -> Diagnostic:
        span = self.found.span(self.at if at is None else at)
        return Diagnostic(code, message, span, help=help)

    def says_after(self, code: str, message: str, help: str) -> Diagnostic:
        """An error whose place is the gap after the token read last."""
        end = self.found.span(self.before).end
        return Diagnostic(code, message, Span(self.found.source, end, end + 1), help=help)

    def deeper(self, index: int) -> bool:
        """Whether a token lies inside brackets of the blamed statement."""
        return self.found.opener[index] != self.found.opener[self.first]

    def sets(self) -> bool:
        """Whether the blamed statement has a `=` outside all brackets."""
        here = range(self.first, self.found.end.get(self.first, len(self.found.tokens)))
        return any(self.found.text(i) == "=" and not self.deeper(i) for i in here)

    def written(self) -> str:
        """The blamed statement up to where the parser stopped, if short enough to repeat."""
        text = self.found.source.text
        start, end = self.found.tokens[self.first].start, self.found.tokens[self.before].end
        return text[start:end] if end - start < 60 and "\n" not in text[start:end] else "..."


def blame(found: Outline, alive: list[bool], at: int, before: int) -> int:
    """The start of the statement at fault when the parser stops at a token.

    The grammar takes no notice of lines, so a statement that breaks off is noticed only in the
    next one: at its first token, or later where that could still continue the broken one.
    """
    if before < 0:
        return found.statement[at] if at < len(found.tokens) else 0
    if at >= len(found.tokens) or (found.text(at) == "}" and before > found.opener[at]):
        return found.statement[before]
    first = found.statement[at]
    last = next((i for i in range(first - 1, -1, -1) if alive[i]), -1)
    if last < 0 or last == found.opener[first]:
        return first
    above = found.statement[last]
    starts = at == first and _may_start(found, first)
    swallowed = at - first <= 2 and (found.goes_on(last) or is_bare(found, above))
    return above if starts or swallowed else first


def _may_start(found: Outline, first: int) -> bool:
    words = _TOP_WORDS if found.opener[first] < 0 else _BODY_WORDS
    return found.kind(first) == "name" or found.text(first) in words


def is_bare(found: Outline, first: int) -> bool:
    """Whether a statement is neither setting, field nor section: `relu`, `net(x)`."""
    if found.kind(first) != "name":
        return False
    here = range(first, found.end.get(first, len(found.tokens)))
    return not any(
        i in found.bodies or (found.text(i) in "=:" and found.opener[i] == found.opener[first])
        for i in here
    )
