"""Training steps of nnc beside the best written by hand: `python -m benchmarks [WORKLOAD ...]`.

`python -m benchmarks compile` times the compiler instead, `passes [WORKLOAD ...]` what each pass
gives.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import compile_time, passes, report
from benchmarks.harness import Measured, Options, measure
from benchmarks.prepare import prepare
from benchmarks.worker import CONTENDERS, framework
from benchmarks.workloads import NAMES, PROGRAMS, SIZES

BACKENDS = ("numpy", "torch", "jax")
#: (workload, contender) that is not run: 50 steps of ResNet-8 in XLA's loop on a CPU take 150 s
LEFT_OUT = {("cnn", "jax-scan")}


def contenders(workload: str, backends: Sequence[str], compiled: bool) -> list[str]:
    return [
        name
        for name in CONTENDERS
        if framework(name) in backends
        and not name.startswith("gemm")
        and (compiled or not name.endswith("compile"))
        and (workload, name) not in LEFT_OUT
    ]


def peak_flops(backends: Sequence[str], options: Options) -> float:
    """Of the best float32 product of square matrices in any framework, a second."""
    best = 0.0
    for n in (1024, 2048):
        names = [f"gemm-{backend}" for backend in backends]
        found = measure("gemm", names, {"n": n}, replace(options, rounds=min(options.rounds, 5)))
        best = max(best, *(2 * n**3 / min(m.seconds) * m.steps for m in found.values()))
    return best


def steps(args: argparse.Namespace) -> dict[str, object]:
    backends = tuple(args.backends.split(","))
    options = Options(args.rounds, args.processes, args.block, args.cores)
    machine = report.machine()  # before anything of ours makes a load
    results: dict[str, dict[str, Measured]] = {}
    flops: dict[str, int] = {}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        peak = peak_flops(backends, options)
        for name in args.workloads or NAMES:
            print(f"{name} ...", file=sys.stderr)
            flops[name] = prepare(name, folder, backends)
            chosen = contenders(name, backends, args.compile)
            data = PROGRAMS / "data" / f"{name}.npz"
            results[name] = measure(name, chosen, SIZES[name], options, folder, data)
            report.print_workload(name, results[name], flops[name], peak)
    report.print_ratios(results, peak, machine)
    return {**machine, "options": vars(options), **report.record(results, flops, peak)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    choices = [*NAMES, "compile", "passes"]
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(choices))
    parser.add_argument("--backends", default=",".join(BACKENDS), help="numpy,torch,jax")
    parser.add_argument(
        "--rounds", type=int, default=Options.rounds, help="timed blocks of each contender"
    )
    parser.add_argument(
        "--processes", type=int, default=Options.processes, help="that these are spread over"
    )
    parser.add_argument("--block", type=float, default=Options.block, help="seconds of a block")
    parser.add_argument("--cores", type=int, default=Options.cores, help="cores of each process")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which is slow")
    parser.add_argument("--json", type=Path, help="keep what was measured in this file")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that workers are ended
    for name in args.workloads:
        if name not in choices:
            parser.error(f"there is no workload {name}: there are {', '.join(choices)}")
    keep = partial(save, args.json)
    found: Mapping[str, object]
    if args.workloads == ["compile"]:
        found = compile_time.run(keep)
    elif args.workloads[:1] == ["passes"]:
        options = Options(args.rounds, args.processes, args.block, args.cores)
        found = passes.run(args.workloads[1:], args.backends.split(","), options, keep)
    else:
        found = steps(args)
    keep(found)


def save(path: Path | None, found: Mapping[str, object]) -> None:
    """Keep what is measured so far."""
    if path is not None:
        path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
