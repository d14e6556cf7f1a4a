"""`nnc compile FILE`: a training as standalone source, as graphs, or as the expanded program."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nnc import backend as backends
from nnc.commands.output import print_remarks
from nnc.elaborate import load
from nnc.ir.graph import Graph
from nnc.ir.program import Training
from nnc.ir.text import print_graph
from nnc.passes.clock import Clock, Row
from nnc.passes.pipeline import Pipeline, optimize_training, require_pass, select, uncollected
from nnc.train.checkpoint import write_atomically


def run(args: argparse.Namespace) -> int:
    clock = Clock()
    pipeline = _pipeline(args, clock)
    with uncollected():
        text = _text(args, pipeline)
    if args.out is None:
        sys.stdout.write(text)
    else:
        write_atomically(Path(args.out), text.encode())
    if args.timings:
        sys.stdout.flush()
        print_timings(clock)
    return 0


def _pipeline(args: argparse.Namespace, clock: Clock) -> Pipeline:
    dumped = set(map(require_pass, (args.dump_after or "").split(","))) if args.dump_after else ()

    def dump(done: str, graph: Graph) -> None:
        if done in dumped:
            print(f"# after {done}", file=sys.stderr)
            print(print_graph(graph), file=sys.stderr)

    pipeline = Pipeline(select(args.passes, args.no_pass, args.fast_math), dump)
    return replace(pipeline, around=clock.around) if args.timings else pipeline


def _text(args: argparse.Namespace, pipeline: Pipeline) -> str:
    with pipeline.phase("parse"):
        compiled = load(args.file, overrides=dict(args.set))
    if args.emit == "expanded":
        return compiled.expanded()
    backend = backends.get(args.backend)
    if args.device is not None:
        backends.require_device(backend, args.device)
    training = compiled.training(args.train, stack_layers=args.stack_layers, pipeline=pipeline)
    print_remarks(training.remarks)
    optimize_training(training)
    if args.emit == "graph":
        return graphs_text(training)
    return backends.source_of(training, backend, args.device)


def print_timings(clock: Clock) -> None:
    """A row a phase and a row a pass, on the standard error."""
    table = Table(title="phases and passes", title_justify="left")
    for name in ("", "ms", "runs", "nodes", "", "made", "gone"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for row in clock.rows.values():
        table.add_row(*cells(row), style="" if row.is_pass else "bold")
    table.add_section()
    table.add_row("all", f"{1000 * clock.seconds:,.1f}", style="bold")
    width = None if sys.stderr.isatty() else 100
    Console(file=sys.stderr, width=width, markup=False, highlight=False).print(table)


def cells(row: Row) -> list[str]:
    milliseconds = f"{1000 * row.seconds:,.1f}"
    if not row.is_pass:
        return [row.name, milliseconds]
    nodes = [f"{row.before:,}", f"→ {row.after:,}", f"{row.made:,}", f"{row.gone:,}"]
    return [f"  {row.name}", milliseconds, f"{row.runs:,}", *nodes]


def graphs_text(training: Training) -> str:
    """The graphs of steps, evaluations and forwards, each after a line that says what it is."""
    parts: list[tuple[str, Graph]] = []
    for phase in training.phases:
        parts += [(f"step {step.name} of phase {phase.name}", step.graph) for step in phase.steps]
    for evaluation in training.evaluations:
        parts.append((f"evaluation {evaluation.name}, a batch", evaluation.batch))
        parts.append((f"evaluation {evaluation.name}, the end", evaluation.finish))
    parts += [(f"forward {forward.name}", forward.graph) for forward in training.forwards]
    return "\n".join(f"# {title}\n{print_graph(graph).rstrip()}\n" for title, graph in parts)
