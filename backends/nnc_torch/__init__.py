"""The PyTorch backend: prints a program as one PyTorch file that reads as if written by hand.

Beside the functions that every emitted file has, it has the nets as a tree of modules whose
`state_dict` has the paths of the weights.  It uses nnc's public contract, and the NumPy backend for
what every file computes in NumPy: initial values and random words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import nnc_numpy
import torch

from nnc.backend import legalized
from nnc.emit import module_text
from nnc.emit.freeing import smallest_freed
from nnc.ir.program import Step, Training
from nnc_torch.dialect import ModuleDialect, TorchDialect
from nnc_torch.memory import peak_of
from nnc_torch.rewrites import rewrite

__all__ = ["TorchBackend", "backend"]


class TorchBackend:
    """See `nnc.backend.Backend`."""

    name = TorchDialect.name
    compiler = "compiled"
    emitters: Mapping[str, Callable[..., Any]] = {
        **TorchDialect.emitters,
        **TorchDialect.statements,
    }

    def keeps(self, step: Step) -> int:
        return smallest_freed(step)

    def legal(self, training: Training) -> Training:
        return legalized(training, self, rewrite, nnc_numpy.backend)

    def emit(self, training: Training) -> str:
        inference = replace(training, state={}, phases=[], evaluations=[])
        dialect = TorchDialect(legalized(inference, Nets()).forwards)
        return module_text(self.legal(training), dialect)

    def version(self) -> str:
        return f"torch {torch.__version__}"

    def devices(self) -> list[str]:
        count = torch.cuda.device_count()
        return ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]

    def peak_bytes(self, step: Callable[..., Any], state: Any, batch: Any, scalars: Any) -> int:
        held = sum(array.nbytes for array in [*state.values(), *batch.values()])
        return held + peak_of(lambda: step(state, batch, scalars))


class Nets(TorchBackend):
    """What may stand in modules: gradients as the program has changed them, too."""

    emitters: Mapping[str, Callable[..., Any]] = {
        **ModuleDialect.emitters,
        **ModuleDialect.statements,
    }


backend = TorchBackend()
