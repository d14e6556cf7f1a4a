"""How many elements arrays have, where all their sizes are numbers: what costs depends on it."""

from __future__ import annotations

import math

from nnc.ir.dims import Dim

#: up to so many elements a call of NumPy takes longer than what it computes
LITTLE = 1 << 12


def elements(shape: tuple[Dim, ...]) -> int | None:
    """None where a size is open."""
    sizes = [dim for dim in shape if isinstance(dim, int)]
    return math.prod(sizes) if len(sizes) == len(shape) else None


def is_little(shape: tuple[Dim, ...]) -> bool:
    count = elements(shape)
    return count is not None and count <= LITTLE
