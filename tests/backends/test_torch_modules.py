"""The nets of a program as `nn.Module`s: their structure, and their gradients by autograd."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import nnc_torch
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nnc.ir.interpret import as_float64
from nnc.ir.program import Training
from nnc.passes.pipeline import optimize_training
from tests.backends.harness import load
from tests.backends.test_numpy_models import in_float64
from tests.backends.torch_harness import as_numpy
from tests.std.program import training_of

DESCENT = """
block Descent()(p: f32[...], grad: f32[...]) -> f32[...] = p - grad
"""
TRAIN = """
train fit {
  let net = Net()
  loss      = mse(net(d.x), d.y)
  optimizer = Descent()
  steps     = 1
}
"""


def wide(training: Training) -> Training:
    """The same program in float64, its nets too."""
    forwards = [
        replace(f, graph=as_float64(f.graph), structured=as_float64(f.structured))
        for f in training.forwards
    ]
    return replace(in_float64(training), forwards=forwards)


class Emitted:
    """A program whose net is applied to x [N, ...], as a PyTorch file, in float64."""

    def __init__(self, root: Path, net: str, x: Any, train: str = TRAIN, y: Any = None):
        draw = np.random.default_rng(0)
        shape = np.shape(y) if y is not None else None
        fields = [("x", x), ("y", y)] if shape else [("x", x)]
        types = {"f": "f32", "i": "i32"}
        lines = [
            f'  {name}: {types[np.asarray(value).dtype.kind]}'
            f'[N{"".join(f", {n}" for n in np.shape(value)[1:])}] = npz("d.npz", "{name}")'
            for name, value in fields
        ]
        data = "\n".join(["data d {", *lines, f"  batch = {len(x)}", "}"])
        text = "\n".join(["language 1", DESCENT, data, net, train])
        arrays = {f"d_{name}": value for name, value in fields}
        self.training = wide(training_of(root, text, **arrays))
        optimize_training(self.training)
        self.source = nnc_torch.backend.emit(self.training)
        self.module = load(self.source)
        self.x = x
        del draw
