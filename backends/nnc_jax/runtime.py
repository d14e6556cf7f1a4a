"""What every emitted file contains: its decorator, and the border to NumPy.

`DEVICE` and `SMALL` (whether all products of its steps are so) are constants of the emitted file.
"""

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

DEVICE: str | None = None
SMALL: bool = False


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit` with 64-bit types and every value in its own precision, whatever JAX is set to."""

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
        kinds = set(map(type, jax.tree.leaves((arguments, named))))
        with jax.enable_x64(True):
            if any(map(is_tracer, kinds)):
                return exact(*arguments, **named)
            is_first = not run.cache_info().currsize
            result = run()(*arguments, **named)
        if is_first:
            trim_memory()
        return result

    return call


@functools.partial(compiled, static_argnames="count")
def first(arrays: dict[str, jax.Array], count: int) -> dict[str, jax.Array]:
    """The first `count` elements of each array, in one call."""
    return {name: x[:count] for name, x in arrays.items()}


@functools.cache
def is_tracer(kind: type) -> bool:
    """Whether arrays of this type are what JAX traces a function with."""
    return issubclass(kind, jax.core.Tracer)


def trim_memory() -> None:
    """Let glibc give back what compilation has left, where no step would find its memory again."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def on_cpu() -> bool:
    """Whether this file is for a CPU, so far as JAX can tell while it traces a function."""
    return (DEVICE or jax.default_backend()) == "cpu"


@functools.cache
def xla_options() -> dict[str, Any]:
    """What XLA is told: what is computed is what is written, and convolutions use all cores.

    XLA would else leave out the rounding to bf16 or f16 of what is at once widened again, and on
    CPUs take away the barriers that keep apart what is to be computed twice.  Convolutions of its
    library for CPUs have one core; without it they take half the time on two.  Small products are
    sooner done on one core, by loops that XLA writes itself.  Where there are no others, rows are
    short too, and LLVM's third level would unroll them before it could vectorize them.
    """
    exact = {
        "xla_allow_excess_precision": False,
        "xla_disable_hlo_passes": "cse_barrier_expander",
    }
    if not on_cpu():
        return exact
    kinds = "LIBRARY_FUSION_TYPE_REDUCE" + ("" if SMALL else ",LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT")
    library = {"xla_cpu_experimental_ynn_fusion_type": kinds}
    if SMALL:
        exact |= {"xla_cpu_multi_thread_eigen": False, "xla_backend_optimization_level": 2}
    try:
        jax.jit(lambda: 0, compiler_options=library).lower().compile()
    except jax.errors.JaxRuntimeError:  # this version of XLA has no such option
        return exact
    return {**exact, **library}


def run_in_caller() -> None:
    """Let each function run on the thread that calls it, which waits for it.

    On a CPU JAX else hands it to one of several threads, each of which keeps the memory of a large
    step for itself.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)


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
