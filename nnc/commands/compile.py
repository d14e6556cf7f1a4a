"""`nnc compile FILE`: a training as standalone source, as graphs, or as the expanded program."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nnc import backend as backends
from nnc.elaborate import Compiled, load
from nnc.ir.graph import Graph
from nnc.ir.program import Training
from nnc.ir.text import print_graph
from nnc.passes.pipeline import Pipeline, optimize_training, require_pass, select
from nnc.train.checkpoint import write_atomically


def run(args: argparse.Namespace) -> int:
    compiled = load(args.file, overrides=dict(args.set))
    text = compiled.expanded() if args.emit == "expanded" else _compile(args, compiled)
    if args.out is None:
        sys.stdout.write(text)
    else:
        write_atomically(Path(args.out), text.encode())
    return 0


def _compile(args: argparse.Namespace, compiled: Compiled) -> str:
    backend = backends.get(args.backend)
    if args.device is not None:
        backends.require_device(backend, args.device)
    dumped = set(map(require_pass, (args.dump_after or "").split(","))) if args.dump_after else ()

    def dump(done: str, graph: Graph) -> None:
        if done in dumped:
            print(f"# after {done}", file=sys.stderr)
            print(print_graph(graph), file=sys.stderr)

    pipeline = Pipeline(select(args.passes, args.no_pass, args.fast_math), dump)
    training = compiled.training(args.train, pipeline=pipeline)
    optimize_training(training)
    if args.emit == "graph":
        return graphs_text(training)
    source = backend.emit(training)
    return source if args.device is None else backends.on_device(source, args.device)


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
