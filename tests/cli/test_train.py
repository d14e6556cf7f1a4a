"""`nnc train`, `eval`, `predict` and the others on a real program, through the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from nnc.cli import main
from nnc.train import checkpoint
from nnc.train.checkpoint import load, state_hash

from .conftest import PROGRAM, write_points

Capture = pytest.CaptureFixture[str]
LONG = PROGRAM.replace("epochs    = 6", "epochs    = 100_000").replace(
    "cosine(1e-2, warmup = 3steps)", "1e-2"
)


def weights(directory: str | Path) -> str:
    return state_hash(load(Path(directory) / checkpoint.LAST).state)


# ---------------------------------------------------------------- train
def test_a_run_leaves_its_files_and_shows_its_scores(program: Path, capsys: Capture) -> None:
    assert main(["train", "fit.nn"]) == 0
    shown = capsys.readouterr()
    assert "accuracy" in shown.out
    assert "test" in shown.out
    assert "42 parameters, 24 steps, in runs/fit" in shown.err
    run = Path("runs/fit")
    names = {path.name for path in run.iterdir()}
    expected = {"last.safetensors", "metrics.jsonl", "program.nn", "run.json", "train_numpy.py"}
    assert names == expected
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if r["split"] == "val"] == [4, 8, 12, 16, 20, 24]
    assert rows[-1]["split"] == "test"
    assert 0 <= rows[-1]["metrics"]["accuracy"] <= 1
    settings = json.loads((run / "run.json").read_text())
    assert settings["program"] == str(program)
    assert settings["seed"] == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's own modules
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_compiled_steps_train_the_same_network(
    program: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda step: made.append(step) or compiler(step))
    options = ["--backend", "torch", "--steps", "5"]
    assert main(["train", "fit.nn", *options, "--out", "plain"]) == 0
    assert not made
    assert main(["train", "fit.nn", *options, "--compile", "--out", "fast"]) == 0
    assert "torch.compile may take up to a minute for the first steps\n" in capsys.readouterr().err
    compiled = len(made)
    assert compiled > 0
    wanted, found = (load(Path(run) / checkpoint.LAST).state for run in ("plain", "fast"))
    assert wanted.keys() == found.keys()
    for path, value in wanted.items():
        np.testing.assert_allclose(found[path], value, rtol=1e-4, atol=1e-6, err_msg=path)
    assert main(["train", "--resume", "fast", "--steps", "6"]) == 0
    assert len(made) > compiled  # what was asked for once holds


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_a_backend_without_a_compiler_says_so(backend: str, program: Path, capsys: Capture) -> None:
    assert main(["train", "fit.nn", "--backend", backend, "--compile"]) == 1
    assert capsys.readouterr().err == (
        f"error[E0910]: the backend `{backend}` has no compiler to be asked for\n"
        "  = help: `--compile` is for `--backend torch`; that of `jax` compiles every step\n"
    )
    assert not Path("runs").exists()


def test_the_emitted_file_is_what_compile_prints(program: Path, capsys: Capture) -> None:
    assert main(["train", "fit.nn", "--out", "run"]) == 0
    assert main(["compile", "fit.nn", "-o", "out.py"]) == 0
    assert Path("run/train_numpy.py").read_text() == Path("out.py").read_text()
    capsys.readouterr()
    assert main(["compile", "fit.nn", "--emit", "expanded"]) == 0
    assert capsys.readouterr().out == Path("run/program.nn").read_text()


def test_runs_are_numbered_and_named_ones_are_kept(program: Path, capsys: Capture) -> None:
    for _ in range(2):
        assert main(["train", "fit.nn", "--steps", "2"]) == 0
    assert {path.name for path in Path("runs").iterdir()} == {"fit", "fit-2"}
    assert weights("runs/fit") == weights("runs/fit-2")
    before = weights("runs/fit")
    assert main(["train", "fit.nn", "--out", "runs/fit"]) == 1
    assert "--resume runs/fit" in capsys.readouterr().err
    assert weights("runs/fit") == before


def test_seed_and_config_change_the_run(program: Path) -> None:
    assert main(["train", "fit.nn", "--out", "a", "--steps", "2"]) == 0
    assert main(["train", "fit.nn", "--out", "b", "--steps", "2", "--seed", "1"]) == 0
    assert main(["train", "fit.nn", "--out", "c", "--epochs", "1", "--set", "width=3"]) == 0
    assert weights("a") != weights("b")
    assert load("c/last.safetensors").state["net.dense_0.w"].shape == (2, 3)
    assert load("c/last.safetensors").meta["counters"]["step"] == 4


def test_a_run_that_is_prolonged_goes_on(program: Path) -> None:
    assert main(["train", "fit.nn", "--out", "a", "--steps", "5"]) == 0
    assert main(["train", "--resume", "a", "--steps", "9"]) == 0
    assert load("a/last.safetensors").meta["counters"]["step"] == 9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_resumed_run_is_the_straight_run(
    program: Path, number: signal.Signals
) -> None:
    program.write_text(LONG)
    command = [sys.executable, "-m", "nnc", "train", "fit.nn", "--out", "broken"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        metrics = Path("broken/metrics.jsonl")
        while process.poll() is None and not (metrics.exists() and metrics.stat().st_size > 1000):
            time.sleep(0.02)
        process.send_signal(number)
        assert process.stderr is not None
        text = process.stderr.read()
    assert process.returncode == 130
    assert "`nnc train --resume broken` goes on" in text
    reached = load("broken/last.safetensors").meta["counters"]["step"]
    assert reached > 4
    total = str(reached + 30)
    assert main(["train", "--resume", "broken", "--steps", total]) == 0
    assert main(["train", "fit.nn", "--out", "straight", "--steps", total]) == 0
    assert weights("broken") == weights("straight")
    assert metrics.read_text() == Path("straight/metrics.jsonl").read_text()


def test_a_checkpoint_of_another_program_or_data_is_refused(program: Path, capsys: Capture) -> None:
    assert main(["train", "fit.nn", "--out", "a", "--steps", "5"]) == 0
    assert main(["train", "--resume", "a", "--steps", "9", "--seed", "5"]) == 1
    assert "the seed changed" in capsys.readouterr().err
    program.write_text(PROGRAM.replace("20%)", "20%)\n  # a remark changes nothing", 1))
    assert main(["train", "--resume", "a", "--steps", "6"]) == 0
    program.write_text(PROGRAM.replace("1e-2", "2e-2"))
    capsys.readouterr()
    assert main(["train", "--resume", "a", "--steps", "9"]) == 1
    assert "error[E0706]" in capsys.readouterr().err
    program.write_text(PROGRAM)
    write_points(program.parent / "points.csv", seed=1)
    assert main(["train", "--resume", "a", "--steps", "9"]) == 1
    assert "the data changed" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_refused_and_the_one_before_used(
    program: Path, capsys: Capture
) -> None:
    assert main(["train", "fit.nn", "--out", "a", "--steps", "5"]) == 0
    assert main(["train", "--resume", "a", "--steps", "9"]) == 0
    expected = weights("a")
    content = bytearray(Path("a/last.safetensors").read_bytes())
    content[-5] ^= 1
    Path("a/last.safetensors").write_bytes(bytes(content))
    capsys.readouterr()
    assert main(["train", "--resume", "a", "--steps", "9"]) == 0
    text = capsys.readouterr().err
    assert "a/last.safetensors is damaged" in text
    assert "going on from a/previous.safetensors" in text
    assert weights("a") == expected


def test_a_run_that_explodes_names_step_and_line(program: Path, capsys: Capture) -> None:
    program.write_text(
        PROGRAM.replace("cross_entropy(logits, points.y)", "mean(log(logits)) + 0 * width")
    )
    assert main(["train", "fit.nn", "--out", "a"]) == 1
    text = capsys.readouterr().err
    assert "error[E0701]: the loss is nan at step 0: `log`" in text
    assert "fit.nn:18" in text
    assert "mean(log(logits))" in text


# ---------------------------------------------------------------- eval and predict
def test_eval_gives_the_scores_of_the_run(program: Path, capsys: Capture) -> None:
    assert main(["train", "fit.nn", "--out", "a"]) == 0
    trained = capsys.readouterr().out
    (test_row,) = [line for line in trained.splitlines() if "test" in line and "│" in line]
    for target in ("a", "a/last.safetensors"):
        assert main(["eval", target]) == 0
        assert test_row in capsys.readouterr().out
    assert main(["eval", "a", "--split", "train"]) == 0
    assert "train" in capsys.readouterr().out
    assert main(["eval", "a", "--split", "dev"]) == 1
    assert "no part `dev`" in capsys.readouterr().err


def test_predictions_go_through_the_fitted_transforms(program: Path, capsys: Capture) -> None:
    assert main(["train", "fit.nn", "--out", "a", "--epochs", "80"]) == 0
    x = write_points(Path("new.csv"), count=300, seed=9)
    np.savez("new.npz", x=np.loadtxt("new.csv", delimiter=",")[:, :2])
    assert main(["predict", "a", "--input", "x=new.csv", "-o", "out.npz"]) == 0
    assert main(["predict", "a", "--input", "new.npz", "-o", "out.csv"]) == 0
    output = np.load("out.npz")["output"]
    assert output.shape == (300, 2)
    table = np.loadtxt("out.csv", delimiter=",", skiprows=1, dtype=np.float32)
    np.testing.assert_array_equal(table, output)
    right = (x[:, 0] - 10 > (x[:, 1] + 20) / 2) == (output.argmax(1) == 1)
    assert right.mean() > 0.9
    capsys.readouterr()
    assert main(["predict", "a", "--input", "x=new.csv"]) == 0
    assert capsys.readouterr().out == Path("out.csv").read_text()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "no file for the input `x`"),
        (["--input", "z=new.csv"], "no input `z`"),
        (["--input", "x=gone.csv"], "gone.csv"),
        (["--input", "x=new.txt"], "none of the endings"),
        (["--input", "x=wide.npz"], "x has the shape [N, 3]"),
        (["--input", "x=new.csv", "-o", "out.json"], "none of the endings"),
        (["--input", "x=new.csv", "--instance", "nat"], "did you mean `net`?"),
    ],
)
def test_inputs_that_do_not_fit_are_errors(
    program: Path, capsys: Capture, args: list[str], message: str
) -> None:
    assert main(["train", "fit.nn", "--out", "a", "--steps", "1"]) == 0
    write_points(Path("new.csv"), count=5)
    np.savez("wide.npz", x=np.zeros((4, 3)))
    capsys.readouterr()
    assert main(["predict", "a", *args]) == 1
    text = capsys.readouterr().err
    assert "error[E0" in text
    assert message in text


# ---------------------------------------------------------------- the others
def test_check_shows_errors_and_prints_them_as_json(program: Path, capsys: Capture) -> None:
    assert main(["check", "fit.nn"]) == 0
    assert capsys.readouterr().out == "no errors\n"
    program.write_text(PROGRAM.replace("relu", "rleu"))
    assert main(["check", "fit.nn"]) == 1
    text = capsys.readouterr().err
    assert "did you mean `relu`?" in text
    assert "1 error; `nnc explain" in text
    assert main(["check", "fit.nn", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["line"], found["path"]) == (12, "fit.nn")
    assert main(["check", "gone.nn"]) == 1
    assert "gone.nn" in capsys.readouterr().err


def test_fmt_rewrites_once(program: Path, capsys: Capture) -> None:
    assert main(["fmt", "fit.nn"]) == 0
    before = program.read_text()
    program.write_text(before.replace("width: int = 8", "width:int=8"))
    assert main(["fmt", "--check", "fit.nn"]) == 1
    assert "width:int=8" in program.read_text()
    assert main(["fmt", "fit.nn"]) == 0
    assert program.read_text() == before
    assert main(["fmt", "--check", "fit.nn"]) == 0
    program.write_text("data {{{")
    assert main(["fmt", "fit.nn", "gone.nn"]) == 1
    assert program.read_text() == "data {{{"
    assert "gone.nn" in capsys.readouterr().err


def test_graphs_can_be_looked_at(program: Path, capsys: Capture) -> None:
    assert main(["compile", "fit.nn", "--emit", "graph"]) == 0
    optimized = capsys.readouterr().out
    assert "# step step of phase main" in optimized
    assert "# forward net" in optimized
    assert main(["compile", "fit.nn", "--emit", "graph", "--passes", ""]) == 0
    assert len(capsys.readouterr().out) > len(optimized)
    assert main(["compile", "fit.nn", "--emit", "graph", "--dump-after", "dead_code"]) == 0
    assert "# after dead_code" in capsys.readouterr().err
    assert main(["compile", "fit.nn", "--no-pass", "ded_code"]) == 1
    assert "did you mean `dead_code`?" in capsys.readouterr().err


def test_summary_lists_layers_and_their_costs(program: Path, capsys: Capture) -> None:
    assert main(["summary", "fit.nn"]) == 0
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("│")
    ]
    table = {row[0]: row[1:] for row in rows}
    # 2 * 2 * 8 for the product and 8 for the bias; 8 results before and 8 after it.
    assert table["net.dense_0"] == ["f32[N, 8]", "24", "40", "64 B"]
    assert table["net.dense_1"] == ["f32[N, 2]", "18", "34", "16 B"]
    assert table["total"][1] == "42"


def test_summary_is_of_what_the_options_compile(program: Path, capsys: Capture) -> None:
    hidden = "Dense(width) |> repeat 3 { Dense(width) |> tanh }"
    text = program.read_text().replace("Dense(width)", hidden)
    program.write_text(text)

    def shown(*options: str) -> tuple[list[str], list[str]]:
        assert main(["summary", "fit.nn", *options]) == 0
        lines = capsys.readouterr().out.splitlines()
        at = next(i for i, line in enumerate(lines) if "memory of `" in line)
        return lines[:at], lines[at:]

    layers, memory = shown()
    for options in (["--stack-layers"], ["--passes", "dead_code"]):
        others, changed = shown(*options)
        assert others == layers
        assert changed != memory
    assert main(["summary", "fit.nn", "--no-pass", "ded_code"]) == 1
    assert "did you mean `dead_code`?" in capsys.readouterr().err


def test_explain_and_doc_find_and_suggest(capsys: Capture) -> None:
    assert main(["explain", "e0706"]) == 0
    assert capsys.readouterr().out.startswith("# E0706: a checkpoint of another program")
    assert main(["explain", "E07066"]) == 1
    assert "did you mean `E0706`?" in capsys.readouterr().err
    for name, part in (("Dense", "x @ w + b"), ("csv", "header = none"), ("argmax", "first")):
        assert main(["doc", name]) == 0
        assert part in capsys.readouterr().out
    assert main(["doc", "Dens"]) == 1
    assert "did you mean `Dense`?" in capsys.readouterr().err
    assert main(["doc"]) == 0
    assert {"Dense", "csv", "argmax"} <= {
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line
    }
