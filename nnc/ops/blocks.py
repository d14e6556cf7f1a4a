"""How NumPy computes much at once: in products of a good size, and on several cores.

Copied into emitted files as it stands, so it depends on NumPy and Python alone.
"""

from __future__ import annotations

import contextvars
import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def pool(process: int) -> ThreadPoolExecutor:
    """The threads of a process; one that it forks has none of them and gets its own."""
    return ThreadPoolExecutor(max(1, cores() - 1))


def in_threads(work: Callable[[Any], object], parts: Iterable[Any]) -> None:
    """`work` of each part, on all cores: NumPy holds no lock while it computes.

    That pays where one part takes a hundred microseconds; parts must not depend on each other.
    """
    parts = list(parts)
    count = min(cores(), len(parts) // 2)

    def run(first: int) -> None:
        for part in parts[first :: max(count, 1)]:
            work(part)

    threads = pool(os.getpid()) if count > 1 else None
    started = [
        threads.submit(contextvars.copy_context().run, run, first)
        for first in range(1, count)
        if threads
    ]
    run(0)
    for thread in started:
        thread.result()


def short_runs(rows: int, size: int) -> int:
    """How many rows of a long matrix to multiply at a time with one of `size` elements.

    OpenBLAS packs its operands, which takes longer than to multiply with a narrow matrix, except
    in products of less than a million terms; it computes these in one thread.
    """
    count = rows
    while count % 2 == 0 and count * size > 10**6:
        count //= 2
    return count if count >= 16 and count * size <= 10**6 else rows


def times_narrow(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """out = x [N, K] @ y [K, M] for small K and M."""
    count = short_runs(len(x), y.size)
    np.matmul(x.reshape(-1, count, x.shape[1]), y, out=out.reshape(-1, count, y.shape[1]))


def narrow_times_narrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x^T @ y for x [N, K] and y [N, M] with small K and M."""
    count = short_runs(len(x), x.shape[1] * y.shape[1])
    if count == len(x):
        return x.T @ y
    runs = x.reshape(-1, count, x.shape[1]).swapaxes(1, 2) @ y.reshape(-1, count, y.shape[1])
    total: np.ndarray = np.add.reduce(runs)
    return total
