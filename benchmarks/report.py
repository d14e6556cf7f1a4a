"""What was measured, as tables and as JSON, and whether each ratio is where it is to be."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Measured

Results = Mapping[str, Mapping[str, Measured]]  # workload -> contender -> what was measured

#: nnc's step, the peer, the highest ratio of their times: for all workloads, and exceptions
BARS: tuple[tuple[str, str, float, dict[str, float]], ...] = (
    ("nnc-numpy", "numpy", 0.9, {"cnn": 0.5}),
    ("nnc-torch", "torch", 0.7, {"cnn": 0.9, "lstm": 0.9, "ncf": 0.5, "tiny": 0.5}),
    ("nnc-torch-compile", "torch-compile", 1.0, {}),
    ("nnc-jax", "jax", 1.0, {"cnn": 0.7, "lstm": 0.7, "tiny": 0.3}),
)
#: a load from which on times say little
BUSY = 0.5
#: where the steps may come in chunks, since the calls are the work
IN_CHUNKS = ("tiny",)


@dataclass(frozen=True)
class Bar:
    workload: str
    what: str
    ratio: float
    limit: float
    fastest: float | None = None  # the ratio of the fastest blocks; of times alone

    @property
    def is_met(self) -> bool:
        return self.ratio <= self.limit


def bars(results: Results) -> Iterator[Bar]:
    for workload, found in results.items():
        for ours, peer, common, exceptions in BARS:
            chosen = f"{ours}-chunks" if ours == "nnc-jax" and workload in IN_CHUNKS else ours
            if chosen in found and peer in found:
                limit = exceptions.get(workload, common)
                yield _of_times(workload, "", found[chosen], found[peer], limit)
        own, other = _best(found, own=True), _best(found, own=False)
        if own and other:
            yield _of_times(workload, "best: ", own, other, 1.0)
        for ours, peer, _, _ in BARS:
            if ours in found and peer in found:
                ratio = found[ours].peak_bytes / found[peer].peak_bytes
                yield Bar(workload, f"memory: {ours} / {peer}", ratio, 1.0)


def _of_times(workload: str, title: str, own: Measured, other: Measured, limit: float) -> Bar:
    what = f"{title}{own.contender} / {other.contender}"
    ratio = own.step_seconds / other.step_seconds
    return Bar(workload, what, ratio, limit, own.fastest / other.fastest)


def _best(found: Mapping[str, Measured], own: bool) -> Measured | None:
    of_kind = [m for name, m in found.items() if name.startswith("nnc-") == own]
    return min(of_kind, key=lambda m: m.step_seconds, default=None)


def print_workload(name: str, found: Mapping[str, Measured], flops: int, peak: float) -> None:
    table = Table(title=f"{name}: {flops / 1e6:,.1f} MFLOP a step")
    for column in ("contender", "ms a step", "spread", "of peak", "first step s", "peak MB"):
        table.add_column(column, justify="left" if column == "contender" else "right")
    for each in sorted(found.values(), key=lambda m: m.step_seconds):
        spread = (max(each.seconds) - min(each.seconds)) / each.steps / each.step_seconds
        table.add_row(
            each.contender,
            f"{each.step_seconds * 1e3:.3f}",
            f"{spread:.0%}",
            f"{flops / each.step_seconds / peak:.1%}",
            f"{each.first_seconds:.2f}",
            f"{each.peak_bytes / 1e6:.0f}",
        )
    Console().print(table)


def print_ratios(results: Results, peak: float, machine: Mapping[str, Any]) -> None:
    console = Console()
    table = Table(title="ratios")
    for column in ("workload", "what", "ratio", "fastest", "at most", ""):
        is_text = column in ("workload", "what", "")
        table.add_column(column, justify="left" if is_text else "right")
    for bar in bars(results):
        mark = "met" if bar.is_met else "not met"
        fastest = "" if bar.fastest is None else f"{bar.fastest:.2f}"
        ratio, limit = f"{bar.ratio:.2f}", f"{bar.limit:.2f}"
        table.add_row(bar.workload, bar.what, ratio, fastest, limit, mark)
    console.print(table)
    console.print(f"the best matrix product reaches {peak / 1e9:.0f} GFLOP/s")
    if machine["load"] > BUSY:
        console.print(f"the machine was busy before: load {machine['load']:.1f}", style="bold red")


def record(results: Results, flops: Mapping[str, int], peak: float) -> dict[str, Any]:
    """All of it, to be kept as JSON."""
    return {
        "peak_flops": peak,
        "workloads": {
            workload: {
                "flops": flops[workload],
                "contenders": [each.record() for each in found.values()],
            }
            for workload, found in results.items()
        },
        "bars": [{**vars(bar), "is_met": bar.is_met} for bar in bars(results)],
    }


def machine() -> dict[str, Any]:
    """What the times depend on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {p: _version(p) for p in ("numpy", "torch", "jax", "jaxlib", "optax")},
        "threads": {k: v for k, v in os.environ.items() if k.endswith("_NUM_THREADS")},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
