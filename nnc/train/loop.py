"""The training loop: cycles, evaluations, early stopping, checkpoints, and a clean end.

State lives here and nowhere else.  Borders (evaluations, records, checkpoints, signals) lie between
cycles; what happens at them depends on the counters alone, so a run that was interrupted anywhere
and resumed is the straight run to the bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from nnc.ir.program import Training
from nnc.language.diagnostics import NncError, error
from nnc.train import checkpoint, evaluate, nonfinite
from nnc.train.checkpoint import Checkpoint, State, copy_state
from nnc.train.counters import Counters, Window
from nnc.train.evaluate import Scores
from nnc.train.initial import initial_state
from nnc.train.layers import split, stack
from nnc.train.module import EvaluationPlan, Plan
from nnc.train.pace import Pace
from nnc.train.progress import Display
from nnc.train.rundir import RunDir
from nnc.train.runner import Runner

#: cycles between two records of the training loss; an evaluation makes one too
RECORD_EVERY = 50
#: cycles between two checks and copies of the state, from which a replay starts
GUARD_EVERY = 100
#: seconds between two checkpoints, or twenty times what the last one took if that is more
SAVE_SECONDS = 15.0

FINISHED, STOPPED_EARLY, INTERRUPTED = "finished", "stopped early", "interrupted"


@dataclass(frozen=True)
class Result:
    """How a run ended.  `state` is the best one where the program stops early, else the last."""

    reason: str  # FINISHED, STOPPED_EARLY or INTERRUPTED
    state: State
    counters: Counters
    scores: list[Scores]

    @property
    def best_step(self) -> int:
        return self.counters.best_step


@dataclass
class Loop:
    """One run of `plan`.  `run_dir` is None where nothing is to be written."""

    training: Training
    plan: Plan
    settings: Mapping[str, Any]  # goes into each checkpoint: seed, hashes of program and data
    run_dir: RunDir | None = None
    display: Display = field(default_factory=Display)
    stop_requested: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.runner = Runner(self.plan, self.training.sources, self.training.seed)
        self.counters = Counters()
        self.state: Any = None
        self.good: tuple[State, Counters] = ({}, self.counters)
        self.best: tuple[State, Counters] | None = None
        self.best_is_saved = True
        self.saved_at = time.monotonic()
        self.save_every = SAVE_SECONDS
        self.pace = Pace()

    # ------------------------------------------------------------ begin and end
    def resume(self, found: Checkpoint) -> None:
        """Go on from `found`, and the best state beside it, instead of from `init`."""
        self.state = self.plan.border.from_numpy(copy_state(stack(found.state, self.training)))
        self.counters = Counters.from_json(found.meta["counters"])
        if self.run_dir is None:
            return
        self.run_dir.keep_records(self.counters.records)
        path = self.run_dir.path / checkpoint.BEST
        if self.counters.best is not None and path.exists():
            loaded = checkpoint.load(path)
            then = Counters.from_json(loaded.meta["counters"])
            # A newer best than `found` knows of is met again on the way.
            if then.step == self.counters.best_step:
                self.best = stack(loaded.state, self.training), then

    def run(self) -> Result:
        """Train to the end, or to a request to stop; `NncError` where it cannot go on."""
        with np.errstate(all="ignore"):  # the loop itself looks for what is not finite
            if self.state is None:
                self.state = initial_state(self.training, self.plan)
            self.good = self._state_now(), self.counters.copy()
            self.display.start(self.plan.cycles, self.counters.step, self.training.steps_per_epoch)
            try:
                reason = self._cycles()
                self.save()
                scores = self._final_scores() if reason != INTERRUPTED else []
            except evaluate.Interrupted:
                reason, scores = INTERRUPTED, []
                self.save()
            except NncError:  # what was reached before can be gone on from
                self._save_good()
                raise
            finally:
                self.display.stop()
        return Result(reason, split(self._final_state()[0], self.training), self.counters, scores)

    def _cycles(self) -> str:
        while True:
            self._border()
            if self._out_of_patience():
                return STOPPED_EARLY
            if self.counters.step >= self.plan.cycles:
                return FINISHED
            if self.stop_requested():
                return INTERRUPTED
            self._advance()

    # ------------------------------------------------------------ steps
    def _advance(self) -> None:
        """Run some cycles, to the next border at most."""
        counters, runner = self.counters, self.runner
        cycles = [list(runner.cycle(counters, ahead)) for ahead in range(self._cycles_at_once())]
        began = time.monotonic()
        executions = [execution for cycle in cycles for execution in cycle]
        self.state, raw = runner.execute_all(self.state, executions, counters)
        self.pace.took(len(cycles), time.monotonic() - began)
        outs = iter(raw)
        for cycle in cycles:
            self._count_cycle([(step.name, next(outs)) for step, _ in cycle])
        if counters.step % GUARD_EVERY == 0:
            self._guard()

    def _cycles_at_once(self) -> int:
        """As many as the pace allows before something is due, where one call can run them."""
        at, phase = self.counters.step, self.plan.phase_at(self.counters.step)
        if len(phase.steps) > 1 or not self.runner.runs_many(phase.steps[0]):
            return 1
        intervals = [self._interval(e) for e in self.plan.evaluations if not self._is_final(e)]
        intervals += [RECORD_EVERY, GUARD_EVERY]
        rooms = [every - at % every for every in intervals]
        return min(self.pace.count, phase.first + phase.count - at, *rooms)

    def _count_cycle(self, raw: list[tuple[str, dict[str, Any]]]) -> None:
        """Note the outputs of a cycle, by section."""
        counters = self.counters
        outs: dict[str, dict[str, Any]] = {}
        for section, values in raw:
            out = {name: evaluate.number(value) for name, value in values.items()}
            loss, skipped = out.get("loss"), bool(out.pop("skipped", 0.0))
            if isinstance(loss, float) and not math.isfinite(loss) and not skipped:
                self._fail(counters.step + 1)
            if not skipped:  # else its loss is that of an overflow
                counters.windows.setdefault(section, Window()).add(out)
            outs[section] = out
        counters.step += 1
        self.display.step(counters.step, outs)

    def _guard(self) -> None:
        """Check that the state is finite and keep a copy of it."""
        state = self._state_now()
        if nonfinite.turned_bad(state, self.good[0]) is not None:
            self._fail(self.counters.step)
        self.good = state, self.counters.copy()

    def _state_now(self) -> State:
        """A copy of the state in NumPy's arrays."""
        return copy_state(self.plan.border.to_numpy(self.state))

    def _fail(self, end: int) -> NoReturn:
        """Find out what went wrong between the last good state and cycle `end`, and say so."""
        raise nonfinite.diagnose(self.runner, *self.good, end, self.training.file)

    # ------------------------------------------------------------ borders
    def _border(self) -> None:
        counters = self.counters
        due = [plan for plan in self.plan.evaluations if self._is_due(plan)]
        if due or counters.step % RECORD_EVERY == 0:
            self._record_windows()
        if due:
            scores = [self._evaluate(plan, self.state) for plan in due]
            counters.evaluated = counters.step
            for plan, result in zip(due, scores, strict=True):
                self._record_scores(plan, result, counters.step)
            self._keep_best(scores)
            self.display.scores(counters.step, scores)
        if time.monotonic() - self.saved_at > self.save_every:
            self.save()

    def _is_due(self, plan: EvaluationPlan) -> bool:
        step = self.counters.step
        if step == self.counters.evaluated or self._is_final(plan):
            return False
        return step % self._interval(plan) == 0 or step == self.plan.cycles

    def _interval(self, plan: EvaluationPlan) -> int:
        return plan.evaluation.every or self.training.steps_per_epoch

    def _is_final(self, plan: EvaluationPlan) -> bool:
        """Whether an evaluation waits for the end: all but `val` and what is asked for before."""
        stop, evaluation = self.training.stop, plan.evaluation
        watched = stop is not None and stop.split == evaluation.name
        return evaluation.split != "val" and evaluation.every is None and not watched

    def _evaluate(self, plan: EvaluationPlan, state: Any) -> Scores:
        source = self.training.sources[plan.evaluation.source]
        counts = {"step": self.counters.step, "updates": 0, "draw": self.counters.draw}
        counts["seed"] = self.training.seed
        return evaluate.evaluate(plan, state, source, counts, stop_requested=self.stop_requested)

    def _final_state(self) -> tuple[State, Counters]:
        """The best state where the program stops early, else the last one, which `save` copied."""
        if self.training.stop is not None and self.best is not None:
            return self.best
        return self.good

    def _final_scores(self) -> list[Scores]:
        best, counters = self._final_state()
        state = self.plan.border.from_numpy(copy_state(best))
        scores = []
        for plan in self.plan.evaluations:
            scores.append(self._evaluate(plan, state))
            if self._is_final(plan):
                self._record_scores(plan, scores[-1], counters.step)
        return scores

    def _keep_best(self, scores: list[Scores]) -> None:
        stop, counters = self.training.stop, self.counters
        if stop is None:
            return
        for result in scores:
            if result.name != stop.split:
                continue
            value = result.value(stop.metric)
            if value is None:
                watched = f"`{stop.split}.{stop.metric}`"
                raise error("E0702", f"`stop` watches {watched}, which is not one number")
            if _improves(value, counters.best, stop.mode):
                counters.best, counters.best_step = value, counters.step
                self._guard()
                self.best, self.best_is_saved = self.good, False

    def _out_of_patience(self) -> bool:
        stop, counters = self.training.stop, self.counters
        if stop is None or counters.evaluated != counters.step:
            return False
        return counters.step - counters.best_step >= stop.steps

    # ------------------------------------------------------------ files
    def _record_windows(self) -> None:
        windows, self.counters.windows = self.counters.windows, {}
        for section, window in windows.items():
            means = evaluate.split_outputs("train", window.means())
            more = {"section": section} if len(windows) > 1 else {}
            self._record(means, self.counters.step, "train", more)

    def _record_scores(self, plan: EvaluationPlan, scores: Scores, step: int) -> None:
        more = {"eval": scores.name} if scores.name not in ("val", "test") else {}
        self._record(scores, step, plan.evaluation.split, more)

    def _record(self, scores: Scores, step: int, split: str, more: Mapping[str, str]) -> None:
        epoch = step // self.training.steps_per_epoch
        row = {"step": step, "epoch": epoch, "split": split, **more}
        if self.run_dir is not None:
            self.run_dir.record({**row, "loss": scores.loss, "metrics": scores.metrics})
        self.counters.records += 1

    def save(self) -> None:
        """Write the state as it is now."""
        self._guard()
        began = time.monotonic()
        self._save_good()
        self.saved_at = time.monotonic()
        self.save_every = max(SAVE_SECONDS, 20 * (self.saved_at - began))

    def _save_good(self) -> None:
        """Write the best state, where it is new, and then the last, which may refer to it."""
        if self.best is not None and not self.best_is_saved:
            self._write(checkpoint.BEST, *self.best)
            self.best_is_saved = True
        self._write(checkpoint.LAST, *self.good)

    def _write(self, name: str, state: State, counters: Counters) -> None:
        if self.run_dir is not None:
            meta = {**self.settings, "counters": counters.to_json()}
            fitted = {name: source.fitted() for name, source in self.training.sources.items()}
            arrays = split(state, self.training)
            checkpoint.save(self.run_dir.path, Checkpoint(arrays, meta, fitted), name)


def _improves(value: float, best: float | None, mode: str) -> bool:
    if math.isnan(value):
        return False
    return best is None or (value < best if mode == "min" else value > best)
