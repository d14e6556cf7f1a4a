"""What users read when a program is wrong: each `cases/NAME.nn` with its messages in `NAME.txt`.

`UPDATE=1 pytest tests/diagnostics` writes the messages anew; read the difference as a user would.
"""

import os
from pathlib import Path

import pytest

from nnc.elaborate import check_text
from nnc.language.render import render

CASES = Path(__file__).parent / "cases"
MODELS = Path(__file__).parents[2] / "models"
NAMES = sorted(path.stem for path in CASES.glob("*.nn"))


def messages(name: str) -> str:
    text = (CASES / f"{name}.nn").read_text(encoding="utf-8")
    root = CASES if 'use "' in text else MODELS
    return render(check_text(text, f"{name}.nn", root))


@pytest.mark.parametrize("name", NAMES)
def test_messages_are_as_reviewed(name: str) -> None:
    found, path = messages(name), CASES / f"{name}.txt"
    assert found, "the program has no error"
    if os.environ.get("UPDATE"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def test_every_snapshot_has_its_program() -> None:
    assert {path.stem for path in CASES.glob("*.txt")} == set(NAMES)
