"""How long the compiler takes, phase by phase, from text to source: GPT-2 small, and by depth.

The phases are those of `nnc compile --timings`; every emitted function is printed, and nothing is
run.  What is imported and read once a process (frameworks, the grammar) is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import nnc.api as nnc
from benchmarks.workloads import PROGRAMS, data
from nnc import backend as backends
from nnc.ir.program import Training
from nnc.passes.clock import Clock, measure
from nnc.passes.pipeline import Pipeline, graphs, optimize_training, uncollected

GPT2 = {"vocab": 50257, "width": 768, "depth": 12, "heads": 12, "length": 1024, "size": 4}
NARROW = {"vocab": 96, "width": 32, "heads": 4, "length": 16, "size": 4}
DEPTHS = (1, 12, 24, 48, 96, 160)  # 160 layers are 100,000 nodes
BACKENDS = ("numpy", "torch", "jax")
COMMON = ("parse", "elaborate", "differentiate", "optimize")

#: at most so many seconds for GPT-2 small, and so many times as long for 96 layers as for 12
BARS = {"gpt2": 2.0, "96 / 12": 8.5, "stacked 96 / 12": 1.5}
STACKED = (12, 96)


def compiled(folder: Path, stack_layers: bool = False, /, **config: int) -> dict[str, Any]:
    """Seconds of each phase of `gpt.nn` with this `config`, passes in them, and nodes."""
    path = folder / "gpt.nn"
    path.write_text((PROGRAMS / "gpt.nn").read_text())
    (folder / "data").mkdir(exist_ok=True)
    fields: dict[str, Any] = data("gpt", config, batches=1)
    np.savez(folder / "data" / "gpt.npz", **fields)

    with uncollected():
        return timed(path, config, stack_layers)


def timed(path: Path, config: Mapping[str, int], stack_layers: bool) -> dict[str, Any]:
    clock = Clock()
    pipeline = Pipeline(around=clock.around)
    with pipeline.phase("parse"):
        program = nnc.load(path, **config)
    training = program.training(pipeline=pipeline, stack_layers=stack_layers)
    nodes = count(training)
    optimize_training(training)
    seconds = phases(clock)
    passes = {"/".join(row.path): row.seconds for row in clock.rows.values() if row.is_pass}
    for name in BACKENDS:
        clock.rows.clear()
        backends.source_of(training, backends.get(name))
        seconds[name] = clock.seconds
        passes |= {f"{name}/{row.name}": row.seconds for row in clock.rows.values() if row.is_pass}
    return {"nodes": nodes, "seconds": seconds, "passes": passes}


def phases(clock: Clock) -> dict[str, float]:
    """The seconds of what all backends have in common; differentiation is none of elaboration."""
    found = dict.fromkeys(COMMON, 0.0)
    for row in clock.rows.values():
        found["differentiate" if row.name == "autodiff" else row.path[0]] += row.seconds
    return found


def total(seconds: Mapping[str, float], backend: str) -> float:
    """From text to the source of one backend."""
    return sum(seconds[name] for name in COMMON) + seconds[backend]


def count(training: Training) -> int:
    """The nodes of all graphs and of the bodies in them."""
    found = {id(graph): graph for graph in graphs(training)}.values()
    return sum(measure(graph).nodes for graph in found)


def run(keep: Callable[[dict[str, Any]], None] = lambda found: None) -> dict[str, Any]:
    """Print a row as soon as it is measured, and give `keep` all that is there by then."""
    found: dict[str, Any] = {"bars": BARS, "gpt2": {}, "depths": {}, "stacked": {}}
    with TemporaryDirectory() as temporary:
        compiled(Path(temporary), depth=1, **NARROW)  # imports
        print("seconds: from text to source, GPT-2 small (a training step)")
        print(header())
        found["gpt2"] = compiled(Path(temporary), **GPT2)
        print(row("gpt2", found["gpt2"]), flush=True)
        for name, seconds in found["gpt2"]["passes"].items():
            print(f"    {name:28}{seconds:8.3f}")
        keep(found)
        print("\nby depth; below, microseconds a node")
        print(header())
        for depth in DEPTHS:
            found["depths"][depth] = compiled(Path(temporary), depth=depth, **NARROW)
            for line in curve(depth, found["depths"][depth]):
                print(line, flush=True)
            keep(found)
        print("\nby depth, with stacked layers")
        for depth in STACKED:
            measured = compiled(Path(temporary), True, depth=depth, **NARROW)
            found["stacked"][depth] = measured
            print(row(str(depth), measured), flush=True)
            keep(found)
    print()
    for line in verdicts(found):
        print(line)
    return found


def header() -> str:
    names = [*COMMON, *BACKENDS, *(f"to {name}" for name in BACKENDS)]
    return f"{'':8}{'nodes':>9}" + "".join(f"{name[:9]:>10}" for name in names)


def row(name: str, measured: Mapping[str, Any], unit: float = 1.0, digits: int = 3) -> str:
    seconds = measured["seconds"]
    values = [*seconds.values(), *(total(seconds, name) for name in BACKENDS)]
    cells = "".join(f"{value / unit:10.{digits}f}" for value in values)
    return f"{name:8}{measured['nodes']:9,}{cells}"


def curve(depth: int, measured: Mapping[str, Any]) -> Iterator[str]:
    yield row(str(depth), measured)
    yield row("", measured, measured["nodes"] * 1e-6, 1)


def verdicts(found: Mapping[str, Any]) -> Iterator[str]:
    """What is measured beside the bars."""
    for name in BACKENDS:
        small = total(found["gpt2"]["seconds"], name)
        times, stacked = (
            total(depths[96]["seconds"], name) / total(depths[12]["seconds"], name)
            for depths in (found["depths"], found["stacked"])
        )
        yield (
            f"{name}: GPT-2 small {small:.2f} s (at most {BARS['gpt2']}), "
            f"96 layers {times:.2f} times 12 (at most {BARS['96 / 12']}), "
            f"stacked {stacked:.2f} times (at most {BARS['stacked 96 / 12']})"
        )
