"""`nnc train FILE`: train in a directory, live on a terminal, and end cleanly on Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnc.api import Program
from nnc.commands.tables import print_scores
from nnc.passes.pipeline import Pipeline, select
from nnc.train import checkpoint
from nnc.train.checkpoint import Checkpoint
from nnc.train.loop import INTERRUPTED, STOPPED_EARLY
from nnc.train.progress import Display, display_for
from nnc.train.rundir import RunDir

#: the settings of a run about which the command line says nothing
START: dict[str, Any] = {"backend": "numpy", "set": {}, "stack_layers": False, "compile": False}


def run(args: argparse.Namespace) -> int:
    if args.file is None and args.resume is None:
        print("nnc train: give a FILE, or --resume DIR", file=sys.stderr)
        return 2
    display = display_for(sys.stderr)
    found, run_dir = None, None
    if args.resume is not None:
        run_dir = RunDir.open(Path(args.resume))
        found = _last(run_dir, display)
    settings = _settings(args, found)
    program = Program(Path(settings["program"]), settings["set"])
    keys = ("seed", "epochs", "steps", "device", "stack_layers", "compile")
    options = {key: settings[key] for key in keys}
    pipeline = Pipeline(select(settings["passes"]))
    model = program.compile(settings["backend"], settings["train"], pipeline=pipeline, **options)
    for remark in model.training.remarks:
        display.message(f"remark: {remark}")
    if found is not None:
        model.session.check(found)
    if run_dir is None:
        run_dir = _new(args, program, model.training.name)
    display.message(f"{model.training.name}: {_size(model.training)}, in {run_dir.path}")
    if settings["compile"]:
        display.message("torch.compile may take up to a minute for the first steps")
    with StopSignal() as stop_requested:
        result = model.session.run(run_dir, found, display, stop_requested)
    at = f"step {result.counters.step} of {model.training.steps}"
    if result.reason == INTERRUPTED:
        print(f"interrupted at {at}; `nnc train --resume {run_dir.path}` goes on", file=sys.stderr)
        return 130
    if result.reason == STOPPED_EARLY:
        print(f"stopped early at {at}; the best weights are those of step {result.best_step}")
    print_scores(result.scores)
    print(f"in {run_dir.path}: {', '.join(sorted(p.name for p in run_dir.path.iterdir()))}")
    return 0


def _last(run_dir: RunDir, display: Display) -> Checkpoint:
    found, remarks = checkpoint.load_last(run_dir.path)
    for remark in remarks:
        display.message(f"warning: {remark}")
    return found


def _settings(args: argparse.Namespace, found: Checkpoint | None) -> dict[str, Any]:
    """What the command line says, over what the resumed run was started with."""
    given = {
        "program": args.file,
        "train": args.train,
        "backend": args.backend,
        "set": dict(args.set) or None,
        "seed": args.seed,
        "epochs": args.epochs,
        "steps": args.steps,
        "device": args.device,
        "stack_layers": args.stack_layers,
        "compile": args.compile,
        "passes": _passes(args),
    }
    before = found.meta["settings"] if found else START
    if args.epochs or args.steps:
        before = {**before, "epochs": None, "steps": None}
    if args.backend:
        before = {**before, "device": None, "compile": False}
    return {key: before.get(key) if value is None else value for key, value in given.items()}


def _passes(args: argparse.Namespace) -> str | None:
    """The names of the passes that the command line chooses; None where it does not."""
    return Pipeline(select(args.passes, args.no_pass, args.fast_math)).names


def _new(args: argparse.Namespace, program: Program, name: str) -> RunDir:
    if args.out is not None:
        return RunDir.create(Path(args.out))
    stem = program.path.stem
    name = f"{stem}-{name}" if len(program.trainings) > 1 else stem
    return RunDir.create_numbered(Path("runs") / name)


def _size(training: Any) -> str:
    count = sum(e.type.size for e in training.state.values() if e.kind == "param")
    return f"{count:,} parameters, {training.steps:,} steps"


class StopSignal:
    """While active, the first SIGINT or SIGTERM asks the loop to stop; a second one does it now."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Callable[[], bool]:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return lambda: self.requested

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: types.FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # The signal may arrive inside a write to `sys.stderr`, which cannot be entered twice.
        os.write(2, b"\nstopping after this step; once more to stop at once\n")
