"""The best float32 matrix product of each framework, which is taken for the machine's peak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workloads import Arrays, Setup


class Gemm:
    unit = 1

    def __init__(self, product: Callable[[Any, Any], Any], x: Any, wait: Callable[[Any], Any]):
        self.product, self.x, self.wait = product, x, wait

    def run(self, steps: int) -> float:
        for _ in range(steps):
            y = self.wait(self.product(self.x, self.x))
        return float(y[0, 0])

    def weights(self) -> Arrays:
        return {}


def _square(setup: Setup) -> np.ndarray:
    n = int(setup.sizes["n"])
    return np.random.default_rng(0).random((n, n), dtype=np.float32)


def in_numpy(setup: Setup) -> Gemm:
    return Gemm(np.matmul, _square(setup), lambda y: y)


def in_torch(setup: Setup) -> Gemm:
    import torch

    return Gemm(torch.matmul, torch.from_numpy(_square(setup)), lambda y: y)


def in_jax(setup: Setup) -> Gemm:
    import jax

    product = jax.jit(lambda x, y: x @ y)
    return Gemm(product, jax.device_put(_square(setup)), jax.block_until_ready)
