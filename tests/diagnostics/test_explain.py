"""Every code that the sources raise has a page, and the programs of a page show what it says."""

import re
from pathlib import Path

import pytest

from nnc.elaborate import check_text
from nnc.language.catalogue import CATALOGUE
from nnc.language.formatter import format_text

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
CODE = re.compile(r'"(E\d{4})"')
#: Errors of meaning: those before show in the text alone, those after in files and runs.
MEANING = [code for code in CATALOGUE if "E0200" < code < "E0500" and CATALOGUE[code].example]


def codes(text: str) -> list[str]:
    return [d.code for d in check_text(text, root=MODELS)]


def raised() -> set[str]:
    sources = [*(ROOT / "nnc").rglob("*.py"), *(ROOT / "backends").rglob("*.py")]
    return {code for path in sources for code in CODE.findall(path.read_text(encoding="utf-8"))}


def test_every_code_has_a_page() -> None:
    assert raised() - set(CATALOGUE) == set()


def test_every_page_has_a_code() -> None:
    assert set(CATALOGUE) - raised() == set()


@pytest.mark.parametrize("code", MEANING)
def test_the_wrong_program_has_exactly_this_error(code: str) -> None:
    assert codes(CATALOGUE[code].example) == [code]


@pytest.mark.parametrize("code", MEANING)
def test_the_program_put_right_has_none(code: str) -> None:
    assert codes(CATALOGUE[code].fixed) == []


@pytest.mark.parametrize("code", MEANING)
def test_programs_are_in_the_one_style(code: str) -> None:
    for text in (CATALOGUE[code].example, CATALOGUE[code].fixed):
        assert format_text(text) == text
