"""The whole verification of one training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nnc.backend import Backend
from nnc.backend import get as get_backend
from nnc.ir.program import Training
from nnc.passes.base import Pass
from nnc.passes.pipeline import DEFAULT
from nnc.train.initial import initial_state
from nnc.verify import freerun, streams
from nnc.verify.bisect import guilty_pass
from nnc.verify.cases import cases
from nnc.verify.lockstep import Lockstep
from nnc.verify.parts import Case, Emitted, Variant
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
    passes: Sequence[Pass] = DEFAULT,
    notice: Notice = lambda text: None,
) -> Report:
    """Compare `backends` on the first `steps` cycles of each phase of `training`.

    `training` is as elaborated, not optimized; it is not changed.  With `bisect`, the one of
    `passes` that brought a fault in is looked for.  `notice` is told what comes next.
    """
    program = Variant.of(training, "f32", passes)
    reference = Emitted(get_backend("numpy"), program.optimized, "reference")
    notice(f"{training.name}: {min(steps, training.steps)} steps on the reference")
    calls = cases(program.optimized, reference, steps)
    twin = Variant.of(training, "f64", passes)
    wide = Emitted(get_backend("numpy"), twin.optimized, "reference_f64")
    found = {}
    for variant, chosen in ((program, calls), (twin, first_and_last(calls))):
        found[variant.precision] = lockstep = Lockstep(variant, backends)
        for case in chosen:
            notice(f"{training.name}: {case.label}, {variant.precision}")
            lockstep.compare(case)
    reports = [_streams(name, backend, program, calls) for name, backend in backends.items()]
    smooth = all(is_smooth(s.graph) for p in program.optimized.phases for s in p.steps)
    start = reference.numpy(initial_state(program.optimized, reference.plan))
    for variant, emitted, state, gate in (
        (twin, wide, widened(start), True),
        (program, reference, start, smooth),
    ):
        notice(f"{training.name}: free runs, {variant.precision}")
        lockstep = found[variant.precision]
        for report in reports:
            report.lockstep[variant.precision] = lockstep.checks[report.name]
            report.fault = report.fault or lockstep.faults.get(report.name)
        _free_runs(reports, lockstep, emitted, state, steps, gate)
    bad = found["f64"].bad_pass
    fault = guilty_pass(twin, bad, passes) if bad is not None and bisect else None
    return Report(
        training.file,
        training.name,
        min(steps, training.steps),
        smooth,
        streams.order_digest(training),
        found["f64"].passes,
        fault,
        bisect,
        reports,
    )


def first_and_last(calls: list[Case]) -> list[Case]:
    """The first and the last call of each part: what is meant does not change on the way."""
    chosen: dict[object, tuple[int, int]] = {}
    for number, case in enumerate(calls):
        chosen[case.part] = (chosen.get(case.part, (number, 0))[0], number)
    numbers = sorted({number for pair in chosen.values() for number in pair})
    return [calls[number] for number in numbers]


def _streams(name: str, backend: Backend, program: Variant, calls: list[Case]) -> BackendReport:
    """A report with the streams of one backend."""
    training = program.optimized
    emitted = Emitted(backend, training, name)
    init = streams.compare_init(emitted, streams.initial_weights(program.meaning))
    steps = [case for case in calls if case.part.kind == "step"]
    draws = streams.compare_draws(backend, training, steps)
    return BackendReport(name, backend.version(), init, draws, fault=draws.fault or init.fault)


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
