"""What fails inside a framework is told in the program's terms and leaves the files whole."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnc.cli import main
from nnc.train.checkpoint import LAST, load

from .conftest import PROGRAM

BACKENDS = ("numpy", "jax", "torch")

#: 16 GB in one value
HUGE = PROGRAM.replace(
    "model Net()(x: f32[N, D]) -> f32[N, 2] =",
    """fn widened(x: f32[N, D]) -> f32[N, D] {
  let wide = f32(iota(1_000_000_000)) |> reshape([D, 1_000_000_000 // D])
  let huge = tanh(x @ wide)
  return huge @ reshape(wide, [1_000_000_000 // D, D])
}

model Net()(x: f32[N, D]) -> f32[N, 2] = x |> widened |>""",
).replace("|> x |>", "|>")

#: `nnc ARGS` with 2 GiB of memory more than the framework itself takes
LIMITED = """
import resource, sys
from importlib import import_module

backend = import_module("nnc_" + sys.argv[1])
if sys.argv[1] == "jax":
    import jax
    jax.numpy.ones(3).block_until_ready()  # its threads have their stacks
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 2**31
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from nnc.cli import main

sys.exit(main(sys.argv[2:]))
"""


def limited(backend: str, *args: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, "-c", LIMITED, backend, *args, "--backend", backend],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def assert_whole(run: Path) -> None:
    """No file is half written: checkpoints can be read, so can each line, and no other is there."""
    names = {path.name for path in run.iterdir()}
    sources = {name for name in names if re.fullmatch(r"train_\w+\.py", name)}
    known = {"metrics.jsonl", "program.nn", "run.json", LAST, "previous.safetensors"}
    assert len(sources) == 1
    assert names - sources <= known
    for name in names:
        if name.endswith(".safetensors"):
            load(run / name)
    json.loads((run / "run.json").read_text())
    if "metrics.jsonl" in names:
        for line in (run / "metrics.jsonl").read_text().splitlines():
            json.loads(line)


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("backend", BACKENDS)
def test_too_little_memory(program: Path, backend: str) -> None:
    program.write_text(HUGE)
    result = limited(backend, "train", "fit.nn", "--out", "run")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    message = result.stderr[result.stderr.index("error") :]
    assert message.startswith("error[E0709]: the step `step` needs more memory than there is\n")
    place = re.search(r"--> fit\.nn:(\d+):\d+\n", message)
    assert place
    assert 13 <= int(place[1]) <= 15  # the body of `widened`
    assert "its largest value is f32[8, 500000000], of `dot`" in message
    assert_whole(Path("run"))


#: a row of a table that it has not, for one sample
ASTRAY = (
    PROGRAM.replace(
        "model Net()(x: f32[N, D]) -> f32[N, 2] =",
        """block Shifted(rows: int)(x: f32[N, D]) -> f32[N, 2] {
  param table: f32[rows, 2] = normal()
  let row = i32(x[D = 0])
  return take(table, row)
}

model Net()(x: f32[N, D]) -> f32[N, 2] = x |> Shifted(4) |>""",
    )
    .replace("|> x |>", "|>")
    .replace(" |> normalize", "")
)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_index_that_does_not_exist(
    program: Path, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """NumPy and PyTorch raise, JAX fills in NaN; the message is about the same line."""
    program.write_text(ASTRAY)
    rows = np.tile([1.0, 2.0, 0], (60, 1))
    rows[:, 2] = np.arange(60) % 2
    rows[25, 0] = 9.0
    np.savetxt("points.csv", rows, "%g", ",")
    assert main(["train", "fit.nn", "--out", "run", "--backend", backend]) == 1
    message = capsys.readouterr().err
    assert "error[E0709]: the step `step` failed: IndexError: " in message
    assert re.search(r"--> fit\.nn:15:\d+\n +15 \|   return take\(table, row\)\n", message)
    assert_whole(Path("run"))
    assert load(Path("run") / LAST).state["net.shifted_0.table"].shape == (4, 2)


def test_a_division_that_pytorch_refuses(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PROGRAM.replace(
        "let logits = net(points.x)",
        "let zero   = points.y // (points.y - points.y)\n  let logits = net(points.x) + 0 * f32("
        "expand(zero, axis = 1))",
    )
    assert text != PROGRAM
    program.write_text(text)
    assert main(["train", "fit.nn", "--out", "run", "--backend", "torch"]) == 1
    message = capsys.readouterr().err
    assert "error[E0709]: the step `step` failed: RuntimeError: ZeroDivisionError\n" in message
    assert "--> fit.nn:16:" in message
    assert "another `--backend` may not" in message
    assert_whole(Path("run"))
