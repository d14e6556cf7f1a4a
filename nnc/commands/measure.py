"""The memory that a training step really takes, found out in a process of its own.

`measured_peaks` starts `python -m nnc.commands.measure JOB`, which runs each step of the program a
few times and prints what it took, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnc import backend as backends
from nnc.language.diagnostics import error
from nnc.passes.pipeline import Pipeline, select

STEPS = 3


@dataclass(frozen=True)
class Measured:
    """Bytes of one step at its peak: state and batch included."""

    arrays: int | None  # as the framework counts its arrays; None where it does not
    process: int | None  # by which the process grew, with what libraries keep; None where unknown


def measured_peaks(
    file: str,
    config: Mapping[str, str],
    train: str | None,
    backend: str,
    *,
    stack_layers: bool = False,
    passes: str | None = None,
) -> dict[str, Measured]:
    """By name of the step, compiled as by `nnc compile`; NncError E0909 where the process fails."""
    job = {
        "file": file,
        "set": dict(config),
        "train": train,
        "backend": backend,
        "stack_layers": stack_layers,
        "passes": passes,
    }
    command = [sys.executable, "-m", "nnc.commands.measure", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise error("E0909", f"the steps cannot be run to measure their memory: {last}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: Measured(**measured) for name, measured in found.items()}


# ---------------------------------------------------------------- in the process
def main(job: Mapping[str, Any]) -> None:
    from nnc.api import load

    program = load(job["file"], **job["set"])
    model = program.compile(
        job["backend"],
        job["train"],
        stack_layers=job["stack_layers"],
        pipeline=Pipeline(select(job["passes"])),
    )
    backend = backends.get(job["backend"])
    count = backend.peak_bytes if isinstance(backend, backends.Measuring) else None
    batch, found = model.batch(0), {}
    for phase in model._plan.phases:
        for step in phase.steps:
            native = model._plan.border.from_numpy(batch)
            scalars = step.scalars(0, 0, model.training.seed, 0)
            function = getattr(model.module, function_name(model, step.name))
            model.init()  # what libraries set up once, and what drawing the weights takes
            before = reset_peak()
            state = model.init()
            for _ in range(STEPS):
                state, _out = function(state, native, scalars)
            process = None if before is None else resident("VmHWM") - before
            arrays = None if count is None else count(function, state, native, scalars)
            found[step.name] = asdict(Measured(arrays, process))
    print(json.dumps(found))


def function_name(model: Any, step: str) -> str:
    steps = [s for phase in model.module.PROGRAM["phases"] for s in phase["steps"]]
    planned = [s.name for phase in model._plan.phases for s in phase.steps]
    name: str = steps[planned.index(step)]["function"]
    return name


def resident(field: str) -> int:
    """`VmRSS`, the memory of this process, or `VmHWM`, the most it had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) * 1024


def reset_peak() -> int | None:
    """Let `VmHWM` begin again; the memory now.  None where the system has no such file.

    What has been freed goes back to the system first: a step would take it from there.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return resident("VmRSS")
    except (OSError, AttributeError):
        return None


if __name__ == "__main__":
    with np.errstate(all="ignore"):
        main(json.loads(sys.argv[1]))
