"""One training from start to files: what `nnc train` and `Model.train` have in common.

A session joins a `Training`, the source that a backend printed for it and a directory.  Whether a
checkpoint belongs to what is about to run is decided here, by hashes of program and data.
"""

from __future__ import annotations

import hashlib
import platform
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnc.ir.program import Training
from nnc.ir.types import TensorType, dtype_of
from nnc.language.diagnostics import NncError, error
from nnc.train import checkpoint
from nnc.train.checkpoint import Checkpoint, State
from nnc.train.layers import layer_types
from nnc.train.loop import Loop, Result
from nnc.train.module import compile_steps, load_module, plan
from nnc.train.places import span_of
from nnc.train.progress import Display
from nnc.train.rundir import PROGRAM, RunDir


@dataclass(frozen=True)
class Session:
    """`expanded` is the program with every default; `settings` how it was asked for (JSON)."""

    training: Training
    source: str
    backend: str
    expanded: str
    settings: Mapping[str, Any]  # what `Program.compile` was called with
    compiler: str = ""  # the function of `source` that steps go through

    def load(self, file: str) -> types.ModuleType:
        """The emitted functions, as of `file`, their steps compiled where that is asked for."""
        module = load_module(self.source, file)
        if self.compiler:
            compile_steps(module, self.compiler)
        return module

    def identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be gone on from."""
        return {
            "seed": self.training.seed,
            "program_sha256": hashlib.sha256(self.expanded.encode()).hexdigest(),
            "data_sha256": {n: s.digest for n, s in self.training.sources.items()},
        }

    def run(
        self,
        run_dir: RunDir | None,
        found: Checkpoint | None = None,
        display: Display | None = None,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> Result:
        """Train in `run_dir` (or without files), from `found` where that is given."""
        name = f"train_{self.backend}.py"
        if found is not None:
            self.check(found)
        check_bounds(self.training)
        if run_dir is not None:
            versions = {"python": platform.python_version(), "numpy": np.__version__}
            run_dir.write_settings({**self.settings, **self.identity(), "versions": versions})
            run_dir.write(PROGRAM, self.expanded)
            run_dir.write(name, self.source)
        module = self.load(str(run_dir.path / name) if run_dir else name)
        meta = {"settings": dict(self.settings), **self.identity()}
        loop = Loop(
            self.training,
            plan(module, self.training),
            meta,
            run_dir,
            display or Display(),
            stop_requested,
        )
        if found is not None:
            loop.resume(found)
        return loop.run()

    def changed(self, found: Checkpoint) -> list[str]:
        """What is not as it was when `found` was written: program, seed, data."""
        mine = self.identity()
        return [what for key, what in _IDENTITY.items() if found.meta.get(key) != mine[key]]

    def check(self, found: Checkpoint) -> None:
        """An error where `found` is of another program, seed or data, or has other weights."""
        for what in self.changed(found):
            raise error(
                "E0706",
                f"the checkpoint does not fit: the {what} changed since it was written",
                help="undo the change, or start a new run with `--out`",
            )
        check_state(found.state, self.training)


_IDENTITY = {"program_sha256": "program", "seed": "seed", "data_sha256": "data"}


def check_bounds(training: Training) -> None:
    """An error that names the row of the first value in the data that indexes past its axis."""
    for bound in training.bounds:
        try:
            training.sources[bound.source].check_index(bound.field, bound.size)
        except NncError as problem:
            span = span_of(bound.origin, training.file) if bound.origin else None
            first = problem.diagnostics[0]
            raise NncError(replace(first, span=first.span or span)) from None


def check_state(state: State, training: Training) -> None:
    """An error that names the first entries of `state` that `training` does not have so."""
    wanted = {path: str(_as_kept(type)) for path, _, type in layer_types(training)}
    present = {path: str(_type(value)) for path, value in state.items()}
    wrong = [
        f"`{path}` is {present.get(path, 'missing')} there and {wanted.get(path, 'unknown')} here"
        for path in sorted(wanted.keys() | present.keys())
        if wanted.get(path) != present.get(path)
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise error("E0706", "the checkpoint has other weights: " + "; ".join(wrong[:3]) + more)


def _as_kept(type: TensorType) -> TensorType:
    """The type of an entry in a checkpoint, whose arrays are NumPy's: bf16 is kept as f32."""
    return type.with_dtype("f32") if type.dtype == "bf16" else type


def _type(value: np.ndarray) -> TensorType:
    return TensorType(dtype_of(value), tuple(value.shape))


def find_checkpoint(path: Path) -> tuple[Checkpoint, list[str]]:
    """What to evaluate or predict with: a checkpoint file, or the result of the run in a directory.

    The result of a run that stops early is its best state, else its last.
    """
    if not path.is_dir():
        return checkpoint.load(path), []
    best = path / checkpoint.BEST
    if best.exists():
        return checkpoint.load(best), []
    return checkpoint.load_last(path)
