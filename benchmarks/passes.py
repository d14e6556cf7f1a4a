"""What each pass gives: the step of a workload with all passes, and without each of them.

`python -m benchmarks passes [WORKLOAD ...]`.  A variant whose source is that of all passes is not
run: it takes the same time.  `all again` is all passes once more: what its time differs by is
chance.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import nnc.api as nnc
from benchmarks.harness import Options, measure
from benchmarks.workloads import NAMES, PROGRAMS, data, sizes_of
from nnc.ir.graph import Graph
from nnc.passes.base import bodies
from nnc.passes.pipeline import DEFAULT, STANDARD, Pipeline, select

CONTROL = "all again"

#: what is compared with all passes
VARIANTS: dict[str, Pipeline] = {
    CONTROL: STANDARD,
    **{f"no {p.name}": Pipeline(select(without=[p.name])) for p in DEFAULT},
    "no passes": Pipeline(()),
    "fast math": Pipeline(select(fast_math=True)),
}


@dataclass(frozen=True)
class Emitted:
    """A workload compiled in one way; `nodes` are those of its optimized step, bodies included."""

    source: str
    nodes: int


@dataclass(frozen=True)
class Row:
    """One variant beside all passes."""

    workload: str
    backend: str
    variant: str
    nodes: int
    nodes_all: int
    seconds: float
    seconds_all: float

    @property
    def ratio(self) -> float:
        """Above 1 the variant is slower than all passes."""
        return self.seconds / self.seconds_all


def compiled(program: nnc.Program, backend: str, pipeline: Pipeline) -> Emitted:
    model = program.compile(backend, pipeline=pipeline)
    return Emitted(model.source, count(model.training.phases[0].steps[0].graph))


def count(graph: Graph) -> int:
    inner = (body for node in graph for _, body in bodies(node))
    return len(graph) + sum(map(count, inner))


def emitted(name: str, backend: str, folder: Path) -> dict[str, Emitted]:
    """Each variant, and "all"; the files that workers need of those with a source of their own."""
    sizes = sizes_of(name)
    (PROGRAMS / "data").mkdir(exist_ok=True)
    fields: dict[str, Any] = data(name, sizes)
    np.savez(PROGRAMS / "data" / f"{name}.npz", **fields)
    program = nnc.load(PROGRAMS / f"{name}.nn")
    np.savez(folder / f"{name}_state.npz", **program.compile("numpy").init())
    found = {"all": compiled(program, backend, STANDARD)}
    found |= {variant: compiled(program, backend, p) for variant, p in VARIANTS.items()}
    for variant, each in found.items():
        if is_run(variant, each, found["all"]):
            (folder / f"{name}_{contender(backend, variant)}.py").write_text(each.source)
    return found


def is_run(variant: str, each: Emitted, whole: Emitted) -> bool:
    return variant in ("all", CONTROL) or each.source != whole.source


def contender(backend: str, variant: str) -> str:
    return f"nnc-{backend}:{variant}"


def rows(name: str, backend: str, options: Options) -> Iterator[Row]:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found = emitted(name, backend, folder)
        whole = found.pop("all")
        own = [variant for variant, each in found.items() if is_run(variant, each, whole)]
        names = [contender(backend, variant) for variant in ("all", *own)]
        at = PROGRAMS / "data" / f"{name}.npz"
        measured = measure(name, names, sizes_of(name), options, folder, at)
    best = measured[contender(backend, "all")].fastest
    for variant, each in found.items():
        key = contender(backend, variant)
        seconds = measured[key].fastest if key in measured else best
        yield Row(name, backend, variant, each.nodes, whole.nodes, seconds, best)


def run(
    workloads: Sequence[str],
    backends: Sequence[str],
    options: Options,
    keep: Callable[[dict[str, object]], None],
) -> dict[str, object]:
    """Tables by workload and backend; all of it as JSON."""
    found: list[dict[str, object]] = []
    for name in workloads or NAMES:
        for backend in backends:
            print(f"{name}, {backend} ...", file=sys.stderr)
            measured = list(rows(name, backend, options))
            print_rows(measured)
            found += [{**vars(row), "ratio": row.ratio} for row in measured]
            keep({"passes": found})
    return {"passes": found}


def print_rows(measured: Sequence[Row]) -> None:
    first = measured[0]
    title = (
        f"{first.workload}, {first.backend}: {first.nodes_all} nodes, "
        f"{first.seconds_all * 1e3:.3f} ms with all passes"
    )
    table = Table(title=title)
    for column in ("", "nodes", "ms a step", "over all"):
        table.add_column(column, justify="right" if column else "left")
    for row in measured:
        ratio = "same source" if row.seconds == row.seconds_all else f"{row.ratio:.3f}"
        table.add_row(row.variant, str(row.nodes), f"{row.seconds * 1e3:.3f}", ratio)
    Console().print(table)
