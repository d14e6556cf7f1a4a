"""Syntax errors as users make them, each with the message it gives."""

import pytest

from nnc.language.parser import parse
from nnc.language.tree import Source
from tests.language.cases import Case, message, read

CASES = read()


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_message(case: Case) -> None:
    assert message(case.program) == case.message


def test_titles_are_distinct() -> None:
    assert len({case.title for case in CASES}) == len(CASES) > 80


def test_independent_errors_are_reported_in_one_run() -> None:
    text = """\
let a = 3 b
block F()(x: f32[N]) -> f32[N] {
  param w = zeros()
  return x ** 2
}
train t(epochs = 3 {
  loss == 1
  phase p {
    let y
    seed = 7
  }
}
let c = [1, 2
"""
    diagnostics = parse(Source("model.nn", text))[1]
    assert [(d.code, d.span.line) for d in diagnostics if d.span] == [
        ("E0103", 1),
        ("E0115", 3),
        ("E0105", 4),
        ("E0101", 6),
        ("E0101", 13),
    ]


def test_errors_inside_a_body_survive_an_error_in_its_header() -> None:
    text = "train t(epochs = ) {\n  loss == 1\n  phase p { let y }\n}\n"
    assert [d.code for d in parse(Source("m", text))[1]] == ["E0114", "E0109", "E0108"]


def test_the_rest_of_a_program_is_parsed() -> None:
    text = "let a = 3\nlet b = (1\nlet c = 5\ntrain t { loss = c\n  epochs == 3 }\n"
    program, diagnostics = parse(Source("m", text))
    assert [d.code for d in diagnostics] == ["E0101", "E0109"]
    assert [item.span.text.split()[1] for item in program.items] == ["a", "c", "t"]
    assert {"b", "epochs"} <= program.lost
    assert "c" not in program.lost


def test_a_body_left_without_its_header_is_not_reported_again() -> None:
    text = "train t\n  loss = 1\n  epochs = 3\n"
    assert [d.code for d in parse(Source("m", text))[1]] == ["E0112"]
