"""Every block of the documentation holds: programs check, commands and Python do what they show."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nnc.language.formatter import format_text

from .running import MODELS, PRELUDES, Folder, check_program, check_values
from .snippets import ROOT, Block, blocks, documents

FILES = [*documents(), ROOT / "README.md"]
ALL = [block for path in FILES for block in blocks(path)]
PROGRAMS = [b for b in ALL if b.language == "nn" and b.says("not run") is None]
RUN = ("console", "python")


def _sections() -> list[tuple[str, list[Block]]]:
    """The sections with something to run: the blocks up to there, those to run last in line."""
    found: dict[tuple[Path, str], list[Block]] = {}
    for block in ALL:
        if block.language in RUN and block.says("not run") is None:
            found.setdefault((block.path, block.section), []).append(block)
    return [(f"{path.name}: {section}", run) for (path, section), run in found.items()]


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda b: b.place)
def test_a_program_is_right_or_has_the_errors_it_is_to_show(block: Block, tmp_path: Path) -> None:
    if block.says("values") is not None:
        check_values(block)
        return
    root = MODELS
    if (block.says("file") or "").count("/") == 0 and 'use "' in block.text:
        root = _folder(block, tmp_path).path
    check_program(block, root)


@pytest.mark.parametrize(
    ("name", "run"), _sections(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_commands_and_python_do_what_they_show(name: str, run: list[Block], tmp_path: Path) -> None:
    folder = _folder(run[-1], tmp_path)
    for block in run:
        if block.says("file") is None:
            folder.run(block)


def _folder(last: Block, path: Path) -> Folder:
    """A folder with the example programs, their data, and the files written before `last`."""
    shutil.copytree(MODELS, path / "models")
    (path / "data").symlink_to(path / "models" / "data")
    folder = Folder(path)
    for block in blocks(last.path):
        if block.says("file") is not None and block.line <= last.line:
            folder.write(block)
    return folder


def test_directives_name_preludes_that_exist() -> None:
    named = {b.says("with") for b in ALL} - {None}
    assert named <= PRELUDES.keys()


def test_every_block_has_a_language_that_is_looked_at() -> None:
    unknown = [
        b.place
        for b in ALL
        if b.path != ROOT / "README.md"
        and b.language not in ("nn", "console", "python", "text", "toml")
    ]
    assert unknown == []


WRITTEN = [
    b for b in PROGRAMS if not {"inside", "values", "error", "not run"} & dict(b.directives).keys()
]


@pytest.mark.parametrize("block", WRITTEN, ids=lambda b: b.place)
def test_programs_are_in_the_one_style(block: Block) -> None:
    assert format_text(block.text, block.place) == block.text
