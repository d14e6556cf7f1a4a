"""The tokens of a text with their places, comments among them.

The parser has its own lexer, built from the grammar.  This one exists for what must be known
before or beside parsing: comments for the formatter and for documentation, brackets for the
limits, and every malformed token at once rather than the first.  A test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# Words that the grammar reserves; lark takes them from there, this lexer from here.
KEYWORDS = frozenset(
    ("language", "use", "as", "config", "param", "buffer", "in", "let", "fn", "block", "model")
) | {
    *("return", "yield", "assert", "or", "and", "not", "true", "false", "none"),
    *("if", "else", "repeat", "for", "scan", "over", "with"),
}

# "foreign" is what other languages write and no program can contain: signs that the grammar
# would cut in two (`**`, `+=`), and strings in other quotes.
_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<comment>\#[^\n]*)
    | (?P<quoted>\"{3}(?:[^"]|"(?!""))*\"{3}|'[^'\n]*')
    | (?P<string>"(?:[^"\\\n]|\\.)*")
    | (?P<number>[0-9][0-9_]*(?:\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9]+)?(?:%|[A-Za-z_][A-Za-z0-9_]*)?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<foreign>\*\*|&&?|\|\||\|(?!>)|[=!]==|[-+*/%@^]=|=>|:[:=]|/\*|\+\+|!(?!=)|[;~?$\\`])
    | (?P<operator>\|>|->|\.\.\.|\.\.|//|[=!<>]=|[-+*/%@^<>=(){}\[\],.:])
    | (?P<unknown>.)
    """,
    re.VERBOSE,
)


class Token(NamedTuple):
    """A piece of text and its place.

    `kind` is "comment", "string", "number", "name", "keyword" or "operator"; and of what is no
    nn, "quoted" (a string in other quotes), "foreign" (other languages' signs) and "unknown".
    """

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str) -> Iterator[Token]:
    """Every token and comment of `text` in order; whitespace is left out."""
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "space":
            continue
        word = match.group()
        if kind == "name" and word in KEYWORDS:
            kind = "keyword"
        yield Token(kind, word, match.start(), match.end())
