"""Diagnostics as they are printed."""

import json
import re

from nnc.language.diagnostics import Diagnostic, Label
from nnc.language.render import render, to_json
from nnc.language.tree import Source, Span

MLP = Source(
    "models/mlp.nn",
    "model MLP()(x: f32[N, D]) -> f32[N, 10] {\n"
    "  let main = x |> Dense(256)\n"
    "  let skip = x |> Dense(128)\n"
    "  let more = 1\n"
    "  return relu(main + skip)\n"
    "}\n",
)


def place(source: Source, text: str, at: int = 0) -> Span:
    start = source.text.index(text, at)
    return Span(source, start, start + len(text))


SUM = MLP.text.index("return")
MISMATCH = Diagnostic(
    "E0301",
    "mismatched shapes in `+`: f32[N, 256] and f32[N, 128]",
    place(MLP, "+", SUM),
    (
        Label(place(MLP, "main", SUM), "f32[N, 256], from Dense(256) at line 2"),
        Label(place(MLP, "skip", SUM), "f32[N, 128], from Dense(128) at line 3"),
    ),
    "give both the same size",
)


def shown(diagnostic: Diagnostic) -> str:
    return "\n" + render([diagnostic])


def test_labels_on_one_line() -> None:
    assert (
        shown(MISMATCH)
        == """
error[E0301]: mismatched shapes in `+`: f32[N, 256] and f32[N, 128]
  --> models/mlp.nn:5:20
  5 |   return relu(main + skip)
    |               ---- ^ ---- f32[N, 128], from Dense(128) at line 3
    |               f32[N, 256], from Dense(256) at line 2
  = help: give both the same size
"""
    )


def test_labels_on_other_lines_and_in_other_files() -> None:
    other = Source("std/layers.nn", "\n" * 11 + "block Dense(out: int)\n")
    diagnostic = Diagnostic(
        "E0301",
        "mismatched shapes",
        place(MLP, "+", SUM),
        (
            Label(place(MLP, "Dense(256)"), "f32[N, 256]"),
            Label(place(MLP, "Dense(128)"), "f32[N, 128]"),
            Label(place(other, "Dense"), "made here"),
        ),
    )
    assert (
        shown(diagnostic)
        == """
error[E0301]: mismatched shapes
  --> models/mlp.nn:5:20
   2 |   let main = x |> Dense(256)
     |                   ---------- f32[N, 256]
   3 |   let skip = x |> Dense(128)
     |                   ---------- f32[N, 128]
  ...
   5 |   return relu(main + skip)
     |                    ^
  ::: std/layers.nn:12:7
  12 | block Dense(out: int)
     |       ----- made here
"""
    )


def test_several_texts_hang_below_a_line() -> None:
    source = Source("m.nn", "let y = a + b * c\n")
    labels = tuple(Label(place(source, x, 6), f"this is {x}") for x in "abc")
    diagnostic = Diagnostic(
        "E0000", "many", place(source, "*"), (*labels, Label(place(source, "*"), "here"))
    )
    assert (
        shown(diagnostic)
        == """
error[E0000]: many
  --> m.nn:1:15
  1 | let y = a + b * c
    |         -   - ^ - this is c
    |         |   | here
    |         |   this is b
    |         this is a
"""
    )


def test_an_error_without_a_place() -> None:
    assert render([Diagnostic("E0001", "no file", help="look\nharder")]) == (
        "error[E0001]: no file\n  = help: look\n          harder\n"
    )


def test_several_errors_are_separated_by_an_empty_line() -> None:
    text = render([Diagnostic("E0001", "one"), Diagnostic("E0002", "two")])
    assert text == "error[E0001]: one\n\nerror[E0002]: two\n"
    assert render([]) == ""


def test_marks_stand_below_tabs_and_wide_characters() -> None:
    source = Source("m.nn", '\tlet\tx = "漢字e\u0301" + y\n')
    assert (
        shown(Diagnostic("E0000", "y", place(source, "y")))
        == """
error[E0000]: y
  --> m.nn:1:19
  1 |     let x = "漢字e\u0301" + y
    |                       ^
"""
    )


def test_a_place_over_several_lines_is_marked_on_its_first() -> None:
    diagnostic = Diagnostic("E0000", "all", Span(MLP, 0, len(MLP.text)))
    assert (
        shown(diagnostic)
        == """
error[E0000]: all
  --> models/mlp.nn:1:1
  1 | model MLP()(x: f32[N, D]) -> f32[N, 10] {
    | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
"""
    )


def test_the_end_of_a_line_and_of_a_text_can_be_marked() -> None:
    source = Source("m.nn", "let x =")
    assert (
        shown(Diagnostic("E0000", "end", Span(source, 7, 7)))
        == """
error[E0000]: end
  --> m.nn:1:8
  1 | let x =
    |        ^
"""
    )
    assert "  1 |\n    | ^\n" in render([Diagnostic("E0000", "empty", Span(Source("m", ""), 0, 0))])


def test_of_a_long_line_the_part_around_the_place_is_shown() -> None:
    source = Source("m.nn", "a" * 500 + " here " + "b" * 500 + "\n")
    lines = render([Diagnostic("E0000", "long", place(source, "here"))]).splitlines()
    assert all(len(line) < 140 for line in lines)
    assert lines[2].startswith("  1 | … aaa")
    assert lines[2].endswith("bbb …")
    assert lines[2].index("here") == lines[3].index("^^^^")


def test_a_line_of_a_megabyte_is_no_trouble() -> None:
    source = Source("m.nn", "a" * 500_000 + " here " + "b" * 500_000)
    lines = render([Diagnostic("E0000", "long", place(source, "here"))] * 50).splitlines()
    assert lines[2].index("here") == lines[3].index("^^^^")


def test_control_characters_do_not_reach_the_terminal() -> None:
    source = Source("\x1b[2Jm.nn", "let x = \x1b[31m\u202e\x00\n")
    text = render([Diagnostic("E0000", "bad \x1b[0m", place(source, "x"), help="no\x07")])
    assert not set(text) & set("\x1b\u202e\x00\x07")


def test_color_changes_nothing_but_color() -> None:
    colored = render([MISMATCH], color=True)
    assert "\x1b[1;31m^\x1b[0m" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render([MISMATCH])


def test_json_has_the_same_content() -> None:
    (one,) = json.loads(json.dumps(to_json([MISMATCH])))
    assert {
        k: one[k] for k in ("severity", "code", "message", "path", "line", "column", "help")
    } == {
        "severity": "error",
        "code": "E0301",
        "message": MISMATCH.message,
        "path": "models/mlp.nn",
        "line": 5,
        "column": 20,
        "help": "give both the same size",
    }
    assert (one["end_line"], one["end_column"]) == (5, 21)
    assert [label["text"] for label in one["labels"]] == [label.text for label in MISMATCH.labels]
    assert to_json([Diagnostic("E0001", "no file")]) == [
        {"severity": "error", "code": "E0001", "message": "no file", "labels": [], "help": ""}
    ]
