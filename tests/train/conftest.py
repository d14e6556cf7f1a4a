"""A small training by hand: logistic regression as a backend would emit it, and a source.

`EMITTED` follows docs/architecture.md, "Backends"; `graph()` is the same step for the interpreter.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Origin
from nnc.ir.host import HostVar
from nnc.ir.program import Evaluation, Phase, StateEntry, Step, Stop, Training
from nnc.ir.types import TensorType
from nnc.train.loop import Loop
from nnc.train.module import load_module, plan
from nnc.train.rundir import RunDir

EMITTED = """
import math
import numpy as np

STEP = {"function": "step", "scalars": "step_scalars"}
PROGRAM = {
    "name": "fit",
    "backend": "numpy",
    "state": {"net.w": ["f32", [3], "param"], "@opt/adam/m/net.w": ["f32", [3], "optimizer"]},
    "batches": {"points.x": ["f32", [4, 3]], "points.y": ["f32", [4]]},
    "phases": [
        {"name": "a", "count": 20, "steps": [STEP | {"times": 1}]},
        {"name": "b", "count": 10, "steps": [STEP | {"times": 2}]},
    ],
    "evaluations": [
        {"name": "val", "batch": "evaluate_val_batch", "finish": "evaluate_val_finish"},
        {"name": "test", "batch": "evaluate_test_batch", "finish": "evaluate_test_finish"},
    ],
    "forwards": [{"name": "net", "function": "forward", "arguments": {"x": ["f32", ["N", 3]]}}],
}
CALLS = []


def init(seed):
    return {
        "net.w": np.full(3, seed, np.float32),
        "@opt/adam/m/net.w": np.zeros(3, np.float32),
    }


def step_scalars(step, updates, seed, draw):
    CALLS.append((step, updates, seed, draw))
    return {"lr": 0.5 / (1 + step), "c1": 1 - 0.9 ** (updates + 1), "seed": seed, "draw": draw}


def step(state, batch, scalars):
    x, y = batch["points.x"], batch["points.y"]
    w, m = state["net.w"], state["@opt/adam/m/net.w"]
    noise = np.random.default_rng([scalars["seed"], scalars["draw"]]).normal(size=3)
    p = 1 / (1 + np.exp(-(x @ w)))
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    g = x.T @ (p - y) / len(y) + 1e-3 * noise.astype(np.float32)
    m *= np.float32(0.9)
    m += np.float32(0.1) * g
    w -= np.float32(scalars["lr"] / scalars["c1"]) * m
    return state, {"loss": loss, "metrics/accuracy": np.mean((p > 0.5) == y)}


def evaluate_val_batch(state, batch, scalars):
    x, y = batch["points.x"], batch["points.y"]
    p = 1 / (1 + np.exp(-(x @ state["net.w"])))
    return {
        "loss": -np.sum(y * np.log(p) + (1 - y) * np.log(1 - p)),
        "right": np.sum((p > 0.5) == y),
        "worst": np.max(np.abs(p - y)),
        "scores": p,
    }


def evaluate_val_finish(state, accumulators, scalars, count):
    assert len(accumulators["scores"]) == count
    return {
        "loss": accumulators["loss"] / count,
        "metrics/accuracy": accumulators["right"] / count,
        "metrics/worst": accumulators["worst"],
    }


evaluate_test_batch, evaluate_test_finish = evaluate_val_batch, evaluate_val_finish


def forward(state, x):
    return 1 / (1 + np.exp(-(x @ state["net.w"])))
"""

MERGE = {"loss": "sum", "right": "sum", "worst": "max", "scores": "collect"}


class Points:
    """A source of 20 training, 7 validation and 5 test points, as `nnc.data` has them."""

    batch = 4
    steps_per_epoch = 5
    parts = ("train", "val", "test")

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        x = rng.normal(size=(32, 3)).astype(np.float32)
        y = (x @ np.float32([1, -2, 0.5]) + rng.normal(size=32) > 0).astype(np.float32)
        cut = {"train": slice(0, 20), "val": slice(20, 27), "test": slice(27, 32)}
        self.data = {part: (x[rows], y[rows]) for part, rows in cut.items()}

    digest = "0123"

    def rows(self, part: str) -> np.ndarray:
        return np.arange(len(self.data[part][0]))

    def train_batch(self, index: int, seed: int) -> dict[str, np.ndarray]:
        epoch, at = divmod(index, self.steps_per_epoch)
        order = np.random.default_rng([seed, epoch]).permutation(20)[at * 4 : at * 4 + 4]
        x, y = self.data["train"]
        return {"points.x": x[order], "points.y": y[order]}

    def batches(self, part: str) -> Iterator[dict[str, np.ndarray]]:
        x, y = self.data[part]
        for start in range(0, len(x), self.batch):
            rows = slice(start, start + self.batch)
            yield {"points.x": x[rows], "points.y": y[rows]}

    def fitted(self) -> dict[str, np.ndarray]:
        return {"mean": np.float64([0.5, 1.5])}


def graph() -> Graph:
    """The loss of `step` with a logarithm that can overflow, for the interpreter."""
    g = Graph("step")
    b = Builder(g)
    x = b.input("points.x", TensorType("f32", (4, 3)), "batch")
    y = b.input("points.y", TensorType("f32", (4,)), "batch")
    w = b.input("net.w", TensorType("f32", (3,)), "state")
    b.origin = (Origin("model.nn", 2, 7, "net"),)
    z = b.emit("dot", x, w, contract=((1,), (0,)), batch=((), ()))
    p = 1 / (1 + (-z).emit("exp"))
    b.origin = (Origin("model.nn", 3, 3),)
    terms = y * p.emit("log") + (1 - y) * (1 - p).emit("log")
    g.outputs["@loss"] = (-terms.mean((0,))).value
    return g


def training(
    stop: Stop | None = None, seed: int = 0, counts: tuple[int, int] = (20, 10)
) -> Training:
    w = TensorType("f32", (3,))
    state = {
        path: StateEntry(path, w, kind, Graph())
        for path, kind in (("net.w", "param"), ("@opt/adam/m/net.w", "optimizer"))
    }
    scalars = {name: HostVar("step") for name in ("lr", "c1")}
    step = Step("step", graph(), scalars, 1, ("adam",))
    twice = Step("step", step.graph, scalars, 2, ("adam",))
    phases = [Phase("a", counts[0], [step]), Phase("b", counts[1], [twice])]
    evaluations = [
        Evaluation(split, "points", split, Graph(), MERGE, Graph()) for split in ("val", "test")
    ]
    return Training(
        "fit", state, phases, evaluations, [], {"points": Points()}, "points", 5, seed, stop
    )


def make_loop(
    directory: Path | None = None,
    emitted: str = EMITTED,
    program: Training | None = None,
    **more: Any,
) -> Loop:
    program = program or training()
    module = load_module(emitted, "emitted")
    run_dir = RunDir(directory) if directory else None
    return Loop(program, plan(module, program), {"seed": program.seed}, run_dir, **more)


@pytest.fixture
def stop_after() -> Any:
    """`stop_after(n)`: a `stop_requested` that is true from its call number `n` on."""

    def make(calls: int) -> Any:
        left = [calls]

        def requested() -> bool:
            left[0] -= 1
            return left[0] < 0

        return requested

    return make
