"""The grammar file, the parser built from it, and the lexer beside it."""

import json
from pathlib import Path

import lark
import pytest
from hypothesis import given, settings

from nnc.language import tables
from nnc.language.builder import Builder
from nnc.language.lexer import KEYWORDS, tokens
from nnc.language.parser import _machine
from tests.language.generate import programs

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.nn"))


def test_the_grammar_has_no_conflicts() -> None:
    lark.Lark(tables.grammar(), parser="lalr", lexer="basic", strict=True)


def test_the_builder_has_a_method_for_every_rule() -> None:
    parser = lark.Lark(tables.grammar(), parser="lalr", lexer="basic", keep_all_tokens=True)
    rules = {rule.alias or rule.origin.name for rule in parser.rules}
    rules = {name for name in rules if not name.startswith("_")}
    # Rules that are only ever replaced by their one child.
    passed_on = {"post", "power", "unary", "neg"}
    assert {name for name in rules if not hasattr(Builder(), name)} <= passed_on
    assert len(rules) < 50


def test_both_lexers_reserve_the_same_words() -> None:
    words = {t.pattern.value for t in _machine().lark.terminals if t.pattern.type == "str"}
    assert {word for word in words if word.isalpha()} == KEYWORDS


@settings(max_examples=50, deadline=None)
@given(programs())
def test_both_lexers_cut_a_text_alike(text: str) -> None:
    ours = [_machine().lexeme(t) for t in tokens(text) if t.kind != "comment"]
    theirs = list(_machine().lark.lex(text))
    assert [(t.type, t.value, t.start_pos) for t in ours] == [
        (t.type, t.value, t.start_pos) for t in theirs
    ]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_both_lexers_cut_the_example_programs_alike(path: Path) -> None:
    test_both_lexers_cut_a_text_alike.hypothesis.inner_test(path.read_text())  # type: ignore[attr-defined]


# ---------------------------------------------------------------- the cache of the tables
@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NNC_CACHE", str(tmp_path))
    return tmp_path


def works(parser: lark.Lark) -> bool:
    return len(parser.parse("let x = 3\nlet y = x").items) == 2  # type: ignore[attr-defined]


def test_the_tables_are_written_once_and_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert works(tables.make_parser(Builder()))
    (file,) = folder.iterdir()
    json.loads(file.read_text().split("\n", 1)[1])  # no pickle
    monkeypatch.setattr(lark, "Lark", type("Loaded", (lark.Lark,), {"__init__": None}))
    assert works(tables.make_parser(Builder()))


@pytest.mark.parametrize("damage", ["", "{}", "0\n{}", "truncate", "flip"])
def test_a_damaged_cache_is_replaced(folder: Path, damage: str) -> None:
    tables.make_parser(Builder())
    (file,) = folder.iterdir()
    sound = file.read_text()
    changed = {"truncate": sound[:-100], "flip": sound.replace("NAME", "MANE", 1)}
    file.write_text(changed.get(damage, damage))
    assert works(tables.make_parser(Builder()))
    assert tables._read(file) is not None


def test_a_cache_that_cannot_be_written_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NNC_CACHE", str(tmp_path / "file"))
    assert works(tables.make_parser(Builder()))
