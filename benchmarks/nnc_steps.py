"""nnc's own steps: the emitted file by itself, which needs its framework and NumPy alone."""

from __future__ import annotations

import importlib.util
import sys
from copy import deepcopy
from types import ModuleType

import numpy as np

from benchmarks.workloads import Arrays, Setup

CHUNK = 50


def load(file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("emitted", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["emitted"] = module  # where torch.compile looks for it
    spec.loader.exec_module(module)
    return module


class Steps:
    """One call for each step, as a loop written around the emitted file would do it."""

    unit = 1

    def __init__(self, setup: Setup, compiled: bool = False):
        self.module = load(setup.source)
        entry = self.module.PROGRAM["phases"][0]["steps"][0]
        self.name = entry["function"]
        step = getattr(self.module, self.name)
        self.step = self.module.compiled(step) if compiled else step
        self.scalars = getattr(self.module, entry["scalars"])
        self.from_numpy = getattr(self.module, "from_numpy", dict)
        self.to_numpy = getattr(self.module, "to_numpy", dict)
        is_numpy = self.from_numpy is dict  # which does not copy
        self.state = self.from_numpy(deepcopy(setup.state) if is_numpy else setup.state)
        self.fields = {f.partition(".")[2]: f for f in self.module.PROGRAM["batches"]}
        self.batches = [
            self.from_numpy({self.fields[k]: v for k, v in batch.items()})
            for batch in setup.batches
        ]
        self.done = 0

    def run(self, steps: int) -> float:
        with np.errstate(all="ignore"):
            for t in range(self.done, self.done + steps):
                batch = self.batches[t % len(self.batches)]
                self.state, out = self.step(self.state, batch, self.scalars(t, t, 0, t))
        self.done += steps
        return float(self.to_numpy(out)["loss"])

    def weights(self) -> Arrays:
        return self.to_numpy(self.state)


class Chunks(Steps):
    """50 steps in one call of `run_STEP`, from data that lies on the device."""

    unit = CHUNK

    def __init__(self, setup: Setup):
        super().__init__(setup)
        self.run_many = getattr(self.module, f"run_{self.name}")
        names = {field: key for key, field in self.fields.items()}
        whole = {f: np.concatenate([b[names[f]] for b in setup.batches]) for f in names}
        self.data = self.from_numpy(whole)
        self.source = next(iter(names)).partition(".")[0]
        self.count = len(next(iter(whole.values())))
        self.size = self.count // len(setup.batches)
        self.batches = []

    def run(self, steps: int) -> float:
        for first in range(self.done, self.done + steps, CHUNK):
            scalars = [self.scalars(t, t, 0, t) for t in range(first, first + CHUNK)]
            rows = np.arange(first * self.size, (first + CHUNK) * self.size, dtype=np.int32)
            self.state, outs = self.run_many(
                self.state,
                self.data,
                {self.source: rows.reshape(CHUNK, self.size) % self.count},
                {name: np.array([each[name] for each in scalars]) for name in scalars[0]},
            )
        self.done += steps
        return float(self.to_numpy(outs)["loss"][-1])


def steps(setup: Setup) -> Steps:
    return Steps(setup)


def chunks(setup: Setup) -> Chunks:
    return Chunks(setup)


def torch_compiled(setup: Setup) -> Steps:
    """The emitted PyTorch step under torch.compile."""
    return Steps(setup, compiled=True)
