"""What users read when a program is wrong: each `cases/NAME.nn` with its messages in `NAME.txt`.

`UPDATE=1 pytest tests/diagnostics` writes the messages anew; read the difference as a user would.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from nnc.elaborate import check_text
from nnc.language.diagnostics import Diagnostic
from nnc.language.render import render

CASES = Path(__file__).parent / "cases"
MODELS = Path(__file__).parents[2] / "models"
NAMES = sorted(path.stem for path in CASES.glob("*.nn"))


def messages(name: str) -> str:
    text = (CASES / f"{name}.nn").read_text(encoding="utf-8")
    root = CASES if 'use "' in text else MODELS
    return "\n".join(map(shown, check_text(text, f"{name}.nn", root)))


def shown(fault: Diagnostic) -> str:
    """As rendered, but of places in the library only what is said there: its lines may move."""
    inside = [x for x in fault.labels if x.span.source.path.startswith("std/")]
    own = tuple(x for x in fault.labels if x not in inside)
    notes = "".join(f"  ::: {x.span.source.path}: {x.text}\n" for x in inside)
    return render([replace(fault, labels=own)]) + notes


@pytest.mark.parametrize("name", NAMES)
def test_messages_are_as_reviewed(name: str) -> None:
    found, path = messages(name), CASES / f"{name}.txt"
    assert found, "the program has no error"
    if os.environ.get("UPDATE"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def test_every_snapshot_has_its_program() -> None:
    assert {path.stem for path in CASES.glob("*.txt")} == set(NAMES)
