"""PyTorch as a dialect: what its numbers, types and new arrays look like.

Numbers of the host stay Python floats, which cost nothing until they meet an array and take its
element type there.  There are two dialects.  In functions of the state nothing is differentiated,
and arrays are made on `DEVICE`; in modules autograd goes through every op, so those whose gradients
differ from nnc's at kinks are spelt otherwise, and arrays are made where the arguments are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nnc_numpy import NUMPY

from nnc.emit import ATOM, COMPARE, Dialect, Expr
from nnc.emit.dialect import infix
from nnc.ir.types import FLOATS, NUMPY_DTYPES
from nnc_torch import runtime
from nnc_torch.emitters import EMITTERS, MODULE_EMITTERS
from nnc_torch.loops import STATEMENTS

HELPERS = (
    runtime.sign, runtime.relu, runtime.sqrt, runtime.maximum, runtime.minimum,
    runtime.conv, runtime.conv_input_grad, runtime.conv_filter_grad, runtime.conv_grads,
    runtime.max_pool, runtime.max_pool_index, runtime.max_pool_grad,
    runtime.max_pool_places, runtime.max_pool_places_grad,
    runtime.sum_pool, runtime.sum_pool_grad, runtime.taps,
    runtime.fold, runtime.place, runtime.dynamic_slice, runtime.dynamic_update,
)  # fmt: skip


class TorchDialect(Dialect):
    """Functions of the state."""

    name = "torch"
    module = "torch"
    imports = {  # noqa: RUF012
        "np": "import numpy as np",
        "torch": "import torch",
        "F": "import torch.nn.functional as F",
        "nn": "from torch import Tensor, nn",
    }
    emitters = EMITTERS
    statements = STATEMENTS
    native = frozenset()
    helpers = HELPERS
    conversions = (runtime.from_numpy, runtime.to_numpy)
    constants = {"DEVICE": '"cpu"'}  # noqa: RUF012
    decorators = dict.fromkeys(("step", "batch", "finish", "forward"), ("@torch.no_grad()",))
    #: where new arrays are made
    device = "DEVICE"

    @property
    def host(self) -> Dialect:
        return NUMPY

    @property
    def taken(self) -> frozenset[str]:
        return super().taken | NUMPY.taken | {"Tensor", "Model", "model"}

    def needs(self) -> str:
        return "PyTorch and NumPy alone"

    # ------------------------------------------------------------ types and numbers
    def dtype(self, dtype: str) -> str:
        name = {"bf16": "bfloat16", "bool": "bool"}.get(dtype)
        return f"torch.{name or NUMPY_DTYPES[dtype].__name__}"

    def options(self, dtype: str, default: str = "") -> str:
        """The options of a function that makes an array; `default` is the type it makes."""
        typed = "" if dtype == default else f"dtype={self.dtype(dtype)}, "
        return f"{typed}device={self.device}"

    def number(self, text: str, dtype: str) -> str:
        return f"torch.tensor({text}, {self.options(dtype)})"

    def scalar(self, text: str, dtype: str) -> Expr:
        return Expr(text, weak=dtype)

    def array(self, data: np.ndarray) -> str:
        return self.number(NUMPY.array(data).partition("(")[2].rpartition(", dtype=")[0], self_dtype(data))

    def filled(self, value: str, shape: str, dtype: str) -> str:
        name = {"0": "zeros", "0.0": "zeros", "1": "ones", "1.0": "ones"}.get(value)
        if name is not None:
            return f"torch.{name}({shape}, {self.options(dtype, 'f32')})"
        shape = shape if shape.startswith("(") else f"({shape},)"
        return f"torch.full({shape}, {value}, {self.options(dtype)})"

    # ------------------------------------------------------------ expressions
    def binary(self, symbol: str, level: int, x: Expr, y: Expr) -> Expr:
        """Of two Python numbers it is Python's own."""
        made = infix(symbol, level, x, y)
        weak = ("bool" if level == COMPARE else x.weak) if x.weak and y.weak else ""
        return Expr(made.text, made.level, weak, made.size)


class ModuleDialect(TorchDialect):
    """Methods of modules, through which autograd goes."""

    emitters = MODULE_EMITTERS

    def __init__(self, device: str):
        self.device = device
