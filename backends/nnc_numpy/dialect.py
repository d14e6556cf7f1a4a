"""NumPy as a dialect: the defaults of `nnc.emit`, with the names of NumPy."""

from __future__ import annotations

from collections.abc import Sequence

from nnc.backend import random_streams
from nnc.emit import LOOPS, Dialect, Printer, recurrent
from nnc.emit.memory import keep_memory
from nnc.emit.updates import Loop
from nnc.ir.narrow import to_bf16, to_f16
from nnc_numpy import attention, kernels, runtime
from nnc_numpy.emitters import EMITTERS
from nnc_numpy.inplace import InPlacePrinter
from nnc_numpy.loops import print_scan
from nnc_numpy.recurrent import lstm, lstm_grad
from nnc_numpy.scatter import print_scatter, print_scatter_along
from nnc_numpy.updates import print_updates


class NumpyDialect(Dialect):
    name = "numpy"
    module = "np"
    imports = {"np": "import numpy as np"}  # noqa: RUF012
    emitters = EMITTERS
    start = (keep_memory,)
    frees = True
    statements = {  # noqa: RUF012
        **LOOPS,
        "scan": print_scan,
        **recurrent(lstm, lstm_grad),
        "scatter_add": print_scatter,
        "scatter_add_along": print_scatter_along,
    }
    helpers = (
        runtime.random_bits,
        runtime.draw_bits,
        runtime.updated,
        runtime.pieces,
        runtime.packed,
        runtime.packs,
        runtime.zeroed,
        runtime.runs,
        runtime.column_blocks,
        runtime.times_blocks,
        runtime.row_sums,
        kernels.sigmoid,
        kernels.softplus,
        kernels.log_sigmoid,
        kernels.gelu,
        kernels.gelu_with_slope,
        kernels.layer_norm,
        kernels.layer_norm_grad,
        kernels.batch_norm,
        kernels.batch_norm_grad,
        lstm,
        lstm_grad,
        attention.attention,
        attention.attention_grad,
        attention.attention_with_weights,
        attention.attention_weights_grad,
        random_streams.bits64,
        random_streams.tag,
        random_streams.stream_tags,
        to_bf16,
        to_f16,
    )

    def needs(self) -> str:
        return "NumPy 2 alone"

    def step_printer(self) -> type[Printer]:
        return InPlacePrinter

    def update(self, printer: Printer, loops: Sequence[Loop]) -> bool:
        print_updates(printer, loops)
        return False


NUMPY = NumpyDialect()
