"""Checkpoints and commands: stacks stay inside a run, files have each layer by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from nnc.cli import main
from nnc.train.checkpoint import LAST, load
from nnc.train.layers import split
from tests.layers.programs import BUFFERS, MLP, program

Capture = pytest.CaptureFixture[str]
FIRST, ALL = 3, 8


@pytest.mark.parametrize("first", [False, True])
def test_a_run_goes_on_from_a_checkpoint_of_the_other_kind(first: bool, tmp_path: Path) -> None:
    found = program(BUFFERS, tmp_path)
    straight = found.compile("numpy", steps=ALL).train(tmp_path / "straight")
    found.compile("numpy", steps=FIRST, stack_layers=first).train(tmp_path / "run")
    assert "net.stage_0.0.dense_0.1.w" in load(tmp_path / "run" / LAST).state
    model = found.compile("numpy", steps=ALL, stack_layers=not first)
    result = model.train(resume=tmp_path / "run")
    assert result.state.keys() == straight.state.keys()
    for path, value in straight.state.items():
        np.testing.assert_allclose(result.state[path], value, rtol=1e-5, atol=1e-6, err_msg=path)


def test_weights_of_a_file_go_into_stacks(tmp_path: Path) -> None:
    weights = {
        f"net.dense_1.{number}.w": np.full((5, 5), number, np.float32) for number in range(3)
    }
    save_file(weights, tmp_path / "weights.safetensors")
    text = MLP.replace(
        "  epochs", '  init = load("weights.safetensors", into = net, strict = false)\n  epochs'
    )
    model = program(text, tmp_path).compile("numpy", stack_layers=True)
    state = split(model.init(), model.training)
    for path, value in weights.items():
        np.testing.assert_array_equal(state[path], value)


def test_a_checkpoint_loads_as_stacks(tmp_path: Path) -> None:
    found = program(MLP, tmp_path)
    found.compile("numpy", steps=1).train(tmp_path / "run")
    state = found.compile("numpy", stack_layers=True).load_state(tmp_path / "run")
    assert state["net.dense_1.*.w"].shape == (3, 5, 5)


def test_the_commands(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    program(MLP, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["compile", "layers.nn", "--stack-layers"]) == 0
    assert '"net.dense_1.*.w": ["f32", [3, 5, 5], "param"]' in capsys.readouterr().out
    train = ["train", "layers.nn", "--stack-layers", "--steps", "2", "--out", "run"]
    assert main(train) == 0
    assert main(["train", "--resume", "run", "--steps", "4"]) == 0
    assert '"net.dense_1.*.w"' in (tmp_path / "run" / "train_numpy.py").read_text()
    assert main(["eval", "run", "--split", "val"]) == 0
    np.savez("x.npz", x=np.zeros((2, 8), np.float32))
    assert main(["predict", "run", "--input", "x.npz"]) == 0
    assert main(["verify", "layers.nn", "--stack-layers", "--steps", "1"]) == 0


def test_the_commands_say_what_stays_unrolled(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(MLP.replace("Dense(5) |> repeat", "repeat"), tmp_path)
    monkeypatch.chdir(tmp_path)
    remark = "layers.nn:11:8: `repeat` stays unrolled: its first round makes"
    assert main(["compile", "layers.nn", "--stack-layers"]) == 0
    assert f"remark: {remark}" in capsys.readouterr().err
    assert main(["train", "layers.nn", "--stack-layers", "--steps", "1"]) == 0
    assert remark in capsys.readouterr().err
