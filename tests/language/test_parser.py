"""What the parser builds."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnc.language import tree
from nnc.language.diagnostics import NncError
from nnc.language.parser import parse, parse_text
from nnc.language.printer import print_expression
from nnc.language.render import render
from nnc.language.tree import Source
from nnc.language.walk import children, walk
from tests.language.generate import programs


def items(text: str) -> Any:
    return parse_text(text).items


def item(text: str) -> Any:
    (only,) = items(text)
    return only


def value(text: str) -> Any:
    return item(f"let x = {text}").value


def statements(text: str) -> Any:
    return item(f"train t {{\n{text}\n}}").body


# Every expression, with the brackets that show how it was read.
@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a + b * c", "a + (b * c)"),
        ("a - b - c", "(a - b) - c"),
        ("-x^2", "-(x^2)"),
        ("-a * b", "(-a) * b"),
        ("2^3^n", "2^(3^n)"),
        ("2^-n", "2^(-n)"),
        ("a or b and not c == d", "a or (b and (not (c == d)))"),
        ("0..n - 1", "0..(n - 1)"),
        ("a + b |> f", "(a + b) |> f"),
        ("x |> f or g", "x |> (f or g)"),
        ("f(x)[0].y(z)", "(((f(x))[0]).y)(z)"),
        ("a @ b // c % d", "((a @ b) // c) % d"),
        ("x |> repeat n - 1 { f } |> g", "(x |> (repeat (n - 1) { f })) |> g"),
    ],
)
def test_operators_bind(text: str, read: str) -> None:
    assert _bracketed(value(text)) == _bracketed(value(read))


def _bracketed(node: Any) -> Any:
    """The nesting alone: chains as pairs, groups left out."""
    if isinstance(node, tree.Tuple) and node.is_group:
        return _bracketed(node.items[0].value)
    if isinstance(node, tree.Chain):
        left = _bracketed(node.first)
        for operator, right in node.rest:
            left = (left, operator.symbol, _bracketed(right))
        return left
    if isinstance(node, tree.Name):
        return node.id
    return (type(node), *map(_bracketed, children(node)))


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("3", 3, ""),
        ("200_000", 200_000, ""),
        ("0.5", 0.5, ""),
        ("1e-3", 1e-3, ""),
        ("1.5e3", 1500.0, ""),
        ("10%", 10, "%"),
        ("2.5%", 2.5, "%"),
        ("5epochs", 5, "epochs"),
        ("1_000steps", 1000, "steps"),
        ("1e3steps", 1e3, "steps"),
        ("3e", 3, "e"),
    ],
)
def test_numbers_have_values_and_units(text: str, number: float, unit: str) -> None:
    node = value(text)
    assert (node.value, node.unit, node.text) == (number, unit, text)
    assert type(node.value) is type(number)


def test_a_remainder_is_no_percentage() -> None:
    assert value("10 % 3").kind == "term"
    assert value("n%3").kind == "term"
    assert value("(10%) * 3").kind == "term"


def test_strings_are_decoded() -> None:
    assert value(r'"a\"b\\c\nd\te # é"').value == 'a"b\\c\nd\te # é'


def test_a_chain_is_one_node_however_long() -> None:
    chain = value(" + ".join(["a"] * 1000))
    assert len(chain.rest) == 999
    assert chain.rest[0][0].span.text == "+"


def test_tuples_groups_and_records() -> None:
    assert value("(a)").is_group
    assert not value("(a,)").is_group
    assert [a.name for a in value("(h = a, c = b)").items] == ["h", "c"]
    assert value("(a, b)") == value("(a, b,)")
    assert value("()").items == ()


def test_keywords_can_name_arguments_and_parts() -> None:
    assert [a.name for a in value("f(over = 1, model = 2, in = 3)").arguments] == [
        "over",
        "model",
        "in",
    ]
    assert value("net.config").name == "config"


def test_else_if_is_a_chain_of_conditions() -> None:
    node = value("if a { 1 } else if b { 2 }")
    assert isinstance(node.orelse, tree.If)
    assert node.orelse.orelse is None


def test_scan_holds_statements() -> None:
    node = value("scan s, m in (a, b) over S with h = z, c = z {\nh, c = f(s, h, c)\nyield h\n}")
    assert [n.id for n in node.names] == ["s", "m"]
    assert node.axis.id == "S"
    assert [c.name for c in node.carries] == ["h", "c"]
    assert [type(s) for s in node.body] == [tree.Set, tree.Out]
    assert value("scan s in a { yield s }").axis is None


def test_types() -> None:
    assert item("let x: f32 = 3").type.dims is None
    assert item("let x: f32[] = 3").type.dims == ()
    dims = item("let x: f32[N, ..., T = 64, H // 2, _] = 3").type.dims
    assert [d.name for d in dims] == ["", "", "T", "", ""]
    assert isinstance(dims[1].value, tree.Ellipsis_)
    record = item("fn f() -> (a: f32[N], b: i32 = 0) = 3").result
    assert [(f.name, f.default is not None) for f in record.fields] == [("a", False), ("b", True)]


def test_blocks_have_one_or_two_lists() -> None:
    two = item("block F(k: int = 3)(x: f32[N]) -> f32[N] = x")
    assert (two.kind, two.name, two.static[0].name, two.inputs[0].name) == ("block", "F", "k", "x")
    assert item("model M(x: f32[N]) { return x }").inputs is None
    assert item("model M()() = 3").inputs == ()


def test_statements() -> None:
    text = """\
  let a, b: f32[N] = f(x)
  param w: f32[D]
  buffer m: f32[D] = zeros()
  config k: int = 3 in [3, 5]
  h, c = g(a)
  y: i32[N] = csv("a.csv")
  assert k > 1, "why"
  return a
  yield b
  eval held_out(every = 3epochs) { loss = 1 }"""
    kinds = [type(s).__name__ for s in statements(text)]
    assert kinds == [
        "Let",
        "Decl",
        "Decl",
        "Decl",
        "Set",
        "Field",
        "Assert",
        "Out",
        "Out",
        "Section",
    ]
    assert statements(text)[3].choices == value("[3, 5]")


def test_use() -> None:
    dotted = item("use std.adversarial as adv (pgd, fgsm)")
    assert (dotted.path, dotted.alias) == (("std", "adversarial"), "adv")
    assert [n.id for n in dotted.names] == ["pgd", "fgsm"]
    assert item('use "resnet.nn"').path == "resnet.nn"


def test_documentation_is_what_stands_directly_above() -> None:
    text = """\
## The file.
language 1

## About f,
## in two lines.
fn f() -> f32 = 3

## Not about g.

# nor this
fn g() -> f32 = 3
block B()(x: f32) {
  ## The weight.
  param w: f32
  param v: f32  ## not above
}
"""
    program = parse_text(text)
    f, g, b = items(text)
    assert program.doc == "The file."
    assert (f.doc, g.doc, b.doc) == ("About f,\nin two lines.", "", "")
    assert [s.doc for s in b.body] == ["The weight.", ""]
    assert parse_text("## f\nfn f() -> f32 = 3").doc == ""


def test_spans_cover_what_was_written() -> None:
    text = "train t(every = 3) {\n  loss = f(a, k = 1)[0] + g()  # c\n}"
    section = item(text)
    assert section.span.text == text
    (loss,) = section.body
    assert loss.span.text == "loss = f(a, k = 1)[0] + g()"
    first = loss.value.first
    assert (first.span.text, first.value.function.span.text) == ("f(a, k = 1)[0]", "f")
    argument = first.value.arguments[1]
    assert (argument.span.text, argument.name_span.text) == ("k = 1", "k")
    assert (loss.span.line, loss.span.column) == (2, 3)


def test_a_text_may_have_a_byte_order_mark_and_other_line_ends() -> None:
    assert parse_text("\ufefflet x = 3\r\nlet y = 4\r") == parse_text("let x = 3\nlet y = 4\n")


def test_trees_are_equal_by_what_they_say() -> None:
    assert item("let x = f( a )") == item("# c\nlet x=f(a)")
    assert hash(value("f(a)")) == hash(value("f( a)"))


def test_errors_are_raised_together() -> None:
    with pytest.raises(NncError) as caught:
        parse_text("let x = 3 b\nlet y = c d")
    assert [d.code for d in caught.value.diagnostics] == ["E0103", "E0103"]


def test_walk_goes_through_a_tree_in_order_and_without_recursion() -> None:
    names = [
        n.id
        for n in walk(value("f(a, k = b)[c] + (d |> for e in g { h })"))
        if isinstance(n, tree.Name)
    ]
    assert names == ["f", "a", "b", "c", "d", "e", "g", "h"]
    assert sum(isinstance(n, tree.Name) for n in walk(value(" + ".join(["a"] * 5000)))) == 5000


@pytest.mark.parametrize("text", ["a + b", 'f(x, k = "s")[T = 0..3].y', "if a { 1 } else { -2^n }"])
def test_expressions_are_printed_on_one_line(text: str) -> None:
    assert print_expression(value(text)) == text


# ---------------------------------------------------------------- whatever is written
WORDS = [
    "let",
    "x",
    "=",
    "3",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "|>",
    "+",
    "if",
    "else",
    "for",
]
WORDS += [
    "in",
    "scan",
    "model",
    "block",
    "fn",
    "train",
    "\n",
    "\n",
    "return",
    '"a"',
    "10%",
    "'",
    "!",
]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join))
def test_no_words_crash_the_front_end(text: str) -> None:
    program, diagnostics = parse(Source("m", text))
    assert render(diagnostics) or program.source.text == text


@settings(max_examples=60, deadline=None)
@given(programs(), st.integers(0, 10_000), st.sampled_from([*WORDS, ""]))
def test_no_edit_crashes_the_front_end(text: str, place: int, word: str) -> None:
    place %= len(text)
    text = f"{text[:place]} {word} {text[place + 1 :]}"
    program, diagnostics = parse(Source("m", text))
    assert all(d.span is not None and d.message for d in diagnostics)
    assert not program.lost or diagnostics
