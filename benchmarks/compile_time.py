"""How long the compiler takes, phase by phase, from text to source: GPT-2 small, and by depth.

The phases are those of `nnc compile`; every emitted function is printed, and nothing is run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table

import nnc.api as nnc
from benchmarks.workloads import PROGRAMS, data
from nnc import backend as backends
from nnc.ir.graph import Graph
from nnc.ir.program import Training
from nnc.language.parser import parse_text
from nnc.passes.base import AFTER, bodies
from nnc.passes.pipeline import DEFAULT, graphs, optimize_training

GPT2 = {"vocab": 50257, "width": 768, "depth": 12, "heads": 12, "length": 1024, "size": 4}
NARROW = {"vocab": 96, "width": 32, "heads": 4, "length": 16, "size": 4}
DIFFERENTIATING = ("nnc.elaborate.train.inference", "nnc.elaborate.train.scoring")
DEPTHS = (1, 12, 24, 48, 96)
BACKENDS = ("numpy", "torch", "jax")


@contextmanager
def clocked(times: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    times[name] = times.get(name, 0.0) + time.perf_counter() - start


def inside(times: dict[str, float], name: str, modules: Sequence[str], function: str) -> ExitStack:
    """Counts the time in `function`, by which `modules` call it, from that of the phase around."""
    stack = ExitStack()
    for module in map(import_module, modules):
        own = getattr(module, function)

        def timed(*args: Any, own: Any = own, **named: Any) -> Any:
            with clocked(times, name):
                return own(*args, **named)

        stack.enter_context(mock.patch.object(module, function, timed))
    return stack


def compiled(folder: Path, **config: int) -> tuple[dict[str, float], int]:
    """Seconds of each phase for `gpt.nn` with this `config`, and the nodes of all graphs."""
    times: dict[str, float] = {}
    path = folder / "gpt.nn"
    path.write_text((PROGRAMS / "gpt.nn").read_text())
    (folder / "data").mkdir(exist_ok=True)
    fields: dict[str, Any] = data("gpt", config, batches=1)
    np.savez(folder / "data" / "gpt.npz", **fields)
    with clocked(times, "parse"):
        parse_text(path.read_text())
    with (
        inside(times, "differentiate", DIFFERENTIATING, "expand_gradients"),
        clocked(times, "elaborate"),
    ):
        training = nnc.load(path, **config).training()
    times["elaborate"] -= times["parse"] + times["differentiate"]
    nodes = sum(map(count, all_graphs(training)))
    for number, each in enumerate((p for p in DEFAULT if p.stage == AFTER), 1):
        with clocked(times, f"{number} {each.name}"):
            optimize_training(training, [each])
    for name in BACKENDS:
        legal, printed = f"{name}: legalize", f"{name}: print"
        with inside(times, legal, [f"nnc_{name}"], "legalized"), clocked(times, printed):
            backends.get(name).emit(training)
        times[printed] -= times[legal]
    return times, nodes


def all_graphs(training: Training) -> list[Graph]:
    return list({id(graph): graph for graph in graphs(training)}.values())


def count(graph: Graph) -> int:
    """The nodes of a graph and of the bodies in it."""
    inner = (body for node in graph for _, body in bodies(node))
    return sum(1 for _ in graph) + sum(map(count, inner))


def run() -> dict[str, Any]:
    """Print both tables; all numbers, by what was compiled."""
    console = Console()
    found: dict[str, Any] = {}
    with TemporaryDirectory() as temporary:
        compiled(Path(temporary), depth=1, **NARROW)  # imports
        print("GPT-2 small ...", file=sys.stderr)
        times, nodes = compiled(Path(temporary), **GPT2)
        found["gpt2"] = {"nodes": nodes, "seconds": times}
        table = Table(title=f"GPT-2 small, a training step: {nodes:,} nodes")
        table.add_column("phase")
        table.add_column("seconds", justify="right")
        for phase, seconds in times.items():
            table.add_row(phase, f"{seconds:.3f}")
        console.print(table)

        curve = found["depths"] = {}
        for depth in DEPTHS:
            print(f"{depth} layers ...", file=sys.stderr)
            times, nodes = compiled(Path(temporary), depth=depth, **NARROW)
            curve[depth] = {"nodes": nodes, "seconds": times}
    table = Table(title="by depth: seconds, and microseconds a node")
    table.add_column("layers")
    for depth, each in curve.items():
        table.add_column(f"{depth}\n{each['nodes']:,} nodes", justify="right")
    for phase in [*times, "all"]:
        cells = []
        for each in curve.values():
            took = each["seconds"].get(phase, sum(each["seconds"].values()))
            cells.append(f"{took:.2f} {took / each['nodes'] * 1e6:5.0f}")
        table.add_row(phase, *cells)
    console.print(table)
    return found
