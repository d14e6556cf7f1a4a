"""Free runs: whole curves, each backend going its own way from the same initial weights.

How far apart honest curves may come is measured, not guessed: the NumPy backend runs the same
training `SAMPLES` times with an error added to the state after each step, as large as one step's
rounding is by Monte Carlo arithmetic.  So a training that amplifies errors earns the tolerance that
it needs, at the step at which it needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nnc.train.counters import Counters
from nnc.train.runner import Runner
from nnc.verify.expected import SAFETY, SAMPLES, difference, over
from nnc.verify.parts import Emitted, Variant
from nnc.verify.twin import Arrays, widened

#: changes a state, in float64, after the execution of a step section
Disturb = Callable[[str, Arrays], Arrays]


@dataclass(frozen=True)
class Curve:
    """Loss and metrics of each execution, in float64, by name; and the state at the end."""

    values: dict[str, np.ndarray]
    state: Arrays


@dataclass(frozen=True)
class Band:
    """The reference curve, and the spread of disturbed ones around it."""

    curve: Curve
    spread: dict[str, np.ndarray]
    state_spread: Arrays

    def ratio(self, found: Curve) -> tuple[float, str]:
        """The largest difference over its tolerance, and where."""
        ratios = {
            f"{name} at step {_first(r)}": float(np.max(r, initial=0.0))
            for name, values in self.curve.values.items()
            for r in [over(difference(found.values[name], values), SAFETY * self.spread[name])]
        }
        for path, value in self.curve.state.items():
            error = difference(found.state[path], value)
            ratios[path] = float(np.max(over(error, SAFETY * self.state_spread[path]), initial=0.0))
        where = max(ratios, key=lambda key: ratios[key])
        return ratios[where], where

    def difference(self, found: Curve) -> float:
        """The largest relative difference of the losses."""
        losses = [name for name in self.curve.values if name.endswith("loss")]
        return max((_relative(found.values[n], self.curve.values[n]) for n in losses), default=0.0)


def _first(ratios: np.ndarray) -> int:
    """The step of the largest ratio; steps lie along the first axis."""
    return int(np.argmax(ratios.reshape(len(ratios), -1).max(axis=1, initial=0.0)))


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    scale = np.maximum(np.abs(b), np.finfo(np.float64).tiny)
    return float(np.max(difference(a, b) / scale, initial=0.0))


def run(
    emitted: Emitted, variant: Variant, start: Arrays, cycles: int, disturb: Disturb | None = None
) -> Curve:
    """The first `cycles` cycles of `emitted` from the state `start`."""
    training = variant.optimized
    sources = {name: _Source(source, variant) for name, source in training.sources.items()}
    runner = Runner(emitted.plan, sources, training.seed)
    counters, values = Counters(), {}
    state = emitted.native(start)
    with np.errstate(all="ignore"):
        while counters.step < min(cycles, emitted.plan.cycles):
            for step, at in runner.cycle(counters):
                state, out = runner.execute(state, step, at, counters)
                if disturb is not None:
                    state = emitted.native(disturb(step.name, emitted.numpy(state)))
                for name, value in out.items():
                    values.setdefault(f"{step.name}: {name}", []).append(np.float64(value))
            counters.step += 1
    curves = {name: np.array(column) for name, column in values.items()}
    return Curve(curves, emitted.numpy(state))


def band(
    reference: Emitted, variant: Variant, start: Arrays, cycles: int, spreads: dict[str, Arrays]
) -> Band:
    """The curve of `reference` with its spread; `spreads` are those of one step, by section.

    The spread of a curve at a step is the largest so far: curves that cross have not come together.
    """
    curve = run(reference, variant, start, cycles)
    samples = [
        run(reference, variant, start, cycles, _disturbing(seed, spreads))
        for seed in range(SAMPLES)
    ]
    spread = {
        name: np.maximum.accumulate(_rms([s.values[name] for s in samples], center))
        for name, center in curve.values.items()
    }
    state = {p: _rms([s.state[p] for s in samples], center) for p, center in curve.state.items()}
    return Band(curve, spread, state)


def _rms(samples: list[np.ndarray], center: np.ndarray) -> np.ndarray:
    total = sum(difference(sample, center) ** 2 for sample in samples)
    root: np.ndarray = np.sqrt(total / len(samples))
    return root


def _disturbing(seed: int, spreads: dict[str, Arrays]) -> Disturb:
    rng = np.random.default_rng(seed)

    def disturb(section: str, state: Arrays) -> Arrays:
        changed = dict(state)
        for path, spread in spreads.get(section, {}).items():
            if path in state and state[path].dtype.kind == "f":
                error = spread * rng.standard_normal(spread.shape)
                changed[path] = (state[path] + error).astype(state[path].dtype)
        return changed

    return disturb


class _Source:
    """A data source whose batches have the floats of `variant`."""

    def __init__(self, source: object, variant: Variant):
        self.source = source
        self.widen = variant.precision == "f64"

    def train_batch(self, index: int, seed: int) -> Arrays:
        batch: Arrays = self.source.train_batch(index, seed)  # type: ignore[attr-defined]
        return widened(batch) if self.widen else batch
