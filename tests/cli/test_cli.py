"""The command line itself: usage, exit codes, how it ends, how fast it starts."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import nnc
from nnc import cli

COMMANDS = ["check", "fmt", "explain", "doc", "summary", "compile", "train", "eval", "predict"]


def nnc_process(*args: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nnc", *args], capture_output=True, text=True, timeout=60, **more
    )


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(f"    {command} " in text for command in [*COMMANDS, "backends"])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: nnc {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["tarin", "x.nn"],
        ["check"],
        ["train", "x.nn", "--epochs", "3", "--steps", "4"],
        ["train", "x.nn", "--epochs", "0"],
        ["train", "x.nn", "--seed", "-1"],
        ["train", "x.nn", "--seed", "eleven"],
        ["train", "x.nn", "--set", "hidden"],
        ["train", "x.nn", "--out", "a", "--resume", "b"],
        ["compile", "x.nn", "--emit", "llvm"],
        ["train"],
    ],
)
def test_wrong_usage_ends_with_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: Any = cli.main(args)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert "nnc" in capsys.readouterr().err


@pytest.mark.parametrize("code", ["import nnc", "import nnc.cli; nnc.cli.build_parser()"])
def test_starting_imports_nothing_heavy(code: str) -> None:
    program = f"import sys; {code}; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    modules = set(loaded.stdout.split())
    assert "nnc" in modules
    assert not modules & {"numpy", "networkx", "rich", "lark", "safetensors"}


def test_the_names_of_the_package_are_found_lazily() -> None:
    assert {"load", "NncError", "Program", "Model"} <= set(dir(nnc))
    assert nnc.NncError.__module__ == "nnc.language.diagnostics"
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = nnc.laod


# ---------------------------------------------------------------- endings
def stand_in(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    """Let `nnc backends` do `run` instead."""
    module = types.ModuleType("nnc.commands.backends")
    module.__dict__["run"] = run
    monkeypatch.setitem(sys.modules, "nnc.commands.backends", module)


def failing(problem: BaseException) -> Any:
    def run(_: Any) -> int:
        raise problem

    return run


def test_a_bug_is_one_line_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, failing(IndexError("list index out of range")))
    assert cli.main(["backends"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "nnc has a bug: IndexError" in line
    assert "report" in line
    for args in (["--debug", "backends"], ["backends", "--debug"]):
        with pytest.raises(IndexError):
            cli.main(args)


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, failing(KeyboardInterrupt()))
    assert cli.main(["backends"]) == 130


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = (
        "import sys, types; m = types.ModuleType('nnc.commands.backends')\n"
        "m.run = lambda args: [print('x' * 100) for _ in range(10000)] and 0\n"
        "sys.modules['nnc.commands.backends'] = m\n"
        "from nnc.cli import main; sys.exit(main(['backends']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=60) == 0
    assert errors == b""


def test_checkpoints_that_are_not_there(tmp_path: Path) -> None:
    for command in ("eval", "predict"):
        result = nnc_process(command, str(tmp_path / "gone"))
        assert result.returncode == 1
        assert result.stderr.startswith("error[E0703]: cannot read")
        assert "Traceback" not in result.stderr
