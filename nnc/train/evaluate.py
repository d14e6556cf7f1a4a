"""Loss and metrics over a whole part of the data, every sample once (semantics 12 and 18)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnc.ir import host
from nnc.train.module import EvaluationPlan

Number = float | list[Any]

#: how the accumulators of two batches become one, by `Evaluation.merge`
MERGE: dict[str, Callable[[Any, Any], Any]] = {
    "sum": np.add,
    "max": np.maximum,
    "min": np.minimum,
}


class Interrupted(Exception):
    """The user asked to stop while an evaluation ran; its partial sums are dropped."""


@dataclass(frozen=True)
class Scores:
    """Results of one evaluation; a metric is a number, or nested lists where it is an array."""

    name: str
    loss: float | None
    metrics: dict[str, Number]

    def value(self, metric: str) -> float | None:
        """`loss` or a metric by name, where it is one number."""
        value = self.loss if metric == "loss" else self.metrics.get(metric.removeprefix("metrics/"))
        return value if isinstance(value, float) else None


def number(value: Any) -> Number:
    """A Python float, or nested lists of them, from whatever a backend returns."""
    return np.asarray(value, np.float64).tolist()


def split_outputs(name: str, out: Mapping[str, Any]) -> Scores:
    """The outputs `loss` and `metrics/NAME` of an emitted function as `Scores`."""
    values = {key: number(value) for key, value in out.items()}
    loss = values.pop("loss", None)
    metrics = {key.removeprefix("metrics/"): value for key, value in values.items()}
    return Scores(name, loss if isinstance(loss, float) else None, metrics)


def evaluate(
    plan: EvaluationPlan,
    state: Any,
    source: Any,
    counters: Mapping[str, int],
    split: str | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Scores:
    """Run an evaluation on `split` (its own by default) of `source`; `state` is only read."""
    evaluation = plan.evaluation
    split = split or evaluation.split
    scalars = {name: host.evaluate(expr, counters) for name, expr in evaluation.scalars.items()}
    merged: dict[str, Any] = {}
    parts: dict[str, list[Any]] = {}
    for batch in source.batches(split):
        if stop_requested():
            raise Interrupted
        for name, value in plan.batch(state, batch, scalars).items():
            how = evaluation.merge[name]
            if how == "collect":
                parts.setdefault(name, []).append(value)
            else:
                merged[name] = MERGE[how](merged[name], value) if name in merged else value
    merged |= {name: np.concatenate(values) for name, values in parts.items()}
    name = evaluation.name if split == evaluation.split else split
    return split_outputs(name, plan.finish(state, merged, scalars, len(source.rows(split))))
