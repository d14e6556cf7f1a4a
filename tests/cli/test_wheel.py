"""The wheel in a clean environment, away from the repository: it trains without anything else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIP = ["-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]


def run(*command: str | Path, cwd: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
def test_the_wheel_trains_in_a_clean_environment(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    run(sys.executable, *PIP, "wheel", "--no-deps", "-w", wheels, ROOT, cwd=tmp_path)
    (wheel,) = wheels.glob("nnc-*.whl")
    home = tmp_path / "clean"
    venv.create(home, with_pip=True)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, *PIP, "install", wheel, cwd=tmp_path)

    shutil.copytree(ROOT / "models" / "data", tmp_path / "models" / "data")
    program = shutil.copy(ROOT / "models" / "digits.nn", tmp_path / "models")
    assert "no errors" in run(python, "-m", "nnc", "check", program, cwd=tmp_path)
    train = ["train", program, "--steps", "5", "--out", "out"]
    assert "val" in run(python, "-m", "nnc", *train, cwd=tmp_path)
    assert (tmp_path / "out" / "last.safetensors").exists()
    assert "test" in run(python, "-m", "nnc", "eval", "out", cwd=tmp_path)
    where = run(python, "-c", "import nnc; print(nnc.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(home)
