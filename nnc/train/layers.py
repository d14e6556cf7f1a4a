"""Stacked layers and files: what one array holds for all layers goes under the path of each.

So a checkpoint does not show whether the run that wrote it stacked its layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from nnc.ir.program import StateEntry, Training
from nnc.ir.types import TensorType


def layer_types(training: Training) -> Iterator[tuple[str, StateEntry, TensorType]]:
    """Each path with its entry and the type of what lies there, layer by layer."""
    for entry in training.state.values():
        type = entry.type.with_shape(entry.type.shape[len(entry.layers) :])
        for path in entry.paths:
            yield path, entry, type


def split(state: Mapping[str, np.ndarray], training: Training) -> dict[str, np.ndarray]:
    """`state` with an array for each layer; they are views."""
    arrays: dict[str, np.ndarray] = {}
    for path, value in state.items():
        entry = training.state[path]
        if entry.layers:
            rows = value.reshape(-1, *value.shape[len(entry.layers) :])
            arrays |= dict(zip(entry.paths, rows, strict=True))
        else:
            arrays[path] = value
    return arrays


def stack(arrays: Mapping[str, np.ndarray], training: Training) -> dict[str, np.ndarray]:
    """`arrays` with one for all layers, where `training` has it so; stacks stay what they are."""
    state = dict(arrays)
    for path, entry in training.state.items():
        if entry.layers and path not in arrays:
            rows = np.stack([state.pop(one) for one in entry.paths])
            state[path] = rows.reshape(*entry.layers, *rows.shape[1:])
    return {path: state[path] for path in training.state if path in state} | state
