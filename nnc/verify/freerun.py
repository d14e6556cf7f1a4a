"""Free runs: whole curves, each backend going its own way from the same initial weights.

How far apart honest curves may come is measured, not guessed: the NumPy backend runs the same
training `SAMPLES` times with an error added to the state after each step, as large as one step's
rounding is by Monte Carlo arithmetic.  So a training that amplifies errors earns the tolerance that
it needs, at the step at which it needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    """The loss of each execution, in float64, by step section; and the state at the end."""

    losses: dict[str, np.ndarray]
    state: Arrays

    def difference(self, other: Curve) -> float:
        """The largest difference of the losses, relative to those of this curve."""
        pairs = ((losses, other.losses[section]) for section, losses in self.losses.items())
        return max(float(np.max(over(difference(b, a), np.abs(a)))) for a, b in pairs)


@dataclass(frozen=True)
class Band:
    """The reference curve, and the spread of disturbed ones around it."""

    curve: Curve
    spread: Curve

    def ratio(self, found: Curve) -> tuple[float, str]:
        """The largest difference over its tolerance, and where."""
        ratios: dict[str, float] = {}
        for section, losses in self.curve.losses.items():
            error = difference(found.losses[section], losses)
            ratio = over(error, SAFETY * self.spread.losses[section])
            ratios[f"loss of {section} number {int(np.argmax(ratio))}"] = float(np.max(ratio))
        for path, value in self.curve.state.items():
            error = difference(found.state[path], value)
            ratio = over(error, SAFETY * self.spread.state[path])
            ratios[f"{path} at the end"] = float(np.max(ratio, initial=0.0))
        where = max(ratios, key=lambda key: ratios[key])
        return ratios[where], where


def run(
    emitted: Emitted, variant: Variant, start: Arrays, cycles: int, disturb: Disturb | None = None
) -> Curve:
    """The first `cycles` cycles of `emitted` from the state `start`."""
    training = variant.optimized
    sources = {name: _Source(source, variant) for name, source in training.sources.items()}
    runner = Runner(emitted.plan, sources, training.seed)
    counters = Counters()
    losses: dict[str, list[np.float64]] = {}
    state = emitted.native(start)
    with np.errstate(all="ignore"):
        while counters.step < min(cycles, emitted.plan.cycles):
            for step, at in runner.cycle(counters):
                state, out = runner.execute(state, step, at, counters)
                if disturb is not None:
                    state = emitted.native(disturb(step.name, emitted.numpy(state)))
                losses.setdefault(step.name, []).append(np.float64(out["loss"]))
            counters.step += 1
    return Curve({name: np.array(column) for name, column in losses.items()}, emitted.numpy(state))


def band(
    reference: Emitted,
    variant: Variant,
    start: Arrays,
    cycles: int,
    curve: Curve,
    errors: Mapping[str, Arrays],
) -> Band:
    """`curve`, that of `reference`, with its spread; `errors` are those of a step, by section.

    The spread of a loss is the largest so far, since curves that cross have not come together.  To
    it comes the error of the last step itself, which may be too small to change a float32.
    """
    samples = [
        run(reference, variant, start, cycles, _disturbing(seed, errors)) for seed in range(SAMPLES)
    ]
    losses = {}
    for section, center in curve.losses.items():
        spread = _rms([sample.losses[section] for sample in samples], center)
        losses[section] = np.hypot(np.maximum.accumulate(spread), errors[section]["@loss"])
    state = {}
    for path, center in curve.state.items():
        own = [sizes[path] for sizes in errors.values() if path in sizes]
        spread = _rms([sample.state[path] for sample in samples], center)
        state[path] = np.hypot(spread, np.max(own, axis=0, initial=0.0)) if own else spread
    return Band(curve, Curve(losses, state))


def _rms(samples: list[np.ndarray], center: np.ndarray) -> np.ndarray:
    total = sum(difference(sample, center) ** 2 for sample in samples)
    root: np.ndarray = np.sqrt(total / len(samples))
    return root


def _disturbing(seed: int, errors: Mapping[str, Arrays]) -> Disturb:
    rng = np.random.default_rng(seed)

    def disturb(section: str, state: Arrays) -> Arrays:
        changed = dict(state)
        for path, size in errors[section].items():
            if path in state and state[path].dtype.kind == "f":
                error = size * rng.standard_normal(size.shape)
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
