"""`nnc backends`, frameworks that are missing and devices that are: a line each, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnc import backend as contract
from nnc.cli import main

from .conftest import PROGRAM, write_points

BACKENDS = ("numpy", "jax", "torch")

#: what a Python does first that lacks some packages
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def nnc_without(names: set[str], folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """`nnc ARGS` where none of the packages `names` can be imported."""
    (folder / "sitecustomize.py").write_text(WITHOUT.format(names=names))
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-m", "nnc", *args],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


# ---------------------------------------------------------------- the list
def test_backends_are_an_aligned_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backends"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    columns = [head.index(word) for word in ("backend", "framework", "devices")]
    rows = {
        line.split()[0]: [
            line[a:b].strip() for a, b in zip(columns, [*columns[1:], None], strict=True)
        ]
        for line in lines
    }
    assert list(rows) == ["jax", "numpy", "torch"]
    assert rows["numpy"] == ["numpy", f"numpy {np.__version__}", "cpu"]
    for name, (_, version, devices) in rows.items():
        assert version == contract.get(name).version()
        assert "cpu" in devices.split(", ")


def test_frameworks_that_are_missing_are_told_with_the_command(tmp_path: Path) -> None:
    listed = nnc_without({"jax", "torch"}, tmp_path, "backends")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert [line.split(maxsplit=1) for line in listed.stdout.splitlines()] == [
        ["backend", "framework      devices"],
        ["jax", "not installed  pip install 'nnc[jax]'"],
        ["numpy", f"{f'numpy {np.__version__}':13}  cpu"],
        ["torch", "not installed  pip install 'nnc[torch]'"],
    ]


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_training_without_the_framework_is_one_error(name: str, program: Path) -> None:
    result = nnc_without({name}, program.parent, "train", "fit.nn", "--backend", name)
    assert result.returncode == 1
    assert result.stderr == (
        f"error[E0902]: the backend `{name}` needs `{name}`, which is not installed\n"
        f"  = help: pip install 'nnc[{name}]'\n"
    )
    assert not Path("runs").exists()


def test_files_that_a_backend_lacks_are_not_its_framework(program: Path) -> None:
    (program.parent / "sitecustomize.py").write_text(
        "import sys\nsys.modules['nnc_torch.dot'] = None  # importing it fails\n"
    )
    path = os.pathsep.join([str(program.parent), *filter(None, sys.path)])
    result = subprocess.run(
        [sys.executable, "-m", "nnc", "compile", "fit.nn", "--backend", "torch"],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 1
    assert "error[E0908]: the backend `torch` cannot be loaded: " in result.stderr
    assert "nnc_torch.dot" in result.stderr
    assert "pip install" not in result.stderr
    assert "Traceback" not in result.stderr


# ---------------------------------------------------------------- devices
@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a program, a run of it and a file to predict for."""
    folder = tmp_path_factory.mktemp("devices")
    write_points(folder / "points.csv")
    (folder / "fit.nn").write_text(PROGRAM)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", "fit.nn", "--steps", "1", "--out", "run"]) == 0
    finally:
        os.chdir(before)
    return folder


COMMANDS = {
    "compile": ["compile", "fit.nn", "-o", "out.py"],
    "train": ["train", "fit.nn", "--out", "new"],
    "resume": ["train", "--resume", "run"],
    "eval": ["eval", "run"],
    "predict": ["predict", "run", "--input", "x=points.csv"],
}


@pytest.mark.parametrize("device", ["cuda", "gpu", "tpu", "cuda:99", "a b"])
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", BACKENDS)
def test_a_device_that_is_not_there_is_an_error(
    name: str,
    command: str,
    device: str,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = contract.get(name).devices()
    if device in found:
        pytest.skip(f"{name} has the device {device} here")
    monkeypatch.chdir(trained)
    assert main([*COMMANDS[command], "--backend", name, "--device", device]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(
        f"error[E0907]: the backend `{name}` has no device `{device}` here\n"
        f"  = help: it has: {', '.join(found)}\n"
    )
    assert shown.out == ""
    assert {path.name for path in trained.iterdir()} == {"fit.nn", "points.csv", "run"}


@pytest.mark.parametrize("name", BACKENDS)
def test_a_device_that_is_there_is_that_of_the_source(
    name: str, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = contract.get(name).devices()[0]
    assert main(["compile", "fit.nn", "--backend", name, "--device", device]) == 0
    assert name == "numpy" or f'\nDEVICE = "{device}"\n' in capsys.readouterr().out


def test_a_framework_that_fails_when_it_looks_for_devices(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "nnc", "backends"],
        env={**os.environ, "JAX_PLATFORMS": "nowhere"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("jax "))
    assert "none; it says: RuntimeError: " in line
