"""A process of its own for one contender: `python -m benchmarks.worker JOB`.

It warms up and says how many steps fill a block, unless it is told; then it times a block at each
line of its input.  Messages are JSON, a line each.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workloads import Contender, Setup, batches_of

#: what a contender is called -> where it is made; behind a `:` its name may say with what source
CONTENDERS = {
    "numpy": "numpy_peers:by_hand",
    "torch": "torch_peers:eager",
    "torch-compile": "torch_peers:compiled",
    "jax": "jax_peers:by_step",
    "jax-scan": "jax_peers:by_scan",
    "nnc-numpy": "nnc_steps:steps",
    "nnc-torch": "nnc_steps:steps",
    "nnc-torch-compile": "nnc_steps:torch_compiled",
    "nnc-jax": "nnc_steps:steps",
    "nnc-jax-chunks": "nnc_steps:chunks",
    "gemm-numpy": "gemm:in_numpy",
    "gemm-torch": "gemm:in_torch",
    "gemm-jax": "gemm:in_jax",
}


def framework(contender: str) -> str:
    """numpy, torch or jax."""
    kind = contender.partition(":")[0]
    return next(part for part in kind.split("-") if part in ("numpy", "torch", "jax"))


def make(contender: str, setup: Setup) -> Contender:
    module, _, name = CONTENDERS[contender.partition(":")[0]].partition(":")
    made: Contender = getattr(importlib.import_module(f"benchmarks.{module}"), name)(setup)
    return made


def read(job: dict[str, Any]) -> Setup:
    """The setup that `benchmarks.prepare` left in files."""
    name, folder = job["workload"], job["folder"]
    if name == "gemm":
        return Setup(name, {}, [], job["sizes"])
    with np.load(f"{folder}/{name}_state.npz") as file:
        state = dict(file)
    with np.load(job["data"]) as file:
        batches = batches_of(dict(file), int(job["sizes"]["size"]))
    contender = job["contender"]
    kind = contender if ":" in contender else framework(contender)
    source = f"{folder}/{name}_{kind}.py"
    weights = {k: v for k, v in state.items() if not k.startswith("@")}
    return Setup(name, weights, batches, job["sizes"], source, state)


def seconds(contender: Contender, steps: int) -> float:
    start = time.perf_counter()
    contender.run(steps)
    return time.perf_counter() - start


def fitting(contender: Contender, block: float) -> int:
    """How many steps take `block` seconds, found by running more and more of them."""
    steps = contender.unit
    while (taken := seconds(contender, steps)) < block / 2:
        steps = contender.unit * max(2, round(steps * min(block / taken, 16)) // contender.unit)
    return steps


def peak_bytes() -> int:
    """The most memory that the process had; `ru_maxrss` begins with that of the parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(job: dict[str, Any]) -> None:
    channel, sys.stdout = sys.stdout, sys.stderr  # what a framework prints is no message

    def send(**message: Any) -> None:
        print(json.dumps(message), file=channel, flush=True)

    # What another run has compiled would make the first step quicker and its memory less.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{job['folder']}/{job['contender']}_cache"
    importlib.import_module(framework(job["contender"]))
    imported = peak_bytes()
    start = time.perf_counter()
    contender = make(job["contender"], read(job))
    contender.run(contender.unit)
    first = time.perf_counter() - start
    if "steps" in job:
        steps = job["steps"]
        contender.run(steps)
    else:
        steps = fitting(contender, job["block"])
    send(steps=steps, first_seconds=first)
    for _ in sys.stdin:
        if steps > contender.unit:
            contender.run(contender.unit)  # its data comes back into the caches
        taken = seconds(contender, steps)
        send(seconds=taken, imported_bytes=imported, peak_bytes=peak_bytes())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
