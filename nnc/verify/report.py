"""What a verification found, as data: printed as a table or as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from nnc.verify.expected import SAFETY, SAMPLES
from nnc.verify.lockstep import Check
from nnc.verify.probes import Fault
from nnc.verify.streams import Stream


@dataclass(frozen=True)
class FreeRun:
    """Curves against those of the reference.

    `difference` is the largest relative one of the losses; `ratio` that of anything over its
    tolerance, None where it is no gate.
    """

    difference: float
    ratio: float | None = None
    where: str = ""

    @property
    def passed(self) -> bool:
        return self.ratio is None or self.ratio <= 1.0


@dataclass
class BackendReport:
    """One backend; `lockstep` and `free` by precision."""

    name: str
    version: str
    init: Stream
    draws: Stream
    lockstep: dict[str, Check] = field(default_factory=dict)
    free: dict[str, FreeRun] = field(default_factory=dict)
    fault: Fault | None = None

    @property
    def passed(self) -> bool:
        equal = self.init.equal and self.draws.equal
        steps = all(check.passed for check in self.lockstep.values())
        return equal and steps and all(free.passed for free in self.free.values())


@dataclass
class Report:
    """A training on all backends; `passes` is the optimized graph against the elaborated one.

    `weights` are the paths of weights and buffers, in the order of the program.
    """

    program: str
    training: str
    steps: int
    smooth: bool
    weights: list[str]
    order: dict[str, str]
    passes: Check
    pass_fault: Fault | None
    bisected: bool
    backends: list[BackendReport]

    @property
    def passed(self) -> bool:
        return self.passes.passed and all(backend.passed for backend in self.backends)

    def to_json(self) -> dict[str, Any]:
        return {
            "program": self.program,
            "training": self.training,
            "passed": self.passed,
            "steps": self.steps,
            "smooth": self.smooth,
            "tolerance": {"samples": SAMPLES, "safety": SAFETY},
            "order": self.order,
            "passes": _check(self.passes) | _fault(self.pass_fault),
            "backends": [_backend(backend) for backend in self.backends],
        }


def _backend(report: BackendReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "version": report.version,
        "passed": report.passed,
        "streams": {"init": _stream(report.init), "draws": _stream(report.draws)},
        "lockstep": {precision: _check(check) for precision, check in report.lockstep.items()},
        "free": {
            precision: {
                "difference": _number(free.difference),
                "ratio": None if free.ratio is None else _number(free.ratio),
                "where": free.where,
                "passed": free.passed,
            }
            for precision, free in report.free.items()
        },
        **_fault(report.fault),
    }


def _stream(stream: Stream) -> dict[str, Any]:
    return {"equal": stream.equal, "compared": stream.compared, "differs": stream.differs}


def _check(check: Check) -> dict[str, Any]:
    return {
        "ratio": _number(check.worst.ratio),
        "output": check.output,
        "at": check.worst.at,
        "errors": {
            name: {"error": _number(error.difference), "ratio": _number(error.ratio)}
            for name, error in check.errors.items()
        },
        "ties": check.ties,
        "calls": check.calls,
        "passed": check.passed,
    }


def _fault(fault: Fault | None) -> dict[str, Any]:
    if fault is None:
        return {}
    return {
        "fault": {
            "op": fault.op,
            "name": fault.name,
            "place": fault.place,
            "origin": [list(origin) for origin in fault.origin],
            "ratio": _number(fault.ratio),
            "where": fault.where,
            "pass": fault.brought_in_by,
        }
    }


def _number(value: float) -> float | str:
    """JSON has no infinity."""
    return value if math.isfinite(value) else str(value)
