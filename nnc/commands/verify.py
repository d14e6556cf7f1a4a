"""`nnc verify FILE`: whether all backends train the same network, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator

from rich.console import Console

from nnc import backend as backends
from nnc.backend import Backend
from nnc.commands.output import print_diagnostics, print_remarks
from nnc.commands.tables import print_table
from nnc.elaborate import load
from nnc.ir.program import Remat, Training
from nnc.language.diagnostics import NncError
from nnc.passes.pipeline import Pipeline, select
from nnc.verify import Report, problems, verify
from nnc.verify.expected import Error
from nnc.verify.lockstep import Check
from nnc.verify.report import BackendReport, FreeRun
from nnc.verify.streams import Stream

COLUMNS = (
    "", "weights", "draws", "step, f32", "worst", "step, f64", "worst", "run, f64", "run, f32", "",
)  # fmt: skip

PRECISIONS = ("f32", "f64")
#: rows of the table of weights; those farthest off come first
MOST_WEIGHTS = 30


def without_budgets(training: Training) -> None:
    """Steps that have to fit some memory recompute what they can, as float64 may not fit it."""
    for phase in training.phases:
        for step in phase.steps:
            if step.remat is not None and step.remat.budget is not None:
                step.remat = Remat("full")


def run(args: argparse.Namespace) -> int:
    chosen = _backends(args.backends)
    program = load(args.file, overrides=dict(args.set))
    names = program.trainings if args.train is None else [args.train]
    pipeline = Pipeline(select(args.passes, args.no_pass, args.fast_math))
    trainings = [
        program.training(name, stack_layers=args.stack_layers, pipeline=pipeline)
        for name in names or [None]
    ]
    for training in trainings:
        without_budgets(training)
        print_remarks(training.remarks)
    console = Console(file=sys.stderr)
    reports = []
    for training in trainings:
        with console.status("") as status:
            reports.append(
                verify(training, chosen, steps=args.steps, bisect=args.bisect, notice=status.update)
            )
    if args.json:
        print(json.dumps([report.to_json() for report in reports], indent=2))
    for report in reports:
        if not args.json:
            print_report(report)
        print_diagnostics(problems(report))
    return 0 if all(report.passed for report in reports) else 1


def _backends(names: str | None) -> dict[str, Backend]:
    """Those named, or all whose frameworks are here; a note for each that is left out."""
    if names is not None:
        return {name: backends.get(name) for name in filter(None, map(str.strip, names.split(",")))}
    found = {}
    for name in backends.installed():
        try:
            found[name] = backends.get(name)
        except NncError as missing:
            print(f"left out: {missing.diagnostics[0].message}", file=sys.stderr)
    return found


def print_report(report: Report) -> None:
    """A row a backend; errors in units of their tolerance, above 1 too large."""
    title = (
        f"{report.training}: {report.steps} steps, {'smooth' if report.smooth else 'not smooth'}"
    )
    print_table(title, COLUMNS, map(_row, report.backends))
    print_table("", *_errors(report))
    for text in _remarks(report):
        print(text)


def _row(report: BackendReport) -> list[str]:
    narrow, wide = report.lockstep["f32"], report.lockstep["f64"]
    return [
        report.version,
        _stream(report.init),
        _stream(report.draws),
        *_check(narrow),
        *_check(wide),
        _free(report.free["f64"]),
        _free(report.free["f32"]),
        "ok" if report.passed else "FAILED",
    ]


def _errors(report: Report) -> tuple[list[str], list[list[str]]]:
    """A row a weight: the largest error of any step and its ratio to the tolerance, by backend."""
    checks = {f"{b.name}, {p}": b.lockstep[p].errors for b in report.backends for p in PRECISIONS}
    shown = [name for name in report.weights if any(name in errors for errors in checks.values())]
    shown.sort(key=lambda name: -max(e[name].ratio for e in checks.values() if name in e))
    rows = [
        [name, *(_error(errors[name]) if name in errors else "" for errors in checks.values())]
        for name in shown[:MOST_WEIGHTS]
    ]
    if len(shown) > MOST_WEIGHTS:
        rows.append([f"{len(shown) - MOST_WEIGHTS} more", *("" for _ in checks)])
    return ["weight", *checks], rows


def _error(error: Error) -> str:
    return f"{error.difference:.1e} ({figure(error.ratio)})" if error.ratio else "0"


def _stream(stream: Stream) -> str:
    return "equal" if stream.equal else "differ"


def _check(check: Check) -> tuple[str, str]:
    worst = check.worst
    where = f"{check.output}, {worst.at.rpartition(' at ')[2]}" if worst.ratio else ""
    return figure(worst.ratio), where


def _free(free: FreeRun) -> str:
    return f"{free.difference:.1e}" + ("" if free.ratio is None else f" ({figure(free.ratio)})")


def figure(ratio: float) -> str:
    return f"{ratio:.2g}" if math.isfinite(ratio) else "inf"


def _remarks(report: Report) -> Iterator[str]:
    yield "step: the largest error over its tolerance; of each weight the error, and in () the same"
    yield "run: the largest relative difference of losses, and of anything over its tolerance"
    ties = {b.name: sum(c.ties for c in b.lockstep.values()) for b in report.backends}
    for name, count in ties.items():
        if count:
            yield f"{name}: {count} decisions hung on a rounding and fell the other way"
