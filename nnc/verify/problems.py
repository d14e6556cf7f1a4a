"""What failed in a verification, as diagnostics: the op to blame at its line in the program."""

from __future__ import annotations

from collections.abc import Iterator

from nnc.language.diagnostics import Diagnostic, Label
from nnc.train.places import in_library, span_of
from nnc.verify.probes import Fault
from nnc.verify.report import BackendReport, Report

CODE = "E0906"


def problems(report: Report) -> list[Diagnostic]:
    """One diagnostic for the passes and one for each backend that failed."""
    found = [_passes(report)] if not report.passes.passed else []
    return found + [_backend(report, each) for each in report.backends if not each.passed]


def _passes(report: Report) -> Diagnostic:
    fault = report.pass_fault
    if fault is None:
        output, worst = report.passes.output, report.passes.worst
        return Diagnostic(
            CODE,
            f"the passes change `{output}` in {worst.at}: it is {_times(worst.ratio)} off",
            help="`--bisect` names the pass",
        )
    message = f"the pass `{fault.brought_in_by}` changes what {_op(fault)} gives, in {fault.where}"
    return _at(fault, message, report.program, "please report it with the program")


def _backend(report: Report, backend: BackendReport) -> Diagnostic:
    fault = backend.fault
    if fault is None:
        return Diagnostic(CODE, next(_gates(backend)))
    if fault.op == "init":
        message = f"`{backend.name}` begins with other weights: {fault.where} differs"
        return _at(fault, message, report.program, "")
    message = (
        f"`{backend.name}` computes something else: {_op(fault)} is the first value that differs, "
        f"by {_times(fault.ratio)}, in {fault.where}"
    )
    innocent = report.bisected and report.passes.passed
    spelling = f"no pass is to blame, but how `{backend.name}` spells `{fault.op}`"
    return _at(fault, message, report.program, spelling if innocent else "")


def _gates(backend: BackendReport) -> Iterator[str]:
    """The gates of a backend that failed although no single call did."""
    for precision, free in backend.free.items():
        if not free.passed and free.ratio is not None:
            yield (
                f"`{backend.name}` leaves the reference in a free run in {precision}: "
                f"{free.where} is {_times(free.ratio)} off"
            )
    for precision, check in backend.lockstep.items():
        if not check.passed:
            yield (
                f"`{backend.name}` computes another `{check.output}` in {check.worst.at}, "
                f"{precision}: it is {_times(check.worst.ratio)} off"
            )


def _op(fault: Fault) -> str:
    name = f" (`{fault.name}`)" if fault.name else ""
    scope = next((f" in {origin.scope}" for origin in fault.origin if origin.scope), "")
    return f"`{fault.op}`{name}{scope}"


def _times(ratio: float) -> str:
    return f"{ratio:.3g} tolerances" if ratio < float("inf") else "more than any tolerance"


def _at(fault: Fault, message: str, program: str, help: str) -> Diagnostic:
    """The user's own line comes first, the standard library's after it."""
    origins = sorted(fault.origin, key=in_library)
    spans = [span for origin in origins if (span := span_of(origin, program)) is not None]
    labels = tuple(Label(span, "inside this") for span in spans[1:])
    return Diagnostic(CODE, message, spans[0] if spans else None, labels, help)
