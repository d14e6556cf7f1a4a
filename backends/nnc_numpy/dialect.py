"""NumPy as a dialect: the defaults of `nnc.emit`, with the names of NumPy."""

from __future__ import annotations

from nnc.backend import random_streams
from nnc.emit import LOOPS, Dialect
from nnc.ir.narrow import to_bf16, to_f16
from nnc_numpy import runtime
from nnc_numpy.emitters import EMITTERS


class NumpyDialect(Dialect):
    name = "numpy"
    module = "np"
    imports = {"np": "import numpy as np"}  # noqa: RUF012
    emitters = EMITTERS
    statements = LOOPS
    helpers = (
        runtime.random_bits,
        runtime.bits32,
        random_streams.bits64,
        random_streams.tag,
        to_bf16,
        to_f16,
    )

    def needs(self) -> str:
        return "NumPy 2 alone"


NUMPY = NumpyDialect()
