"""The functions that the compiler provides; importing this fills `BUILTINS`."""

from nnc.elaborate.functions import draws, einops, elementwise, neural, reduce, shape, weights
from nnc.elaborate.functions.registry import BUILTINS

__all__ = [
    "BUILTINS",
    "draws",
    "einops",
    "elementwise",
    "neural",
    "reduce",
    "shape",
    "weights",
]
