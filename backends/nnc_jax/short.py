"""The border to NumPy of a file whose state has bf16, which NumPy's side keeps as float32.

`DEVICE` and `PROGRAM` are constants of the emitted file.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

DEVICE: str | None = None
PROGRAM: dict[str, Any] = {}


def from_numpy(arrays: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Copies of NumPy arrays on DEVICE or JAX's own choice; bf16 of the state is float32 there."""
    device = jax.devices(DEVICE)[0] if DEVICE else None
    narrow = {path for path, (dtype, *_) in PROGRAM["state"].items() if dtype == "bf16"}
    with jax.enable_x64(True):
        typed = {n: x.astype(jnp.bfloat16) if n in narrow else x for n, x in arrays.items()}
        placed = jax.device_put(typed, device, may_alias=False)
    return {name: placed[name] for name in arrays}  # a pytree's dict comes back sorted


def to_numpy(arrays: dict[str, jax.Array]) -> dict[str, np.ndarray]:
    """Copies of JAX arrays, which outlive their being consumed by a step; bf16 as float32."""
    host = jax.device_get(arrays)
    types = {n: np.float32 if x.dtype == jnp.bfloat16 else x.dtype for n, x in arrays.items()}
    return {name: np.array(host[name], dtype) for name, dtype in types.items()}
