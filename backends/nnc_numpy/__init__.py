"""The NumPy backend: prints a program as one NumPy file that reads as if written by hand.

It uses nnc's public contract alone (`nnc.backend`, `nnc.emit`, `nnc.ir`, `nnc.ops.registry`), as a
backend of a third party does.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnc.backend import legalized
from nnc.emit import module_text
from nnc.emit.freeing import smallest_freed
from nnc.ir.graph import Graph
from nnc.ir.program import Step, Training
from nnc_numpy.dialect import NUMPY
from nnc_numpy.rewrites import rewrite_for_numpy

__all__ = ["NUMPY", "NumpyBackend", "backend"]


class NumpyBackend:
    """See `nnc.backend.Backend`."""

    name = NUMPY.name
    emitters: Mapping[str, Callable[..., Any]] = {**NUMPY.emitters, **NUMPY.statements}

    def keeps(self, step: Step) -> int:
        return smallest_freed(step)

    def legal(self, training: Training) -> Training:
        return legalized(training, self, self.rewrite)

    def emit(self, training: Training) -> str:
        return module_text(self.legal(training), NUMPY)

    def rewrite(self, graph: Graph) -> bool:
        return rewrite_for_numpy(graph)

    def version(self) -> str:
        return f"numpy {np.__version__}"

    def devices(self) -> list[str]:
        return ["cpu"]

    def peak_bytes(self, step: Callable[..., Any], state: Any, batch: Any, scalars: Any) -> int:
        held = [*state.values(), *batch.values()]
        tracemalloc.start()
        step(state, batch, scalars)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak + sum(int(array.nbytes) for array in held)


backend = NumpyBackend()
