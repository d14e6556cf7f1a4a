"""The border to NumPy of a file whose state has bf16, which NumPy's side keeps as float32.

`DEVICE` and `PROGRAM` are constants of the emitted file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

DEVICE = "cpu"
PROGRAM: dict[str, Any] = {}


def from_numpy(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Copies as tensors on DEVICE, bf16 of the state from float32; unsigned stay NumPy's."""
    narrow = {path for path, (dtype, *_) in PROGRAM["state"].items() if dtype == "bf16"}
    types = dict.fromkeys(narrow, torch.bfloat16)
    return {
        name: array
        if array.dtype.kind == "u"
        else torch.tensor(array, dtype=types.get(name), device=DEVICE)
        for name, array in arrays.items()
    }


def to_numpy(values: dict[str, Any]) -> dict[str, np.ndarray]:
    """Copies as NumPy arrays, bf16 as float32."""
    wide = {
        name: value.float() if torch.is_tensor(value) and value.dtype == torch.bfloat16 else value
        for name, value in values.items()
    }
    return {
        name: value.numpy(force=True).copy() if torch.is_tensor(value) else np.array(value)
        for name, value in wide.items()
    }
