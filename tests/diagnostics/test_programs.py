"""The example programs: where their data is missing, nothing else is wrong with them."""

from pathlib import Path

import pytest

from nnc.elaborate import check_text
from nnc.language.diagnostics import Diagnostic

PROGRAMS = Path(__file__).parents[1] / "programs"
MODELS = Path(__file__).parents[2] / "models"

#: What each program needs and this folder has not: data files, data sections, readers.
MISSING = {
    "digits": {"data/digits.csv.gz"},
    "gan": {"images"},
    "gradients": {"support", "query", "test"},
    "regimes": {"images", "labels", "task_a", "task_b", "imagenet.safetensors"},
    "resnet": set(),
    "seq2seq": {"tokens"},
    "std": set(),
    "transformer": {"data/shakespeare.txt"},
    "unet": set(),
    "vae": {"data/digits.csv.gz"},
}
#: What `regimes.nn` uses and the language does not have yet.
LACKING = {"Ema", "Snapshot", "Fisher"}


def faults(name: str, root: Path) -> list[Diagnostic]:
    text = (PROGRAMS / f"{name}.nn").read_text(encoding="utf-8")
    return check_text(text, f"{name}.nn", root)


def subject(fault: Diagnostic) -> str:
    """The file or the name that an error is about."""
    assert fault.span is not None
    return fault.message.split("`")[1] if fault.code == "E0501" else fault.span.text


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "regimes" else n for n in MISSING]
)
def test_only_what_is_missing_is_wrong(name: str) -> None:
    found = {subject(fault) for fault in faults(name, PROGRAMS)}
    assert found - (LACKING if name == "regimes" else set()) == MISSING[name]


@pytest.mark.parametrize("name", ["digits", "vae"])
def test_with_its_data_a_program_is_right(name: str) -> None:
    assert faults(name, MODELS) == []


def test_the_table_names_every_program() -> None:
    assert {path.stem for path in PROGRAMS.glob("*.nn")} == set(MISSING)
