"""What `nnc summary` says of the memory of training steps: predicted, and with it measured."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from nnc import backend as backends
from nnc.commands.measure import Measured, measured_peaks
from nnc.commands.tables import byte_text, print_table
from nnc.ir.liveness import Peak, step_liveness
from nnc.ir.program import Step, Training
from nnc.passes.pipeline import Pipeline, optimize_training

LARGEST = 5  # values that are listed


def print_memory(training: Training, pipeline: Pipeline, args: argparse.Namespace) -> None:
    """The peak of each step, its parts, and the largest values that are alive then."""
    backend = backends.get(args.backend)
    optimize_training(training)
    measured: dict[str, Measured] = {}
    if args.measure:
        measured = measured_peaks(
            args.file,
            dict(args.set),
            args.train,
            args.backend,
            stack_layers=args.stack_layers,
            passes=pipeline.names,
        )
    measuring = backend if isinstance(backend, backends.Measuring) else None
    for step in steps_of(measuring.legal(training) if measuring else training):
        peak = step_liveness(step.graph, measuring.keeps(step) if measuring else 0).peak()
        print_peak(f"memory of `{step.name}` ({backend.name})", peak, measured.get(step.name))


def steps_of(training: Training) -> Iterator[Step]:
    """Each step once, in whatever phases it is."""
    seen: set[int] = set()
    for phase in training.phases:
        for step in phase.steps:
            if id(step.graph) not in seen:
                seen.add(id(step.graph))
                yield step


def print_peak(title: str, peak: Peak, measured: Measured | None) -> None:
    rows = [[kind, byte_text(size)] for kind, size in peak.parts.items() if size]
    rows.append(["peak, predicted", byte_text(peak.bytes)])
    if measured is not None and measured.arrays is not None:
        rows.append(["peak, measured", byte_text(measured.arrays)])
    if measured is not None and measured.process is not None:
        rows.append(["growth of the process", byte_text(measured.process)])
    print_table(title, ["", "bytes"], rows)
    largest = [held for held in peak.values if held.kind != "state"][:LARGEST]
    if largest:
        print("largest at the peak, beside the state:")
    for held in largest:
        print(f"  {byte_text(held.bytes):>10}  {held.kind}  {held.name}  {held.place}".rstrip())
