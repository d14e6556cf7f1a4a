"""The whole verification of one training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nnc.backend import Backend
from nnc.backend import get as get_backend
from nnc.ir.program import Training
from nnc.passes.base import Pass
from nnc.passes.pipeline import pipeline_of
from nnc.train.initial import initial_state
from nnc.verify import freerun, streams
from nnc.verify.bisect import guilty_pass
from nnc.verify.cases import cases
from nnc.verify.lockstep import Lockstep
from nnc.verify.parts import Case, Emitted, Variant
from nnc.verify.probes import Fault
from nnc.verify.report import BackendReport, FreeRun, Report
from nnc.verify.smooth import is_smooth
from nnc.verify.twin import Arrays, widened

Notice = Callable[[str], None]


def verify(
    training: Training,
    backends: Mapping[str, Backend],
    *,
    steps: int = 20,
    bisect: bool = False,
    passes: Sequence[Pass] | None = None,
    notice: Notice = lambda text: None,
) -> Report:
    """Compare `backends` on the first `steps` cycles of each phase of `training`.

    `training` is as elaborated, not optimized; it is not changed.  With `bisect`, the one of
    `passes` (default: those that it was elaborated with) that brought a fault in is looked for.
    `notice` is told what comes next.
    """
    passes = pipeline_of(training).passes if passes is None else passes
    program, twin = (Variant.of(training, precision, passes) for precision in ("f32", "f64"))
    reference = _reference(program)
    notice(f"{training.name}: {min(steps, training.steps)} steps on the reference")
    calls = cases(program.optimized, reference, steps)
    faults: dict[str, Fault] = {}
    wide, narrow = (Lockstep(variant, backends, faults) for variant in (twin, program))
    for lockstep, chosen in ((wide, first_and_last(calls)), (narrow, calls)):
        for case in chosen:
            notice(f"{training.name}: {case.label}, {lockstep.variant.precision}")
            lockstep.compare(case)
    reports = [_report(name, wide, narrow, calls) for name in backends]
    smooth = all(is_smooth(s.graph) for p in program.optimized.phases for s in p.steps)
    start = reference.numpy(initial_state(program.optimized, reference.plan))
    notice(f"{training.name}: free runs")
    _free_runs(reports, wide, _reference(twin), widened(start), steps, True)
    _free_runs(reports, narrow, reference, start, steps, smooth)
    bad = wide.bad_pass
    return Report(
        program=training.file,
        training=training.name,
        steps=min(steps, training.steps),
        smooth=smooth,
        weights=[path for path, entry in training.state.items() if entry.kind != "optimizer"],
        order=streams.order_digest(training),
        passes=wide.passes,
        pass_fault=guilty_pass(twin, bad, passes) if bad is not None and bisect else None,
        bisected=bisect,
        backends=reports,
    )


def _reference(variant: Variant) -> Emitted:
    return Emitted(get_backend("numpy"), variant.optimized, f"reference_{variant.precision}")


def first_and_last(calls: list[Case]) -> list[Case]:
    """The first and the last call of each part: what is meant does not change on the way."""
    chosen: dict[object, tuple[int, int]] = {}
    for number, case in enumerate(calls):
        chosen[case.part] = (chosen.get(case.part, (number, 0))[0], number)
    numbers = sorted({number for pair in chosen.values() for number in pair})
    return [calls[number] for number in numbers]


def _report(name: str, wide: Lockstep, narrow: Lockstep, calls: list[Case]) -> BackendReport:
    """One backend's streams, and its steps in lockstep."""
    variant, backend = narrow.variant, narrow.backends[name]
    init = streams.compare_init(narrow.emitted[name], streams.initial_weights(variant.meaning))
    steps = [case for case in calls if case.part.kind == "step"]
    draws = streams.compare_draws(backend, variant.optimized, steps)
    return BackendReport(
        name,
        backend.version(),
        init,
        draws,
        {lockstep.variant.precision: lockstep.checks[name] for lockstep in (wide, narrow)},
        fault=draws.fault or init.fault or narrow.faults.get(name),
    )


def _free_runs(
    reports: list[BackendReport],
    lockstep: Lockstep,
    reference: Emitted,
    start: Arrays,
    steps: int,
    gate: bool,
) -> None:
    variant = lockstep.variant
    curve = freerun.run(reference, variant, start, steps)
    band = freerun.band(reference, variant, start, steps, curve, lockstep.errors) if gate else None
    for report in reports:
        found = freerun.run(lockstep.emitted[report.name], variant, start, steps)
        ratio, where = (None, "") if band is None else band.ratio(found)
        report.free[variant.precision] = FreeRun(curve.difference(found), ratio, where)
