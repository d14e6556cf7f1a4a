"""The seven trainings that are timed: their programs, and data for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

PROGRAMS = Path(__file__).parent / "programs"
#: batches in the data; steps go round them
BATCHES = 16

#: the `config` values that data and peers need, as the programs have them
SIZES: dict[str, dict[str, float]] = {
    "mlp": {"inputs": 784, "size": 128, "rate": 0.2},
    "cnn": {"side": 32, "size": 64},
    "lstm": {"vocab": 96, "length": 64, "size": 32},
    "gpt": {"vocab": 96, "length": 64, "size": 12, "heads": 4, "depth": 4},
    "vae": {"inputs": 784, "size": 128},
    "ncf": {"users": 943, "items": 1682, "size": 256},
    "tiny": {"inputs": 64, "size": 32},
}
NAMES = tuple(SIZES)

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Setup:
    """What a contender starts from: all start from the same weights and take the same batches."""

    workload: str
    weights: Arrays  # by nnc's paths and in its layouts
    batches: list[Arrays]  # by the names of the fields
    sizes: Mapping[str, float] = field(default_factory=dict)
    source: str = ""  # the file with what nnc emitted, for its own steps
    state: Arrays = field(default_factory=dict)  # weights and memory of the optimizer, for them


class Contender(Protocol):
    """One way to train a workload."""

    #: steps that one call of the framework makes: `run` takes multiples of it
    unit: int

    def run(self, steps: int) -> float:
        """Train for `steps` more steps and wait until they are done; the loss of the last one."""

    def weights(self) -> Arrays:
        """The weights as they are now, by nnc's paths and in its layouts."""


def sizes_of(name: str, **changed: float) -> dict[str, float]:
    return {**SIZES[name], **changed}


def data(name: str, sizes: Mapping[str, Any], batches: int = BATCHES) -> Arrays:
    """Random but fixed samples: the fields that the program of `name` reads."""
    rng = np.random.default_rng(0)
    n = batches * sizes["size"]
    labels = rng.integers(0, 10, n, dtype=np.int32)
    if name in ("mlp", "tiny"):
        return {"x": rng.random((n, sizes["inputs"]), dtype=np.float32), "y": labels}
    if name == "vae":
        return {"x": rng.random((n, sizes["inputs"]), dtype=np.float32)}
    if name == "cnn":
        shape = (n, sizes["side"], sizes["side"], 3)
        return {"x": rng.standard_normal(shape, dtype=np.float32), "y": labels}
    if name == "ncf":
        return {
            "user": rng.integers(0, sizes["users"], n, dtype=np.int32),
            "item": rng.integers(0, sizes["items"], n, dtype=np.int32),
            "liked": rng.integers(0, 2, n).astype(np.float32),
        }
    return {"ids": rng.integers(0, sizes["vocab"], (n, sizes["length"] + 1), dtype=np.int32)}


def batches_of(fields: Arrays, size: int) -> list[Arrays]:
    """Consecutive samples, `size` at a time; every batch an array of its own."""
    count = len(next(iter(fields.values()))) // size
    return [
        {k: x[i * size : (i + 1) * size].copy() for k, x in fields.items()} for i in range(count)
    ]
