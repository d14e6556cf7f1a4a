"""A checkpoint of any backend goes on on any other, as if it had always been there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnc
from nnc.cli import main
from nnc.train import checkpoint
from nnc.train.checkpoint import Checkpoint, load, state_hash

from .conftest import write_points

Capture = pytest.CaptureFixture[str]
BACKENDS = ("numpy", "jax", "torch")
#: one worker, so that the runs are made once
pytestmark = pytest.mark.xdist_group("resume")

PAIRS = list(product(BACKENDS, BACKENDS))

#: everything that a state may hold: weights, buffers, two moments of AdamW, and of the data what
#: `normalize` fitted; draws and schedules depend on the counters.  It is smooth, so that rounding
#: stays rounding
PROGRAM = """language 1

data points {
  x: f32[N, 2] = csv("points.csv", columns = 0..2) |> normalize
  y: i32[N]    = csv("points.csv", columns = 2)
  batch = 8
  split = (train = 60%, val = 20%, test = 20%)
}

block Noise(std: f32)(x: f32[N, D]) -> f32[N, D] =
  if training { x + std * normal([N, D]) } else { x }

model Net()(x: f32[N, D]) -> f32[N, 2] =
  x |> Noise(0.1) |> Dense(8, bias = false) |> BatchNorm() |> tanh |> Dropout(20%) |> Dense(2)

train fit {
  let net    = Net()
  let logits = net(points.x)

  loss      = cross_entropy(logits, points.y)
  metrics   = (accuracy = accuracy(logits, points.y))
  optimizer = AdamW(lr = exponential(1e-2, 0.9))
  epochs    = 3
}
"""
FIRST, ALL = 5, 10  # steps; an epoch has 4


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`BACKEND-5` and `BACKEND-10`: what each backend makes of the program in so many steps."""
    folder = tmp_path_factory.mktemp("resume")
    write_points(folder / "points.csv")
    (folder / "fit.nn").write_text(PROGRAM)
    with contextlib.chdir(folder):
        for backend, steps in product(BACKENDS, (FIRST, ALL)):
            out = f"{backend}-{steps}"
            options = ["--backend", backend, "--steps", str(steps), "--out", out]
            assert main(["train", "fit.nn", *options]) == 0
    return folder


def last(directory: Path) -> Checkpoint:
    return load(directory / checkpoint.LAST)


def assert_near(found: Checkpoint, wanted: Checkpoint) -> None:
    """The same entries in the same types, and values that rounding tells apart at most."""
    assert found.state.keys() == wanted.state.keys()
    for path, value in wanted.state.items():
        other = found.state[path]
        assert (other.dtype, other.shape) == (value.dtype, value.shape), path
        np.testing.assert_allclose(other, value, 1e-4, 1e-6, err_msg=path)
    assert found.fitted.keys() == wanted.fitted.keys()
    for source, values in wanted.fitted.items():
        assert state_hash(found.fitted[source]) == state_hash(values)


def counted(found: Checkpoint) -> dict[str, Any]:
    """The counters, without what belongs to metrics.jsonl: an end in between is recorded, too."""
    counters = found.meta["counters"]
    return {key: counters[key] for key in counters.keys() - {"windows", "records"}}


def test_the_state_has_the_same_entries_on_every_backend(runs: Path) -> None:
    wanted = last(runs / f"numpy-{ALL}")
    paths = set(wanted.state)
    assert {"net.dense_0.w", "net.batch_norm_0.mean", "@opt/step/m/net.dense_0.w"} <= paths
    for backend in BACKENDS:
        assert_near(last(runs / f"{backend}-{ALL}"), wanted)
        assert counted(last(runs / f"{backend}-{ALL}")) == counted(wanted)


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_run_goes_on_on_another_backend(
    runs: Path, tmp_path: Path, before: str, after: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / f"{before}-{FIRST}", run)
    assert main(["train", "--resume", str(run), "--backend", after, "--steps", str(ALL)]) == 0
    found, wanted = last(run), last(runs / f"{after}-{ALL}")
    assert counted(found) == counted(wanted)
    assert_near(found, wanted)
    if before == after:
        assert state_hash(found.state) == state_hash(wanted.state)
    assert scores(run) == [
        {**row, "loss": pytest.approx(row["loss"], rel=1e-4)}
        for row in scores(runs / f"{after}-{ALL}")
    ]


def scores(run: Path) -> list[dict[str, Any]]:
    """What metrics.jsonl says of the end: losses and accuracies of val and test."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["step"] == ALL and row["split"] != "train"]


def test_the_run_is_then_one_of_the_other_backend(runs: Path, tmp_path: Path) -> None:
    """Its settings and its source are, and so is what goes on without saying where."""
    run = tmp_path / "run"
    shutil.copytree(runs / f"numpy-{FIRST}", run)
    assert main(["train", "--resume", str(run), "--backend", "torch", "--steps", "7"]) == 0
    assert json.loads((run / "run.json").read_text())["backend"] == "torch"
    assert last(run).meta["settings"]["backend"] == "torch"
    os.remove(run / "train_numpy.py")
    assert main(["train", "--resume", str(run), "--steps", str(ALL)]) == 0
    assert not (run / "train_numpy.py").exists()
    source = (runs / f"torch-{ALL}" / "train_torch.py").read_text()
    assert (run / "train_torch.py").read_text() == source
    assert json.loads((run / "run.json").read_text())["backend"] == "torch"
    assert_near(last(run), last(runs / f"torch-{ALL}"))


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_eval_and_predict_on_another_backend(
    runs: Path, tmp_path: Path, capsys: Capture, before: str, after: str
) -> None:
    run = str(runs / f"{before}-{ALL}")
    assert main(["eval", run]) == 0
    wanted = numbers(capsys.readouterr().out)
    assert main(["eval", run, "--backend", after]) == 0
    assert numbers(capsys.readouterr().out) == pytest.approx(wanted, abs=2e-4)
    new = tmp_path / "new.csv"
    write_points(new, count=7, seed=9)
    outputs = []
    for backend in (before, after):
        out = tmp_path / f"{backend}.npz"
        options = ["--input", f"x={new}", "--backend", backend, "-o", str(out)]
        assert main(["predict", run, *options]) == 0
        outputs.append(np.load(out)["output"])
    assert outputs[0].shape == (7, 2)
    np.testing.assert_allclose(*outputs, 1e-4, 1e-6)


def numbers(table: str) -> list[float]:
    (row,) = (line for line in table.splitlines() if "test" in line)
    return [float(cell) for cell in row.split("│")[2:-1]]


def test_from_python_too(runs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / f"torch-{FIRST}", run)
    model = nnc.load(runs / "fit.nn").compile("jax", steps=ALL)
    result = model.train(resume=run)
    wanted = last(runs / f"jax-{ALL}")
    assert_near(last(run), wanted)
    state = model.load_state(runs / f"numpy-{ALL}")
    x = model.batch(0)["points.x"]
    np.testing.assert_allclose(model.predict(state, x), model.predict(result.state, x), 1e-4, 1e-6)
