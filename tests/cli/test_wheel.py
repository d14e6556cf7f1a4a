"""nnc as others install it: the wheel in a clean environment, away from the repository.

It trains without anything else, and takes a backend of a third party: that of docs/extending.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from nnc.train.checkpoint import LAST, load
from tests.docs.snippets import DOCS, blocks

ROOT = Path(__file__).parents[2]
PIP = ["-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]

#: one worker, so that the environment is made once
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


def run(*command: str | Path, cwd: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@dataclass(frozen=True)
class Clean:
    """An environment that has the wheel of nnc, and a folder with an example program."""

    home: Path
    folder: Path

    def python(self, *arguments: str | Path) -> str:
        binaries = "Scripts" if os.name == "nt" else "bin"
        return run(self.home / binaries / "python", *arguments, cwd=self.folder)

    def nnc(self, *arguments: str) -> str:
        return self.python("-m", "nnc", *arguments)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    folder, home = tmp_path_factory.mktemp("elsewhere"), tmp_path_factory.mktemp("clean")
    wheels = folder / "wheels"
    run(sys.executable, *PIP, "wheel", "--no-deps", "-w", wheels, ROOT, cwd=folder)
    venv.create(home, with_pip=True)
    installed = Clean(home, folder)
    (wheel,) = wheels.glob("nnc-*.whl")
    installed.python(*PIP, "install", wheel)
    shutil.copytree(ROOT / "models" / "data", folder / "models" / "data")
    shutil.copy(ROOT / "models" / "digits.nn", folder / "models")
    return installed


def test_it_trains(clean: Clean) -> None:
    assert "no errors" in clean.nnc("check", "models/digits.nn")
    assert "val" in clean.nnc("train", "models/digits.nn", "--steps", "5", "--out", "out")
    assert (clean.folder / "out" / LAST).exists()
    assert "test" in clean.nnc("eval", "out")
    where = clean.python("-c", "import nnc; print(nnc.__file__)")
    assert Path(where.strip()).is_relative_to(clean.home)


def test_frameworks_that_are_not_there_are_told(clean: Clean) -> None:
    lines = clean.nnc("backends").splitlines()
    assert [line.split()[0] for line in lines] == ["backend", "jax", "numpy", "torch"]
    for name in ("jax", "torch"):
        (line,) = (line for line in lines if line.startswith(name))
        assert line.split(maxsplit=1)[1] == f"not installed  pip install 'nnc[{name}]'"


# ---------------------------------------------------------------- a backend of a third party
@pytest.fixture
def plain(clean: Clean, tmp_path: Path) -> Iterator[Clean]:
    """The package `nnc_plain`, whose files stand in the documentation, installed."""
    for block in blocks(DOCS / "extending.md"):
        if block.says("file") in ("pyproject.toml", "nnc_plain.py"):
            (tmp_path / str(block.says("file"))).write_text(block.text)
    assert len(list(tmp_path.iterdir())) == 2
    clean.python(*PIP, "install", "--no-deps", tmp_path)
    yield clean
    clean.python(*PIP, "uninstall", "--yes", "nnc_plain")


def test_a_backend_of_a_third_party_trains(plain: Clean) -> None:
    assert "\nplain " in plain.nnc("backends")
    tables = {}
    for backend in ("numpy", "plain"):
        options = ["--backend", backend, "--epochs", "5", "--out", f"run-{backend}"]
        tables[backend] = plain.nnc("train", "models/digits.nn", *options)
    accuracy = {name: scores(table) for name, table in tables.items()}
    assert accuracy["plain"] == pytest.approx(accuracy["numpy"], abs=2e-3)
    assert accuracy["plain"][1] > 0.9
    states = [load(plain.folder / f"run-{name}" / LAST).state for name in ("numpy", "plain")]
    assert states[0].keys() == states[1].keys()
    for path, value in states[0].items():
        if not path.startswith("@opt/"):
            np.testing.assert_allclose(states[1][path], value, 1e-3, 1e-3, err_msg=path)
    assert scores(plain.nnc("eval", "run-numpy", "--backend", "plain")) == pytest.approx(
        accuracy["numpy"], abs=2e-3
    )


def scores(table: str) -> list[float]:
    """Loss and accuracy on the test part."""
    (row,) = (line for line in table.splitlines() if "test" in line and "│" in line)
    return [float(cell) for cell in row.split("│")[2:-1]]
