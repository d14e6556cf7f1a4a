"""What a parser's refusal means in the user's terms.

The parser knows one token that does not fit and what would have.  The rules below look at the
tokens around it for what the user was doing; each is a question with one answer, tried in order,
and the last one simply says what was expected.
"""

from __future__ import annotations

from collections.abc import Callable

from nnc.language.diagnostics import Diagnostic, Label
from nnc.language.lexer import KEYWORDS
from nnc.language.outline import ITEM_WORDS, STATEMENT_WORDS
from nnc.language.refusal import Refusal, is_bare
from nnc.language.tree import Span

SECTIONS = frozenset(("data", "train", "step", "phase", "eval"))
_COMPARISONS = frozenset(("==", "!=", "<", ">", "<=", ">="))


def _colon_for_braces(r: Refusal) -> Diagnostic | None:
    found, at = r.found, r.at
    word = found.open_word(at)
    if at == r.first and r.text in ("if", "for", "repeat", "scan") and not r.incomplete:
        word = r.text  # `if x: ...` as a statement: the colon is what to talk about
        here = range(at, found.end.get(at, len(found.tokens)))
        at = next((i for i in here if found.text(i) == ":" and not r.deeper(i)), at)
    if found.text(at) != ":" or not (word or "{" in r.expected):
        return None
    word = word or found.text(r.first)
    message = f"`:` opens nothing; what belongs to `{word}` stands in braces"
    return r.says("E0111", message, _braces(word), at)


def _braces(word: str) -> str:
    return "write `else { ... }`" if word == "else" else f"write `{word} ... {{ ... }}`"


def _keyword_as_name(r: Refusal) -> Diagnostic | None:
    found = r.found
    if r.incomplete:
        return None
    for at in (r.at, r.before):
        word, after = found.text(at), found.text(at + 1)
        if word not in KEYWORDS or word in ("true", "false", "none") or at < 0:
            continue
        names = r.expected == {"a name"} and at == r.at
        taken_for_one = after in ("=", ":", ",", ")") and at in (r.at, r.first)
        if names or taken_for_one:
            help = f"another name will do, for example `{word}_`"
            return r.says("E0107", f"`{word}` is a keyword and cannot be a name", help, at)
    return None


def _equals(r: Refusal) -> Diagnostic | None:
    if r.text == "==" and "=" in r.expected:
        return r.says("E0109", "`==` compares, it does not set", "write `=`")
    asks = r.found.open_word(r.at) == "if" or r.found.text(r.first) in ("assert", "return")
    if r.text == "=" and asks and r.bracket != "(" and not r.incomplete:
        return r.says("E0109", "`=` sets, it does not compare", "write `==`")
    return None


def _colon_in_brackets(r: Refusal) -> Diagnostic | None:
    if r.text != ":" or r.bracket not in ("(", "[", "{") or r.at <= r.first + 1:
        return None
    if r.bracket == "[":
        message, help = "`:` makes no range", "write `0..8`; open ends are `0..N`"
    elif r.in_stage:
        message, help = "there are no dictionaries", "a record is written `(a = 1, b = 2)`"
    else:
        message, help = "`:` gives no argument", f"write `{r.found.text(r.at - 1)} = ...`"
    return r.says("E0118", message, help)


def _colon_for_setting(r: Refusal) -> Diagnostic | None:
    found = r.found
    name, here = found.text(r.first), r.at < found.end.get(r.first, len(found.tokens))
    if found.text(r.first + 1) != ":" or not here or r.sets():
        return None
    if found.kind(r.first) == "string":
        name = name[1:-1]
    elif found.kind(r.first) != "name":
        return None
    help = f"write `{name} = ...`"
    return r.says("E0118", "`:` gives a type, it sets nothing", help, r.first + 1)


def _braces_as_value(r: Refusal) -> Diagnostic | None:
    if r.text != "{" or not r.wants_expression:
        return None
    help = "a record is written `(a = 1, b = 2)`, a list `[1, 2]`"
    if r.found.text(r.first) in ITEM_WORDS and r.found.text(r.before) == "=":
        help = "a body in braces stands without `=`"
    return r.says("E0118", "braces are no value", help)


def _statement_in_stage(r: Refusal) -> Diagnostic | None:
    sets = r.text == "=" and r.in_stage and r.found.kind(r.at - 1) == "name"
    if r.incomplete or not (sets or (r.text in STATEMENT_WORDS and r.at != r.first)):
        return None
    if r.in_stage:
        help = "put the statement before, and an expression here: `let y = if c { a } else { b }`"
        message = "these braces hold one expression, no statements"
        return r.says("E0119", message, help, r.at - 1 if sets else r.at)
    if sets:
        return None
    help = "give it a name with `let` on a line of its own before"
    return r.says("E0119", f"`{r.text}` starts a statement and cannot stand here", help)


def _wrong_place(r: Refusal) -> Diagnostic | None:
    if r.at != r.first or r.incomplete:
        return None
    top = r.found.opener[r.at] < 0
    if r.text == "language":
        help = "move it above everything but comments"
        return r.says("E0119", "`language` stands at the top of a file", help)
    if top and r.text in ("return", "yield", "assert"):
        help = "it belongs into the body of a `block`, `model` or `fn`"
        return r.says("E0119", f"`{r.text}` outside of a body", help)
    if not top and r.text in ITEM_WORDS:
        help = "move it out of the braces; everything in a file sees it there"
        return r.says("E0119", f"`{r.text}` inside a body", help)
    return None


def _setting_at_top(r: Refusal) -> Diagnostic | None:
    found = r.found
    top = r.text in ("=", ",") and found.opener[r.first] < 0 and r.at < len(found.tokens)
    if not top or found.kind(r.first) != "name" or r.at != r.first + 1:
        return None
    name = found.text(r.first)
    help = f"introduce a name with `let {name} = ...`; settings stand in `train` or `data`"
    message = f"`{name} = ...` sets something, and here is nothing to set"
    return r.says("E0117", message, help, r.first)


def _missing_type(r: Refusal) -> Diagnostic | None:
    found = r.found
    name = found.text(r.before)
    if r.expected == {":"} and found.kind(r.before) == "name":
        example = "int = 3" if found.text(r.first) == "config" else "f32[N, D]"
        help = f"write `{name}: {example}`"
        return r.says("E0115", f"`{name}` needs a type", help, r.before)
    if name in (":", "->") and "a name" in r.expected and not r.wants_expression:
        return r.says_after("E0115", f"a type is missing after `{name}`", "for example `f32[N, D]`")
    return None


def _missing_braces(r: Refusal) -> Diagnostic | None:
    found = r.found
    word = found.open_word(r.at) if not r.incomplete else found.open_word(r.before)
    if "{" in r.expected and word:
        return r.says_after("E0112", f"`{word}` needs its braces", _braces(word))
    first = found.text(r.first)
    if "{" not in r.expected or found.kind(r.first) != "name" or r.text in ("=", ":"):
        return None
    named = found.kind(r.first + 1) == "name" and found.text(r.first + 2) != "("
    if first in SECTIONS or (named and r.incomplete):
        return r.says_after("E0112", f"`{first}` needs a body in braces", _braces(first))
    return None


def _missing_equals(r: Refusal) -> Diagnostic | None:
    found = r.found
    first = found.text(r.first)
    if "=" in r.expected and first in ("let", "fn", "block", "model") and r.text != ":":
        help = f"write `{r.written()} = ...`"
        return r.says_after("E0108", f"`=` is missing in this `{first}`", help)
    two_names = found.kind(r.first) == found.kind(r.first + 1) == "name"
    if (
        two_names
        and not found.first_on_line(r.first + 1)
        and first not in SECTIONS
        and "{" in r.expected
    ):
        help = f"write `{first} = {found.text(r.first + 1)}`"
        return r.says("E0108", f"`=` is missing after `{first}`", help, r.first + 1)
    return None


def _only_names_are_set(r: Refusal) -> Diagnostic | None:
    found = r.found
    name = r.first + (found.text(r.first) == "let")
    if r.incomplete or found.kind(name) != "name" or not r.sets():
        return None
    if found.text(name + 1) in (".", "[") and r.at == name + 1:
        help = "a layer's weights are `param`, its state `buffer`, other values `let`"
    elif found.text(name + 1) == "(" and (r.text == "=" or r.at == name + 1):
        help = f"a function is written `fn {found.text(name)}(x: f32[...]) -> f32[...] = ...`"
    else:
        return None
    return r.says("E0122", "only a plain name can be set", help, name + 1)


def _does_nothing(r: Refusal) -> Diagnostic | None:
    found = r.found
    kind, word = found.kind(r.first), found.text(r.first)
    bare_name = kind == "name" and is_bare(found, r.first)
    starts = word in ("if", "repeat", "for", "scan", "not") or kind in ("number", "string")
    starts = starts or word in ("(", "[", "-")
    if not (bare_name or (starts and r.at == r.first)):
        return None
    if kind == "string":
        help = "documentation is written as `##` comments above what it describes"
    elif found.opener[r.first] < 0:
        help = "give it a name: `let y = ...`"
    else:
        help = "write `return` in front of it, or give it a name: `let y = ...`"
    message = "an expression by itself does nothing"
    end = found.end.get(r.first, r.first + 1) - 1
    span = found.span(r.first).to(found.span(max(end, r.first)))
    return Diagnostic("E0113", message, span, help=help)


def _chained_comparison(r: Refusal) -> Diagnostic | None:
    if r.text not in _COMPARISONS or r.wants_expression:
        return None
    found = r.found
    for i in range(r.at - 1, r.first, -1):
        if found.opener[i] == found.opener[r.at] and found.text(i) in _COMPARISONS:
            label = Label(found.span(i), "the first comparison")
            help = "write `a < b and b < c`"
            return Diagnostic("E0120", "comparisons don't chain", found.span(r.at), (label,), help)
    return None


def _missing_comma(r: Refusal) -> Diagnostic | None:
    found = r.found
    inside = r.bracket in ("(", "[") and "," in r.expected
    if not (inside and found.is_operand_start(r.at) and found.is_operand_end(r.before)):
        return None
    label = Label(found.span(r.at), "the next element")
    end = found.span(r.before).end
    span = Span(found.source, end, end + 1)
    help = f"write `{found.text(r.before)},`"
    return Diagnostic("E0110", "a comma is missing between two elements", span, (label,), help)


def _missing_expression(r: Refusal) -> Diagnostic | None:
    if not r.wants_expression:
        return None
    if r.incomplete or r.text in ("}", ")", "]", ","):
        before = r.found.text(r.before)
        help = f"write a value here, or remove `{before}`"
        return r.says_after("E0114", f"an expression is missing after `{before}`", help)
    if r.found.kind(r.at) == "operator":
        help = f"write a value here, or remove `{r.text}`"
        return r.says("E0114", f"an expression is missing before `{r.text}`", help)
    return None


def _unexpected(r: Refusal) -> Diagnostic:
    if r.incomplete and r.text:
        help = "expected " + " or ".join(_listed(r)) if len(r.expected) < 6 else ""
        if r.found.text(r.before) == ".":
            help = "a name follows the point"
        return r.says_after("E0116", "this statement ends too early", help)
    what = f"`{r.text}` is unexpected here" if r.text else "the text ends too early"
    listed = _listed(r)
    if r.text == ",":
        help = "statements end with their line, without a comma"
    elif len(listed) > 6:
        help = ""
    elif len(listed) > 1:
        help = f"expected {', '.join(listed[:-1])} or {listed[-1]}"
    else:
        help = f"expected {listed[0]}" if listed else ""
    return r.says("E0116", what, help)


def _listed(r: Refusal) -> list[str]:
    return sorted(x if x.startswith(("a ", "an ", "the ")) else f"`{x}`" for x in r.expected)


_RULES: tuple[Callable[[Refusal], Diagnostic | None], ...] = (
    _keyword_as_name,
    _wrong_place,
    _colon_for_braces,
    _equals,
    _statement_in_stage,
    _colon_in_brackets,
    _colon_for_setting,
    _braces_as_value,
    _setting_at_top,
    _missing_type,
    _chained_comparison,
    _missing_braces,
    _only_names_are_set,
    _missing_equals,
    _does_nothing,
    _missing_comma,
    _missing_expression,
)


def explain(refusal: Refusal) -> Diagnostic:
    """The error to show where the parser stopped."""
    for rule in _RULES:
        diagnostic = rule(refusal)
        if diagnostic is not None:
            return diagnostic
    return _unexpected(refusal)
