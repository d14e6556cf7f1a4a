"""The functions that the compiler provides; importing this fills `BUILTINS`."""

from nnc.elaborate.functions import (
    constants,
    draws,
    einops,
    elementwise,
    index,
    neural,
    reduce,
    shape,
    weights,
)
from nnc.elaborate.functions.registry import BUILTINS

__all__ = [
    "BUILTINS",
    "constants",
    "draws",
    "einops",
    "elementwise",
    "index",
    "neural",
    "reduce",
    "shape",
    "weights",
]
