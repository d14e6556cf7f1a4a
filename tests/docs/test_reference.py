"""The reference says all there is to say: grammar, settings, types, functions and the library."""

from __future__ import annotations

import re
from argparse import _SubParsersAction
from pathlib import Path

import pytest

import nnc
from nnc.cli import build_parser
from nnc.data import READERS, TRANSFORMS
from nnc.elaborate.data_settings import SETTINGS as DATA_SETTINGS
from nnc.elaborate.expressions import UNITS
from nnc.elaborate.functions import BUILTINS
from nnc.elaborate.module import AMBIENT, library_files
from nnc.elaborate.settings import SCHEMA
from nnc.elaborate.types import KINDS
from nnc.ir.types import DTYPES
from nnc.language import tree
from nnc.language.lexer import KEYWORDS
from nnc.language.parser import parse_text
from nnc.ops.registry import OPS

from .snippets import DOCS, ROOT, blocks, documents
from .tables import library_names, stale

LANGUAGE = (DOCS / "language.md").read_text("utf-8")
#: the reference as a person wrote it, without the tables that are written from the code
PROSE = re.sub(r"<!-- table: .*?<!-- end -->", "", LANGUAGE, flags=re.DOTALL)
GRAMMAR = (ROOT / "grammar" / "nn.lark").read_text("utf-8")


def code_words(text: str) -> set[str]:
    """The names that stand in code, fenced or inline."""
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`([^`]+)`", rest)
    return set(re.findall(r"[A-Za-z_]\w*", "\n".join(fenced + inline)))


def grammar_lines() -> set[str]:
    """What the lines `Grammar: ...` at the heads of sections name."""
    paragraphs = re.findall(r"^Grammar: (.*?)\n\n", PROSE, re.DOTALL | re.MULTILINE)
    return {name for text in paragraphs for name in re.findall(r"`(\w+)`", text)}


def rules() -> set[str]:
    """The rules of the grammar and the names of their alternatives."""
    found = set(re.findall(r"^[?!]?(_?[a-z]\w*)\s*:", GRAMMAR, re.MULTILINE))
    return found | set(re.findall(r"->\s*([a-z]+)\s*$", GRAMMAR, re.MULTILINE))


def test_each_rule_of_the_grammar_has_its_section() -> None:
    named = grammar_lines()
    assert {rule for rule in rules() if not rule.startswith("_")} - named == set()
    assert named - rules() == set()


def test_each_keyword_is_explained() -> None:
    assert KEYWORDS - code_words(PROSE) == set()


def test_the_tables_are_those_of_the_code() -> None:
    names = ", ".join(path.name for path in stale())
    assert not names, f"run `make docs`: {names} is out of date"


def test_the_builtin_functions_are_those_that_exist() -> None:
    table = re.search(r"<!-- table: builtins -->(.*?)<!-- end -->", LANGUAGE, re.DOTALL)
    assert table
    assert set(re.findall(r"^\| `(\w+)\(", table[1], re.MULTILINE)) == BUILTINS.keys()


def test_the_library_is_the_one_that_exists() -> None:
    defined = {
        item.name
        for file in library_files()
        for item in parse_text(file.read_text("utf-8")).items
        if isinstance(item, tree.Fn | tree.Block)
    }
    assert set(library_names()) == {name for name in defined if not name.startswith("_")}


def test_the_settings_of_train_are_those_of_the_schema() -> None:
    chapter = PROSE[PROSE.index("## Train sections") : PROSE.index("## Gradients")]
    found: dict[str, set[str]] = {section: set() for section in SCHEMA}
    for names, sections in re.findall(r"^\| (`.*?`) \| ([a-z, ]+) \|", chapter, re.MULTILINE):
        for section in sections.split(", "):
            found[section] |= set(re.findall(r"`(\w+)`", names))
    assert found == {section: set(names) for section, names in SCHEMA.items()}


def test_the_settings_of_data_are_those_that_exist() -> None:
    chapter = PROSE[PROSE.index("## Data sections") : PROSE.index("## Train sections")]
    table = chapter[chapter.index("| setting |") : chapter.index("Data is read once")]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(DATA_SETTINGS)


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("types of parameters", KINDS),
        ("element types", DTYPES),
        ("ambient scalars", AMBIENT),
        ("units", UNITS),
        ("readers", READERS),
        ("transforms", TRANSFORMS),
    ],
)
def test_all_are_named(what: str, names: dict[str, object]) -> None:
    """Types that are keywords (`block`) cannot be written as types."""
    text = LANGUAGE + " ".join(f"`{unit}`" for unit in re.findall(r"`\d+([a-z]+)`", LANGUAGE))
    assert set(names) - KEYWORDS - code_words(text) == set()


# ---------------------------------------------------------------- all documents
def test_the_program_of_the_readme_is_the_example() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert (ROOT / "models" / "digits.nn").read_text("utf-8") in readme


def test_the_source_in_the_readme_is_what_is_emitted() -> None:
    (shown,) = (block for block in blocks(ROOT / "README.md") if block.language == "text")
    source = nnc.load(ROOT / "models" / "digits.nn").compile("numpy").source
    for part in shown.text.split("    ...\n"):
        assert part in source


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    (commands,) = (a for a in build_parser()._actions if isinstance(a, _SubParsersAction))
    assert [name for name in commands.choices if f"    nnc {name} " not in readme] == []


def test_the_architecture_names_every_op() -> None:
    assert OPS.keys() - code_words((DOCS / "architecture.md").read_text("utf-8")) == set()


def layers() -> dict[str, set[str]]:
    """What the table of folders lets each part import, by its path."""
    text = (DOCS / "architecture.md").read_text("utf-8").partition("\n## ")[0]
    rows = re.findall(r"^\| `(\S+)` \| .* \|([^|]*)\|$", text, re.MULTILINE)
    return {path: set(re.findall(r"`(\w+)`", imports)) for path, imports in rows}


def imports_of(path: Path) -> set[str]:
    """The parts of nnc that a file, or the files of a folder, import."""
    files = path.rglob("*.py") if path.is_dir() else [path]
    text = "\n".join(file.read_text("utf-8") for file in files)
    return set(re.findall(r"^\s*(?:from|import) nnc\.(\w+)", text, re.MULTILINE)) | set(
        re.findall(r"^\s*from nnc import (\w+)", text, re.MULTILINE)
    )


def test_the_architecture_names_every_part() -> None:
    parts = {
        f"{path.relative_to(ROOT)}{'/' * path.is_dir()}"
        for top in ("nnc", "backends")
        for path in (ROOT / top).iterdir()
        if (path.suffix == ".py" or any(path.glob("*.py"))) and not path.name.startswith("_")
    }
    assert layers().keys() == {*parts, "grammar/"}


@pytest.mark.parametrize("path", layers())
def test_imports_run_as_the_architecture_says(path: str) -> None:
    itself = (ROOT / path).stem
    allowed = {itself, "__version__", *layers()[path]}
    assert imports_of(ROOT / path) - allowed == set()


def test_every_document_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    missing = [p.name for p in documents() if p.name != "README.md" and p.name not in index]
    assert missing == []


@pytest.mark.parametrize("path", [*documents(), ROOT / "README.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        if file.startswith("http"):
            continue
        there = path.parent / file if file else path
        assert there.exists(), f"{path.name}: {target}"
        assert not anchor or anchor in _anchors(there), f"{path.name}: {target}"


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
