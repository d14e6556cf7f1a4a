"""What each phase of the compiler and each pass costs and gives: `nnc compile --timings`.

A `Clock` is told by a `Pipeline` (its `around`) of all that begins and ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nnc.ir.graph import Graph

Path = tuple[str, ...]


@dataclass
class Row:
    """All runs of one phase, or of one pass inside one phase.

    `seconds` are those of the thing itself, without what ran inside it.  `before` and `after` count
    the nodes of the graphs that it ran on, those of bodies too, and `made` those that it added; all
    are 0 for a phase.
    """

    path: Path
    runs: int = 0
    seconds: float = 0.0
    before: int = 0
    after: int = 0
    made: int = 0

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def is_pass(self) -> bool:
        return len(self.path) > 1

    @property
    def gone(self) -> int:
        """The nodes that it removed: as a rule, each stood where another stands now."""
        return self.before + self.made - self.after


class Clock:
    """Rows in the order in which they first ran."""

    def __init__(self) -> None:
        self.rows: dict[Path, Row] = {}
        self._path: Path = ()
        self._inside = 0.0  # seconds of what ran inside what is running now

    @contextmanager
    def around(self, name: str, graph: Graph | None) -> Iterator[None]:
        """Time what runs inside; `graph` is the one that it changes, None for a phase."""
        entered = time.perf_counter()
        outer, self._path = self._path, (*self._path, name)
        inside, self._inside = self._inside, 0.0
        row = self.rows.setdefault(self._path, Row(self._path))
        before = measure(graph)
        start = time.perf_counter()
        try:
            yield
        finally:
            row.seconds += time.perf_counter() - start - self._inside
            after = measure(graph)
            row.runs += 1
            row.before += before.nodes
            row.after += after.nodes
            row.made += after.ids - before.ids
            self._path = outer
            self._inside = inside + time.perf_counter() - entered  # without the counting

    @property
    def seconds(self) -> float:
        return sum(row.seconds for row in self.rows.values())

    def named(self, name: str) -> float:
        """The seconds of all rows of this name."""
        return sum(row.seconds for row in self.rows.values() if row.name == name)


@dataclass(frozen=True)
class Size:
    """How many nodes a graph and its bodies have, and how many they have had."""

    nodes: int = 0
    ids: int = 0


def measure(graph: Graph | None) -> Size:
    if graph is None:
        return Size()
    bodies = {id(node.attrs["body"]): node.attrs["body"] for node in graph.holders()}
    inner = [measure(body) for body in bodies.values()]
    return Size(
        len(graph) + sum(size.nodes for size in inner),
        graph.next_id + sum(size.ids for size in inner),
    )
