"""What every emitted file contains: its decorator, and the border to NumPy.

`DEVICE` is a constant of the emitted file.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

DEVICE: str | None = None


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit` with 64-bit types and products in full precision, whatever JAX is set to."""
    run = jax.jit(function, **options)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            return run(*arguments, **named)

    return call


def from_numpy(arrays: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Copies of NumPy arrays, in their own element types, on DEVICE or JAX's own choice."""
    device = jax.devices(DEVICE)[0] if DEVICE else None
    with jax.enable_x64(True):
        placed = jax.device_put(arrays, device, may_alias=False)
    return {name: placed[name] for name in arrays}  # a pytree's dict comes back sorted


def to_numpy(arrays: dict[str, jax.Array]) -> dict[str, np.ndarray]:
    """Copies of JAX arrays, which outlive their being consumed by a step."""
    host = jax.device_get(arrays)
    return {name: np.array(host[name]) for name in arrays}
