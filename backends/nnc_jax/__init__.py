"""The JAX backend: prints a program as pure functions over a dict of arrays, for `jax.jit`.

It uses nnc's public contract, and the NumPy backend, which spells the initial values in every file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import nnc_numpy
from nnc_numpy.rewrites import rewrite

from nnc.backend import legalized
from nnc.emit import module_text
from nnc.ir.program import Step, Training
from nnc_jax.dialect import JAX

__all__ = ["JAX", "JaxBackend", "backend"]


class JaxBackend:
    """See `nnc.backend.Backend`."""

    name = JAX.name
    emitters: Mapping[str, Callable[..., Any]] = {**JAX.emitters, **JAX.statements}

    def keeps(self, step: Step) -> int:
        return 0

    def legal(self, training: Training) -> Training:
        return legalized(training, self, rewrite, nnc_numpy.backend)

    def emit(self, training: Training) -> str:
        return module_text(self.legal(training), JAX)

    def version(self) -> str:
        return f"jax {jax.__version__}"

    def devices(self) -> list[str]:
        """The platforms that JAX finds here, its own choice first."""
        found = [jax.default_backend(), "cpu"]
        if found[0] == "gpu":
            found.insert(1, jax.devices()[0].client.platform_version.split()[0].lower())
        return list(dict.fromkeys(found))

    def peak_bytes(self, step: Any, state: Any, batch: Any, scalars: Any) -> int:
        """What XLA has planned: arguments, what is neither an argument nor a result, results."""
        options = {"xla_disable_hlo_passes": "cse_barrier_expander"}  # as `runtime.compiled` does
        run = jax.jit(step.__wrapped__, donate_argnums=0, compiler_options=options)
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            planned: Any = run.lower(state, batch, scalars).compile().memory_analysis()
        arrays = planned.argument_size_in_bytes + planned.temp_size_in_bytes
        new = planned.output_size_in_bytes - planned.alias_size_in_bytes
        return int(arrays + new)


backend = JaxBackend()
