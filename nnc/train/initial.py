"""The state at the start of a run: initializers, then weights that the program loads from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from nnc.ir.narrow import held
from nnc.ir.program import Load, Training
from nnc.language.diagnostics import error, suggest
from nnc.train.failures import reported
from nnc.train.layers import layer_types, split, stack
from nnc.train.module import Plan


def initial_state(training: Training, plan: Plan, seed: int | None = None) -> Any:
    """What `init(seed)` gives, with the entries that `init = load(...)` names replaced.

    Arrays are those of the emitted file's framework.
    """
    with reported(plan.init.__code__.co_filename, "the initial state", training.file):
        state = plan.init(training.seed if seed is None else seed)
    if not training.loads:
        return state
    arrays = plan.border.to_numpy(state)
    arrays = split(arrays, training)
    for load in training.loads:
        arrays |= _loaded(load, training)
    return plan.border.from_numpy(stack(arrays, training))


def _loaded(load: Load, training: Training) -> dict[str, np.ndarray]:
    """State path -> array, for the weights and buffers below `load.into` that the file has."""
    try:
        arrays = safetensors.numpy.load_file(load.file)
    except (OSError, SafetensorError) as problem:
        raise error("E0708", f"cannot load `{load.file}`: {problem}") from None
    part = load.part if load.part is not None else _part(load.into, arrays)
    found: dict[str, np.ndarray] = {}
    for path, entry, type in layer_types(training):
        if entry.kind not in ("param", "buffer") or not _below(path, load.into):
            continue
        name = _joined(part, path[len(load.into) :].lstrip("."))
        value = arrays.get(name)
        wrong = value is not None and value.shape != type.shape
        if value is not None and not wrong:
            found[path] = held(value, type.dtype)
        elif load.strict:
            have = f"has the shape {list(value.shape)}" if value is not None else "is not there"
            raise error(
                "E0708",
                f"`{Path(load.file).name}` does not fit: `{name}` {have}; `{path}` is {type}",
                help=suggest(name, arrays) or "`strict = false` takes what fits",
            )
    if not found:
        raise error(
            "E0708",
            f"`{Path(load.file).name}` has no weight that fits `{load.into}`",
            help=f"it has {', '.join(list(arrays)[:4])} ...",
        )
    return found


def _part(into: str, arrays: dict[str, np.ndarray]) -> str:
    """Files of nnc hold full paths; others often hold names relative to the network."""
    return into if any(_below(name, into) for name in arrays) else ""


def _below(path: str, prefix: str) -> bool:
    return not prefix or path == prefix or path.startswith(f"{prefix}.")


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name
