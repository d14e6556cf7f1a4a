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
    left = iter(parts)  # each thread takes the next one when it is there: some wake late

    def run() -> None:
        for part in left:
            work(part)

    threads = [
        pool(os.getpid()).submit(contextvars.copy_context().run, run)
        for _ in range(1, min(cores(), len(parts)))
    ]
    run()
    for thread in threads:
        thread.result()


def short_rows(terms: int) -> int:
    """Up to how many rows OpenBLAS multiplies in one thread, with `terms` terms of a product each.

    Two products at a time are no quicker than one after the other where both have 2^19 terms or
    more: each waits for the threads of the other.
    """
    return (2**19 - 1) // max(terms, 1)
