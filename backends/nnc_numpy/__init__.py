"""The NumPy backend: prints a program as one NumPy file that reads as if written by hand.

It uses nnc's public contract alone (`nnc.backend`, `nnc.ir`, `nnc.ops.registry`), as a backend of a
third party does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnc.backend import legalized
from nnc.ir.program import Training
from nnc.ops.registry import OPS
from nnc_numpy import loops as loops
from nnc_numpy import runtime
from nnc_numpy.emitters import EMITTERS
from nnc_numpy.function import STATEMENTS
from nnc_numpy.module import module_text
from nnc_numpy.rewrites import rewrite

__all__ = ["NumpyBackend", "backend"]


class NumpyBackend:
    """See `nnc.backend.Backend`."""

    name = "numpy"
    emitters: Mapping[str, Callable[..., Any]] = {**EMITTERS, **STATEMENTS}

    def emit(self, training: Training) -> str:
        return module_text(legalized(training, self, rewrite), helper_names())

    def version(self) -> str:
        return f"numpy {np.__version__}"

    def devices(self) -> list[str]:
        return ["cpu"]


def helper_names() -> frozenset[str]:
    """The names of functions that emitted code may call, which no variable may have."""
    evaluations = (op.evaluate for op in OPS.values())
    names = {getattr(evaluate, "__name__", "") for evaluate in evaluations}
    return frozenset({*names, runtime.random_bits.__name__})


backend = NumpyBackend()
