"""The PyTorch backend: prints a program as one PyTorch file that reads as if written by hand.

Beside the functions that every emitted file has, it has the nets as a tree of modules whose
`state_dict` has the paths of the weights.  It uses nnc's public contract, and the NumPy backend for
what every file computes in NumPy: initial values and random words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from nnc.emit import legalized, module_text
from nnc.ir.program import Training
from nnc_torch.dialect import TORCH
from nnc_torch.rewrites import rewrite

__all__ = ["TorchBackend", "backend"]


class TorchBackend:
    """See `nnc.backend.Backend`."""

    name = TORCH.name
    emitters: Mapping[str, Callable[..., Any]] = {**TORCH.emitters, **TORCH.statements}

    def emit(self, training: Training) -> str:
        return module_text(legalized(training, TORCH, rewrite), TORCH)

    def version(self) -> str:
        return f"torch {torch.__version__}"

    def devices(self) -> list[str]:
        found = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        return ["cpu", *(["cuda"] if found else []), *found]


backend = TorchBackend()
