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


def short_runs(rows: int, depth: int, columns: int) -> int:
    """How many of the `rows` rows [depth] of a long matrix to multiply at a time with few columns.

    OpenBLAS packs its operands, which takes longer than to multiply with a narrow matrix, except
    in products of less than a million terms; it computes these in one thread.  They are fastest
    where the rows lie in the first cache.
    """
    count = rows
    while count % 2 == 0 and (count * depth * columns > 10**6 or count * depth > 8192):
        count //= 2
    return count if count >= 16 and count * depth * columns <= 10**6 else rows


def times_narrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x [B, N, K] @ y [K, M] for small K and M."""
    batch, rows, depth = x.shape
    count = short_runs(rows, depth, y.shape[1])
    return (x.reshape(batch, -1, count, depth) @ y).reshape(batch, rows, -1)


def narrow_times_narrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The sum of x^T @ y over stacks x [B, N, K] and y [B, N, M] with small K and M."""
    (batch, rows, depth), columns = x.shape, y.shape[-1]
    count = short_runs(rows, depth, columns)
    left, right = (each.reshape(batch, -1, count, each.shape[-1]) for each in (x, y))
    total: np.ndarray = np.add.reduce(left.swapaxes(-1, -2) @ right, axis=(0, 1))
    return total
