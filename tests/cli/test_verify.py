"""`nnc verify`: a table or JSON, the exit code, and the op to blame."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from nnc_numpy import NumpyBackend

from nnc.backend import Backend
from nnc.cli import main
from nnc.ir.program import Training


class Wrong(NumpyBackend):
    """Takes relu for its negative."""

    name = "wrong"

    def emit(self, training: Training) -> str:
        return super().emit(training).replace("np.maximum(0.0", "np.minimum(0.0")

    def version(self) -> str:
        return "wrong 1.0"


@pytest.fixture
def two_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, Backend] = {"numpy": NumpyBackend(), "wrong": Wrong()}
    monkeypatch.setattr("nnc.commands.verify._backends", lambda names: known)


def test_a_table(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "fit.nn", "--backends", "numpy", "--steps", "3"]) == 0
    printed = capsys.readouterr().out
    assert "fit: 3 steps, not smooth" in printed
    (row,) = (line for line in printed.split("\n") if "numpy 2" in line)
    assert [cell.strip() for cell in row.split("│")[2:4]] == ["equal", "equal"]
    assert "ok" in row
    rows = [line.split("│") for line in printed.split("\n") if line.startswith("│ net.")]
    errors = {row[1].strip(): row[2].strip() for row in rows}
    assert set(errors) == {f"net.dense_{i}.{w}" for i in (0, 1) for w in "wb"}
    assert all(re.fullmatch(r"\d\.\de-\d\d \(0\.\d+\)", error) for error in errors.values())


def test_json(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "fit.nn", "--backends", "numpy", "--steps", "2", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert report["steps"] == 2
    (numpy,) = report["backends"]
    assert numpy["streams"]["init"] == {"equal": True, "compared": 12, "differs": ""}
    assert numpy["lockstep"]["f32"]["ratio"] < 1
    assert numpy["lockstep"]["f64"]["passed"]
    assert numpy["free"]["f32"]["ratio"] is None


def test_a_wrong_backend_fails_and_its_op_is_shown(
    program: Path, two_backends: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "fit.nn", "--steps", "2", "--bisect"]) == 1
    out, err = capsys.readouterr()
    assert "FAILED" in out
    assert (
        "`wrong` computes something else: `maximum` in net is the first value that differs" in err
    )
    assert "fit.nn:12:" in err
    assert "no pass is to blame, but how `wrong` spells `maximum`" in err


def test_an_unknown_backend_is_an_error(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "fit.nn", "--backends", "numpi"]) == 1
    assert "did you mean `numpy`?" in capsys.readouterr().err


def test_all_trainings_by_default(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = program.read_text()
    section = text[text.index("train fit") :]
    program.write_text(text + section.replace("train fit", "train more"))
    arguments = ["verify", "fit.nn", "--backends", "numpy", "--steps", "1"]
    assert main(arguments) == 0
    assert "fit: 1 steps" in (out := capsys.readouterr().out)
    assert "more: 1 steps" in out
    assert main([*arguments, "--train", "more"]) == 0
    assert "fit: 1 steps" not in capsys.readouterr().out
