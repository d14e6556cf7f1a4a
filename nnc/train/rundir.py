"""The directory of a run: its settings, program, emitted source, metrics and checkpoints."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnc.language.diagnostics import error
from nnc.train import checkpoint

METRICS, SETTINGS, PROGRAM = "metrics.jsonl", "run.json", "program.nn"
OWN_FILES = (SETTINGS, METRICS, PROGRAM, checkpoint.LAST, checkpoint.BEST, checkpoint.PREVIOUS)


class RunDir:
    """Files of one run.  Metrics are appended line by line; everything else is replaced whole."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def create(cls, path: Path) -> RunDir:
        """A new run in exactly `path`; an error where one is already there."""
        if any((path / name).exists() for name in OWN_FILES):
            raise error(
                "E0705",
                f"{path} already holds a run",
                help=f"`--resume {path}` goes on with it; `--out` names another directory",
            )
        _make(path)
        return cls(path)

    @classmethod
    def create_numbered(cls, path: Path) -> RunDir:
        """A new run in `path`, or in the first of `path-2`, `path-3` ... that does not exist."""
        _make(path.parent)
        number = 1
        while True:
            candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
            try:
                os.mkdir(candidate)
            except FileExistsError:
                number += 1
            except OSError as problem:
                raise _cannot_create(candidate, problem) from None
            else:
                return cls(candidate)

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """The run that is in `path`."""
        if not path.is_dir():
            raise error("E0703", f"there is no directory {path} to resume")
        return cls(path)

    def settings(self) -> dict[str, Any]:
        try:
            found = json.loads((self.path / SETTINGS).read_text("utf-8"))
        except (OSError, ValueError) as problem:
            raise error(
                "E0703", f"{self.path} is not the directory of a run: {SETTINGS}: {problem}"
            ) from None
        if not isinstance(found, dict):
            raise error("E0703", f"{self.path / SETTINGS} is not the description of a run")
        return found

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        self.write(SETTINGS, json.dumps(dict(settings), indent=2) + "\n")

    def write(self, name: str, text: str) -> None:
        checkpoint.write_atomically(self.path / name, text.encode("utf-8"))

    def record(self, row: Mapping[str, Any]) -> None:
        """Append one object to metrics.jsonl; a number that JSON has not becomes null."""
        line = json.dumps(_finite(row), allow_nan=False)
        try:
            with open(self.path / METRICS, "a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as problem:
            raise error(
                "E0704", f"cannot write {self.path / METRICS}: {problem.strerror}"
            ) from None

    def keep_records(self, count: int) -> None:
        """Cut metrics.jsonl to its first `count` lines: those of before the checkpoint."""
        path = self.path / METRICS
        if path.exists():
            lines = path.read_bytes().splitlines(keepends=True)
            if len(lines) > count:
                checkpoint.write_atomically(path, b"".join(lines[:count]))


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise _cannot_create(path, problem) from None


def _cannot_create(path: Path, problem: OSError) -> Exception:
    return error("E0704", f"cannot create the directory {path}: {problem.strerror}")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
