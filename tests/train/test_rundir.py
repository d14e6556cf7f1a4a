"""The directory of a run: never overwritten, records that JSON can hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnc.language.diagnostics import NncError
from nnc.train.rundir import RunDir


def test_a_named_directory_is_not_overwritten(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "a" / "b")
    run.write_settings({"seed": 1})
    with pytest.raises(NncError, match="already holds a run") as problem:
        RunDir.create(tmp_path / "a" / "b")
    assert "--resume" in problem.value.diagnostics[0].help
    assert RunDir.open(tmp_path / "a" / "b").settings() == {"seed": 1}


def test_a_directory_with_other_files_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    RunDir.create(tmp_path)


def test_runs_without_a_name_are_numbered(tmp_path: Path) -> None:
    names = [RunDir.create_numbered(tmp_path / "runs" / "digits").path.name for _ in range(3)]
    assert names == ["digits", "digits-2", "digits-3"]


def test_what_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NncError, match="cannot create the directory"):
        RunDir.create(tmp_path / "file" / "run")
    with pytest.raises(NncError, match="there is no directory"):
        RunDir.open(tmp_path / "nowhere")
    with pytest.raises(NncError, match="is not the directory of a run"):
        RunDir.open(tmp_path).settings()


def test_a_record_is_one_line_of_standard_json(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path)
    run.record({"step": 1, "loss": float("nan"), "metrics": {"m": [[1.0, float("inf")]]}})
    run.record({"step": 2, "loss": 0.5, "metrics": {}})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"step": 1, "loss": None, "metrics": {"m": [[1.0, None]]}}
    assert json.loads(lines[1])["loss"] == 0.5
    run.keep_records(1)
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == lines[:1]
