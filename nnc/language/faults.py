"""Errors that show in the tokens themselves, found all at once before the parser runs.

Each comes with the index of the token to blame, so that its statement can be left out and the
rest be parsed.  The parser accepts some of what is refused here: it takes no notice of lines.
"""

from __future__ import annotations

from collections.abc import Iterator

from nnc.language.diagnostics import Diagnostic, Label
from nnc.language.habits import LOOKALIKES, SIGNS, WORDS
from nnc.language.outline import ITEM_WORDS, STATEMENT_WORDS, Outline
from nnc.language.tree import Span

Fault = tuple[int, Diagnostic]

_ARITHMETIC = frozenset(("+", "-", "*", "/", "//", "%", "@", "^", "..", "|>"))
BINARY = _ARITHMETIC | {"==", "!=", "<", ">", "<=", ">=", "and", "or"}


def token_faults(found: Outline) -> Iterator[Fault]:
    """Every fault that a token or two neighbouring ones show, in order."""
    for index, token in enumerate(found.tokens):
        if token.kind in _TOKEN_FAULTS:
            yield index, _TOKEN_FAULTS[token.kind](found, index)
        elif (fault := _number(found, index) or _habit(found, index)) is not None:
            yield index, fault
        elif token.text in BINARY and found.first_on_line(index + 1):
            yield index, _trailing(found, index)
        elif (fault := _neighbours(found, index)) is not None:
            yield index, fault


# ---------------------------------------------------------------- single tokens
def _unknown(found: Outline, index: int) -> Diagnostic:
    char, span = found.text(index), found.span(index)
    if char in "\"'":
        rest = found.source.line(span.line)[span.column - 1 :].rstrip()
        span = Span(span.source, span.start, span.start + len(rest))
        help = f"close it with `{char}` on the same line; a line break inside is `\\n`"
        return Diagnostic("E0021", "this string does not end", span, help=help)
    name = char if char.isprintable() else f"U+{ord(char):04X}"
    help = LOOKALIKES.get(char, "")
    if not help and char.isalpha():
        help = "names are made of the letters a to z, digits and `_`"
    return Diagnostic("E0020", f"unknown character `{name}`", span, help=help)


def _foreign(found: Outline, index: int) -> Diagnostic:
    sign = found.text(index)
    help = SIGNS.get(sign, f"write `x = x {sign[0]} ...`")
    return Diagnostic("E0105", f"nn has no `{sign}`", found.span(index), help=help)


def _quoted(found: Outline, index: int) -> Diagnostic:
    text = found.text(index)
    if text.startswith('"'):
        help = "documentation is written as `##` comments above what it describes"
        return Diagnostic("E0024", "a string in triple quotes", found.span(index), help=help)
    help = f'write `"{text[1:-1]}"`' if '"' not in text else "strings stand in double quotes"
    return Diagnostic("E0024", "a string in single quotes", found.span(index), help=help)


_TOKEN_FAULTS = {"unknown": _unknown, "foreign": _foreign, "quoted": _quoted}
FOREIGN_KINDS = frozenset(_TOKEN_FAULTS)


def _number(found: Outline, index: int) -> Diagnostic | None:
    """Numbers that are cut in two, or read as something else than meant."""
    if found.kind(index) != "number" or index + 1 >= len(found.tokens):
        if found.text(index) != "." or found.kind(index + 1) != "number":
            return None
        number = found.text(index + 1)
        if found.is_operand_end(index - 1) or not number[0].isdigit():
            return None
        span = found.span(index).to(found.span(index + 1))
        help = f"write `0.{number}`"
        return Diagnostic("E0023", "a number starts with a digit", span, help=help)
    token, after = found.tokens[index], found.tokens[index + 1]
    if token.end != after.start:
        return None
    span = found.span(index).to(found.span(index + 1))
    if token.text.endswith("%") and (after.kind in ("number", "name") or after.text == "("):
        message = f"`{token.text}{after.text}` reads as {token.text[:-1]} per cent, then more"
        left = token.text[:-1]
        help = f"put spaces around `%` for the remainder: `{left} % {after.text}`"
        return Diagnostic("E0023", message, span, help=help)
    if after.text == "." and found.kind(index + 2) != "name":
        help = f"write `{token.text}.0`"
        return Diagnostic("E0023", "a digit must follow the decimal point", span, help=help)
    return None


def _habit(found: Outline, index: int) -> Diagnostic | None:
    """`def f(x)`, `import numpy`, `lambda x: x`: a foreign word before a name."""
    word = found.text(index)
    if word not in WORDS or found.text(index - 1) == ".":
        return None
    starts = found.statement[index] == index
    after = found.text(index + 1)
    called = starts and after == "(" and word in ("print", "while", "switch", "match", "del")
    before_name = found.kind(index + 1) == "name" and not found.first_on_line(index + 1)
    bare = starts and word in ("try", "pass") and (after == ":" or found.first_on_line(index + 1))
    if not (called or bare or before_name):
        return None
    if before_name and not starts and word not in ("lambda", "new", "mut"):
        return None
    message = f"`{word}` is no keyword of nn"
    return Diagnostic("E0106", message, found.span(index), help=WORDS[word])


def _trailing(found: Outline, index: int) -> Diagnostic:
    sign = found.text(index)
    if index + 1 >= len(found.tokens) or found.statement[index + 1] == index + 1:
        help = f"write the value that follows, or remove `{sign}`"
        return Diagnostic("E0114", f"nothing stands after `{sign}`", found.span(index), help=help)
    return Diagnostic(
        "E0104",
        f"`{sign}` at the end of a line",
        found.span(index),
        (Label(found.span(index + 1), f"write `{sign}` in front of this"),),
        help="a line that continues another starts with the operator",
    )


# ---------------------------------------------------------------- two on one line
def _neighbours(found: Outline, index: int) -> Diagnostic | None:
    """Two operands side by side on one line: a second statement, or a comma left out."""
    if found.first_on_line(index) or not found.is_operand_end(index - 1):
        return None
    word = found.text(index)
    starts = found.is_operand_start(index) or word in STATEMENT_WORDS
    if not starts or found.statement[index - 1] == index - 1:
        return None  # `train classify`: the kind of a section before its name
    if word in STATEMENT_WORDS and found.text(index + 1) in ("=", "]", ")"):
        return None if found.text(index - 1) in (",", "(") else _side_by_side(found, index)
    return _side_by_side(found, index)


def _side_by_side(found: Outline, index: int) -> Diagnostic | None:
    word, span = found.text(index), found.span(index)
    bracket = found.text(found.opener[index]) if found.opener[index] >= 0 else ""
    if word == "if":
        help = "write `if c { a } else { b }`"
        return Diagnostic("E0112", "a condition stands before its values", span, help=help)
    if word == "for" and bracket in ("(", "["):
        help = "write `[for x in xs { f(x) }]`"
        return Diagnostic("E0112", "a loop stands before its value", span, help=help)
    word_before = found.open_word(index)
    if word_before:
        message = f"`{word_before}` needs its braces"
        return Diagnostic("E0112", message, span, help=f"write `{{ {word} ... }}`")
    between = Label(found.span(index - 1), "the one before ends here")
    if bracket in ("(", "["):
        message = "a comma is missing between two elements"
        return Diagnostic("E0110", message, span, (between,), help=f"write `, {word}`")
    if found.text(_first_slash(found, index)) == "//":
        message = "`//` divides and rounds down"
        slash = found.span(_first_slash(found, index))
        return Diagnostic("E0105", message, slash, help="comments start with `#`")
    first = found.statement[index]
    if found.text(first) in ITEM_WORDS and index == first + 2:
        return None
    if found.text(first) in ("let", "fn", "block", "model") and _lacks_equals(found, first, index):
        message = f"`=` is missing before `{word}`"
        return Diagnostic("E0108", message, span, help=f"write `= {word}`")
    if found.text(first) in ("config", "param", "buffer") and index == first + 2:
        message = f"`:` is missing between `{found.text(index - 1)}` and its type"
        help = f"write `{found.text(index - 1)}: {word}`"
        return Diagnostic("E0115", message, span, help=help)
    return Diagnostic(
        "E0103",
        "two statements on one line",
        span,
        (between,),
        help="put them on two lines, or an operator or comma between them",
    )


def _lacks_equals(found: Outline, first: int, index: int) -> bool:
    return all(found.text(i) != "=" for i in range(first, index))


def _first_slash(found: Outline, index: int) -> int:
    """The `//` before `index` on its line, or -1."""
    while index > 0 and not found.first_on_line(index):
        index -= 1
        if found.text(index) == "//":
            return index
    return -1
