"""Where a run stands: everything besides the state that the next step depends on.

It is written into each checkpoint as JSON, so it holds numbers, strings, lists and dicts alone.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Window:
    """Sums of one step section's outputs since the last record."""

    count: int = 0
    sums: dict[str, Any] = field(default_factory=dict)

    def add(self, out: dict[str, Any]) -> None:
        self.count += 1
        for name, value in out.items():
            if isinstance(value, list):
                before = self.sums.get(name)
                total = np.array(value) if before is None else np.array(before) + np.array(value)
                self.sums[name] = total.tolist()
            else:
                self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, Any]:
        return {k: (np.array(v) / self.count).tolist() for k, v in self.sums.items()}


@dataclass
class Counters:
    """`step` counts cycles over the whole run, `draw` executed steps (it names random draws)."""

    step: int = 0
    draw: int = 0
    updates: dict[str, int] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)  # batches taken from each source
    evaluated: int = 0  # the last step at which due evaluations were run
    best: float | None = None
    best_step: int = 0  # patience counts from here
    windows: dict[str, Window] = field(default_factory=dict)
    records: int = 0  # lines of metrics.jsonl

    def copy(self) -> Counters:
        return copy.deepcopy(self)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Counters:
        windows = {name: Window(**window) for name, window in fields["windows"].items()}
        return cls(**{**fields, "windows": windows})
