"""What every emitted file contains: its decorator, and the border to NumPy.

`DEVICE` is a constant of the emitted file.
"""

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

DEVICE: str | None = None


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit` with 64-bit types and every value in its own precision, whatever JAX is set to."""
    keep_memory()

    @functools.wraps(function)
    def exact(*arguments: Any, **named: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*arguments, **named)

    @functools.cache
    def run() -> Callable[..., Any]:
        return jax.jit(exact, compiler_options=xla_options(), **options)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        # Options are the outermost function's; this one may be a part of what is being compiled.
        traced = any(map(is_traced, arguments)) or is_traced(named)
        with jax.enable_x64(True):
            return (exact if traced else run())(*arguments, **named)

    return call


def is_traced(argument: Any) -> bool:
    """Whether an array, or one of a dict of them, is what JAX traces a function with."""
    arrays = argument.values() if isinstance(argument, dict) else (argument,)
    return any(isinstance(x, jax.core.Tracer) for x in arrays)


def on_cpu() -> bool:
    """Whether this file is for a CPU, so far as JAX can tell while it traces a function."""
    return (DEVICE or jax.default_backend()) == "cpu"


@functools.cache
def xla_options() -> dict[str, Any]:
    """XLA rounds to bf16 or f16 even what is at once widened again; convolutions use all cores.

    Those of XLA's library for CPUs have one core; without it they take half the time on two.
    """
    exact = {"xla_allow_excess_precision": False}
    kinds = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    library = {"xla_cpu_experimental_ynn_fusion_type": kinds}
    try:
        jax.jit(lambda: 0, compiler_options=library).lower().compile()
    except jax.errors.JaxRuntimeError:  # this version of XLA has no such option
        return exact
    return {**exact, **library} if on_cpu() else exact


@functools.cache
def keep_memory() -> None:
    """Let glibc keep what is freed for the next step, where it is what allocates.

    XLA asks for all of its temporary memory at each call.  Beyond 32 MB glibc takes it from the
    system and gives it back, and every page is cleared again: a third of the time of a step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        trim, mmap, arenas = -1, -3, -8  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX
        for parameter, value in ((trim, 2**31 - 1), (mmap, 2**31 - 1), (arenas, 1)):
            mallopt(parameter, value)  # what a thread has of its own ends at 64 MB


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
