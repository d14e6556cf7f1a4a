"""Planted faults: every one is found, and the op that is wrong is named with its line."""

from __future__ import annotations

from functools import cache

import pytest

from nnc.verify import Report, problems, verify
from tests.verify.faults import FAULTS
from tests.verify.planting import Misspelt, Planted
from tests.verify.programs import line_of, training


@cache
def report_on(program: str) -> Report:
    """All faulty backends of a program in one verification."""
    backends = {fault.name: fault for fault in FAULTS if fault.program == program}
    return verify(training(program), backends, steps=2, bisect=True)


@pytest.mark.parametrize("planted", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found_and_its_op_named(planted: Planted | Misspelt) -> None:
    report = report_on(planted.program)
    (found,) = (each for each in report.backends if each.name == planted.name)
    assert not found.passed
    assert found.fault is not None
    line = line_of(planted.program, planted.site.text)
    assert (found.fault.op, found.fault.place) == (planted.site.op, f"{planted.program}.nn:{line}")
    assert report.passes.passed
    assert found.fault.brought_in_by == ""


def test_there_are_at_least_thirty() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 30


def test_the_message_shows_the_line() -> None:
    report = report_on("norm")
    (message,) = (d.message for d in problems(report) if "`norm_eps`" in d.message)
    assert "`layer_norm` (`n`) in net.layer_norm_0 is the first value that differs" in message
