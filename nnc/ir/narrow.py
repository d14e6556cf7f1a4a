"""Rounding to the short float types, which NumPy computes with in float32.

NumPy has no bf16, and its products of f16 are slow.  So arrays of bf16 are float32 arrays that hold
values of bf16: what an op gives in float32 is rounded, which is what hardware does that multiplies
short floats.  These functions are copied into emitted files.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnc.ir.types import numpy_dtype


def to_bf16(x: Any) -> np.ndarray:
    """x as float32 that holds the nearest values of bfloat16, of two equally near the even one."""
    x = np.asarray(x, np.float32)
    bits = x.view(np.uint32)
    half = ((bits >> 16) & 1) + np.uint32(0x7FFF)  # carries into the upper half where x is nearer
    nearest = ((bits + half) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.isnan(x), x, nearest)


def to_f16(x: Any) -> np.ndarray:
    """x as float32 that holds the nearest values of float16."""
    return np.asarray(x).astype(np.float16).astype(np.float32)


def round_to(x: np.ndarray, *, dtype: str) -> np.ndarray:
    """The nearest values of `dtype`, in the element type of x."""
    return held(x, dtype).astype(np.asarray(x).dtype)


def held(x: Any, dtype: str) -> np.ndarray:
    """x as NumPy holds values of `dtype`: in that type, or in float32 for bf16."""
    return to_bf16(x) if dtype == "bf16" else np.asarray(x).astype(numpy_dtype(dtype), copy=False)
