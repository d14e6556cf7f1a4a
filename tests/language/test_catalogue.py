"""The pages of `nnc explain`: every code has one, and its programs show what it says."""

import re
from pathlib import Path

import pytest

from nnc.elaborate.check import check_text
from nnc.language.catalogue import CATALOGUE, parse_page
from nnc.language.formatter import format_text
from nnc.language.parser import parse
from nnc.language.tree import Source

PACKAGE = Path(__file__).parents[2] / "nnc"
# The programs of errors of meaning are tested in tests/diagnostics, those of data in tests/data.
SYNTAX = [code for code in CATALOGUE if CATALOGUE[code].example and code < "E0200"]
CODE = re.compile(r'"(E\d{4})"')


def codes(text: str) -> list[str]:
    return [d.code for d in check_text(text, root=PACKAGE.parent / "models")]


def test_every_code_of_the_front_end_has_a_page() -> None:
    used = {c for p in (PACKAGE / "language").glob("*.py") for c in CODE.findall(p.read_text())}
    assert used <= set(CATALOGUE)


@pytest.mark.parametrize("code", CATALOGUE)
def test_pages_are_well_formed(code: str) -> None:
    entry = CATALOGUE[code]
    assert entry.code == code
    assert entry.title
    assert len(entry.explanation) > 60
    assert entry.fixed != entry.example or not entry.example


@pytest.mark.parametrize("code", SYNTAX)
def test_syntax_examples_have_exactly_their_error(code: str) -> None:
    assert [d.code for d in parse(Source("m", CATALOGUE[code].example))[1]] == [code]


@pytest.mark.parametrize("code", SYNTAX)
def test_syntax_examples_are_right_when_fixed(code: str) -> None:
    assert codes(CATALOGUE[code].fixed) == []
    assert format_text(CATALOGUE[code].fixed) == CATALOGUE[code].fixed


def test_unknown_codes_are_not_there() -> None:
    assert "E9999" not in CATALOGUE
    assert "../tree" not in CATALOGUE


@pytest.mark.parametrize("text", ["", "# Nothing", "# E0001: a\n\n```nn\nlet x = 3\n```\n"])
def test_a_page_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a page has"):
        parse_page(text)
