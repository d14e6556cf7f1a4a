"""Texts that are too large, too deep or no text at all are refused with a sentence."""

from pathlib import Path

import pytest

from nnc.language.diagnostics import NncError
from nnc.language.formatter import format_text
from nnc.language.limits import MAX_BRACKETS, MAX_BYTES, MAX_TOKENS, read_source
from nnc.language.parser import parse, parse_text
from nnc.language.tree import Source


def codes(text: str) -> list[str]:
    return [d.code for d in parse(Source("m", text))[1]]


def test_a_thousand_terms_and_ten_thousand_statements_are_fine() -> None:
    assert len(parse_text("let x = " + " + ".join(["a"] * 1000)).items) == 1
    lines = "\n".join(f"x{i} = {i}" for i in range(10_000))
    (section,) = parse_text(f"train t {{\n{lines}\n}}").items
    assert len(section.body) == 10_000  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(("left", "right"), ["()", "[]", ("f(", ")"), ("if a { ", " }")])
def test_brackets_can_be_a_hundred_deep(left: str, right: str) -> None:
    text = "let x = " + left * MAX_BRACKETS + "1" + right * MAX_BRACKETS
    assert format_text(format_text(text)) == format_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * (MAX_BRACKETS + 1) + "1" + ")" * (MAX_BRACKETS + 1),
        "(" * 10_000 + "1" + ")" * 10_000,
        "f([" * 10_000,
        "-" * 5_000 + "1",
        "not " * 5_000 + "a",
        "a" + "^2" * 5_000,
        "a" + ".b" * 5_000,
        "a" + "()" * 5_000,
        "if a { 1 } else " * 5_000 + "{ 2 }",
    ],
    ids=["101", "10000", "open", "minus", "not", "powers", "parts", "calls", "else if"],
)
def test_deeper_nesting_is_refused(text: str) -> None:
    assert codes(f"let x = {text}") == ["E0005"]


def test_too_large_a_text_is_refused() -> None:
    assert codes("# " + "x" * MAX_BYTES) == ["E0003"]
    assert codes("# " + "é" * (MAX_BYTES // 2 + 1)) == ["E0003"]


def test_too_many_tokens_are_refused() -> None:
    assert codes("a " * (MAX_TOKENS + 1)) == ["E0006"]


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\x7f", "\u202e", "\u2066"])
def test_control_characters_are_refused_even_in_comments(char: str) -> None:
    assert codes(f"let x = 3  # {char}") == ["E0004"]


def test_tabs_and_unicode_in_comments_and_strings_are_fine() -> None:
    assert codes('\tlet x = "größe 漢字"  # é') == []


# ---------------------------------------------------------------- files
def refused(path: Path) -> tuple[str, str, str]:
    with pytest.raises(NncError) as caught:
        read_source(path, path.name)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic.code, diagnostic.message, diagnostic.help


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.nn").write_bytes("\ufefflet x = 3\r\n".encode())
    source = read_source(tmp_path / "a.nn")
    assert (source.text, source.path) == ("let x = 3\n", str(tmp_path / "a.nn"))


def test_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "digits.nn").write_text("")
    code, message, help = refused(tmp_path / "digit.nn")
    assert (code, message) == ("E0001", "`digit.nn` cannot be read: no such file or directory")
    assert help == "did you mean `digits.nn`?"


def test_a_folder(tmp_path: Path) -> None:
    assert refused(tmp_path)[0] == "E0001"


def test_a_name_that_no_file_can_have() -> None:
    assert refused(Path("a\0b.nn"))[0] == "E0001"


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.nn").write_bytes("let x = 3\n# größe".encode("latin-1"))
    code, message, _ = refused(tmp_path / "a.nn")
    assert (code, message) == ("E0002", "`a.nn` is not UTF-8 text: byte 0xf6 in line 2")


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "a.nn").write_bytes(b"#" * (MAX_BYTES + 1))
    assert refused(tmp_path / "a.nn")[:2] == ("E0003", "`a.nn` is larger than 1 MiB")
