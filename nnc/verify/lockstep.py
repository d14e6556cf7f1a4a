"""Lockstep: one call on each backend from the same inputs, against the same call in float64.

In the program's own precision it judges a backend's kernels.  In float64, where tolerances are
nine digits smaller, it judges what the printed source means; and there the graph that the passes
made is compared with the graph they were given, so that a fault of a pass is no backend's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nnc.backend import Backend
from nnc.verify.expected import Error, Expected, expect
from nnc.verify.loops import inside
from nnc.verify.montecarlo import Machine
from nnc.verify.parts import Case, Emitted, Inputs, Variant
from nnc.verify.probes import Examination, Fault, examine
from nnc.verify.twin import Arrays


@dataclass(frozen=True)
class Check:
    """The largest error of each output, and how many decisions fell otherwise in how many calls.

    A decision (a comparison, the place of a maximum) may fall otherwise where it hangs on a
    rounding; what follows from it is then expected.
    """

    errors: Mapping[str, Error] = field(default_factory=dict)
    ties: int = 0
    calls: int = 0

    @property
    def output(self) -> str:
        """The output that is farthest off, without its `@`."""
        worst = max(self.errors, key=lambda name: self.errors[name].ratio, default="")
        return worst.removeprefix("@")

    @property
    def worst(self) -> Error:
        return max(self.errors.values(), key=lambda error: error.ratio, default=Error())

    @property
    def passed(self) -> bool:
        return self.worst.ratio <= 1.0

    def __or__(self, other: Check) -> Check:
        """Both checks as one."""
        errors = dict(self.errors)
        for name, error in other.errors.items():
            if name not in errors or errors[name].ratio < error.ratio:
                errors[name] = error
        return Check(errors, self.ties + other.ties, self.calls + other.calls)


@dataclass(frozen=True)
class Machines:
    """A part as it is meant, after the passes, and after them with its composites taken apart."""

    meaning: Machine
    optimized: Machine
    arithmetic: Machine


class Lockstep:
    """The calls of one variant of a training, on all backends.

    `faults` are those known by backend; where one is, no other is looked for.
    """

    def __init__(self, variant: Variant, backends: Mapping[str, Backend], faults: dict[str, Fault]):
        self.variant = variant
        self.backends = backends
        self.faults = faults
        self.emitted = {
            name: Emitted(backend, variant.optimized, f"{name}_{variant.precision}")
            for name, backend in backends.items()
        }
        self.machines: dict[object, Machines] = {}
        self.checks = {name: Check() for name in backends}
        self.passes = Check()
        self.bad_pass: Case | None = None
        self.errors: dict[str, Arrays] = {}  # by step section: the largest spread of its outputs

    def compare(self, case: Case) -> None:
        """One call on every backend."""
        inputs = self.variant.inputs(case)
        machines = self._machines(case, inputs)
        expected = expect(machines.meaning, machines.arithmetic, inputs.by_name)
        if self.variant.precision == "f64":
            check = checked(case, expected, machines.optimized.run(inputs.by_name))
            if not check.passed and self.bad_pass is None:
                self.bad_pass = case
            self.passes |= check
        if case.part.kind == "step":
            before = self.errors.get(case.part.label, {})
            self.errors[case.part.label] = {
                name: np.maximum(before.get(name, 0.0), spread)
                for name, spread in expected.spread.items()
            }
        for name, emitted in self.emitted.items():
            self._judge(name, case, expected, emitted.run(case.part, inputs))

    def _machines(self, case: Case, inputs: Inputs) -> Machines:
        key = case.part, tuple(inputs.sizes.items())
        if key not in self.machines:
            graph, sizes = case.part.graph(self.variant.optimized), inputs.sizes
            self.machines[key] = Machines(
                Machine(case.part.graph(self.variant.meaning), sizes=sizes),
                Machine(graph, sizes=sizes),
                Machine(graph, expand=True, sizes=sizes),
            )
        return self.machines[key]

    def _judge(self, name: str, case: Case, expected: Expected, found: Arrays) -> None:
        check = checked(case, expected, found)
        if not check.passed and name not in self.faults:
            looked = examine(self.backends[name], self.variant, case, found)
            check = Check(looked.errors, len(looked.pins), 1)
            if not check.passed and looked.fault is not None:
                self.faults[name] = self._in_loops(name, case, looked, looked.fault)
        self.checks[name] |= check

    def _in_loops(self, name: str, case: Case, looked: Examination, fault: Fault) -> Fault:
        """`fault`, or the op to blame in the body of the loop that it blames."""
        if fault.op != "scan" or looked.node is None:
            return fault
        return inside(self.backends[name], self.variant, case, looked.node, looked.pins, fault)


def checked(case: Case, expected: Expected, found: Mapping[str, np.ndarray]) -> Check:
    """The errors of one call."""
    return Check(expected.errors({name: found[name] for name in expected.values}, case.label), 0, 1)
