"""The benchmark of passes compares what differs, and runs each source that it compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import passes
from benchmarks.harness import Measured, Options
from nnc.passes.pipeline import DEFAULT


def fake_measure(
    workload: str, names: Sequence[str], sizes: Any, options: Options, folder: Path, data: Path
) -> Mapping[str, Measured]:
    """Two blocks of each contender, of which the files are there."""
    assert all((folder / f"{workload}_{name}.py").exists() for name in names)
    assert data.exists()
    return {name: Measured(name, 10, 0.0, [0.02, 0.04]) for name in names}


def test_a_row_for_each_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "measure", fake_measure)
    found = {row.variant: row for row in passes.rows("tiny", "numpy", Options())}
    assert list(found) == list(passes.VARIANTS)
    assert {f"no {p.name}" for p in DEFAULT} < found.keys()
    assert found["no passes"].nodes > found["no passes"].nodes_all
    assert all(row.seconds == 0.002 and row.ratio == 1 for row in found.values())


def test_what_has_the_same_source_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[str] = []

    def measure(workload: str, names: Sequence[str], *rest: Any) -> Mapping[str, Measured]:
        run.extend(names)
        return {name: Measured(name, 1, 0.0, [1.0]) for name in names}

    monkeypatch.setattr(passes, "measure", measure)
    list(passes.rows("tiny", "numpy", Options()))
    assert "nnc-numpy:no loops" not in run  # it has none
    assert {"nnc-numpy:all", "nnc-numpy:all again", "nnc-numpy:no simplify"} < set(run)
