"""The canonical style, and the laws of formatting."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnc.language.formatter import format_text, print_program
from nnc.language.lexer import tokens
from nnc.language.parser import parse_text
from tests.language.generate import commented, programs

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.nn"))
STANDARD = sorted((Path(__file__).parents[2] / "nnc" / "std").glob("*.nn"))


def comments(text: str) -> list[str]:
    return sorted(t.text.rstrip() for t in tokens(text) if t.kind == "comment")


def assert_laws(text: str) -> None:
    formatted = format_text(text)
    assert format_text(formatted) == formatted
    assert parse_text(formatted) == parse_text(text)
    assert comments(formatted) == comments(text)
    assert all(line == line.rstrip() for line in formatted.split("\n"))
    assert "\n\n\n" not in formatted


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_the_example_programs_are_in_canonical_style(path: Path) -> None:
    text = path.read_text()
    assert format_text(text) == text


@pytest.mark.parametrize("path", PROGRAMS + STANDARD, ids=lambda p: p.stem)
def test_laws_on_whole_programs(path: Path) -> None:
    assert_laws(path.read_text())
    squeezed = "\n".join(line.strip() for line in path.read_text().split("\n"))
    assert format_text(squeezed) == format_text(path.read_text())


@settings(max_examples=80, deadline=None)
@given(programs())
def test_laws_on_generated_programs(text: str) -> None:
    assert_laws(text)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(PROGRAMS), st.integers(0, 1000))
def test_comments_between_any_two_tokens_survive(path: Path, seed: int) -> None:
    assert_laws(commented(path.read_text(), seed))


@settings(max_examples=60, deadline=None)
@given(programs())
def test_a_tree_is_printed_without_its_text(text: str) -> None:
    program = parse_text(text)
    assert parse_text(print_program(program)) == program


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_a_printed_tree_is_nearly_in_canonical_style(path: Path) -> None:
    printed = print_program(parse_text(path.read_text()))
    assert format_text(printed) == printed


STYLE = {
    "spacing": ("let  x=f( a,b = 2 )[ 0 .. 8 ]*-2 ^ n", "let x = f(a, b = 2)[0..8] * -2^n"),
    "consecutive bindings share the column of `=`": (
        "train t {\nlet net = M()\nloss = f(net)\noptimizer = Adam()\n}",
        "train t {\n  let net   = M()\n  loss      = f(net)\n  optimizer = Adam()\n}",
    ),
    "an empty line starts a new column": (
        "train t {\nlet net = M()\n\n\nloss = f(net)\n}",
        "train t {\n  let net = M()\n\n  loss = f(net)\n}",
    ),
    "declarations share all their columns": (
        "block B()(x: f32) {\nparam w: f32[D, out] = a()\nbuffer gain: f32 = b()\nparam c: f32\n}",
        "block B()(x: f32) {\n  param  w:    f32[D, out] = a()\n"
        "  buffer gain: f32         = b()\n  param  c:    f32\n}",
    ),
    "comments behind code share a column": (
        "let x = 3 # a\nlet long_name = 4# b",
        f"{'let x         = 3':<55}# a\n{'let long_name = 4':<55}# b",
    ),
    "comments stay where they are": (
        "# top\nlet x = [ # open\n# first\n1, # one\n2\n# last\n]\n# end",
        f"# top\n{'let x = [':<55}# open\n  # first\n{'  1,':<55}# one\n  2,\n  # last\n]\n# end",
    ),
    "items with braces stand apart": (
        "let x = 3\ntrain t { loss = 1 }\nlet y = 4",
        "let x = 3\n\ntrain t { loss = 1 }\n\nlet y = 4",
    ),
    "a body on several lines stays on them": (
        "eval e {\nloss = 1\n}",
        "eval e {\n  loss = 1\n}",
    ),
    "a long sum breaks before each operator": (
        "let total = " + " + ".join(f"contribution_{i}" for i in range(7)),
        "let total = contribution_0\n" + "\n".join(f"  + contribution_{i}" for i in range(1, 7)),
    ),
    "a long pipeline gives stages with braces their own lines": (
        "let n = x |> Dense(512) |> relu |> repeat depth { Layer(heads = 4) |> Dropout(10%) }"
        " |> LayerNorm() |> Dense(V)",
        "let n = x |> Dense(512) |> relu\n"
        "  |> repeat depth { Layer(heads = 4) |> Dropout(10%) }\n"
        "  |> LayerNorm() |> Dense(V)",
    ),
    "long calls hold one argument a line": (
        'let c = csv("data/some/very/long/path/to/a/file.csv.gz", columns = 0..64, skip = 1, '
        'to = "f32", also = b)',
        'let c = csv(\n  "data/some/very/long/path/to/a/file.csv.gz",\n  columns = 0..64,\n'
        '  skip = 1,\n  to = "f32",\n  also = b,\n)',
    ),
    "long records align their names": (
        "let m = (accuracy = accuracy(logits, digits.y), top = top_k(logits, digits.y, k = 3), "
        "f = f1(logits))",
        "let m = (\n  accuracy = accuracy(logits, digits.y),\n"
        "  top      = top_k(logits, digits.y, k = 3),\n  f        = f1(logits),\n)",
    ),
    "a condition inside an else is an else if": (
        "let x = if a { 1 } else { if b { 2 } else { 3 } }",
        "let x = if a { 1 } else if b { 2 } else { 3 }",
    ),
    "a long header breaks between its lists": (
        "block Adam(lr: f32 = 1e-3, beta1: f32 = 0.9, beta2: f32 = 0.999)"
        "(p: f32[...], grad: f32[...]) -> f32[...] = p",
        "block Adam(lr: f32 = 1e-3, beta1: f32 = 0.9, beta2: f32 = 0.999)\n"
        "    (p: f32[...], grad: f32[...]) -> f32[...] = p",
    ),
    "a sentence of comments alone": ("\n\n# one\n\n\n# two\n", "# one\n\n# two"),
    "nothing": ("\n\n", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", STYLE)
def test_style(name: str) -> None:
    before, after = STYLE[name]
    assert format_text(before).rstrip("\n") == after
