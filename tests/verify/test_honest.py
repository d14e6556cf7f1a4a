"""Honest backends pass: other orders of summation, other kernels, more precision."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from nnc import backend as backends
from nnc.backend import Backend
from nnc.elaborate import load
from nnc.language.diagnostics import NncError
from nnc.verify import Report, verify
from tests.verify.peers import PEERS
from tests.verify.programs import PROGRAMS, training

MODELS = Path(__file__).parents[2] / "models"


@cache
def report_on(program: str) -> Report:
    return verify(training(program), {peer.name: peer for peer in PEERS}, steps=11)


@pytest.mark.parametrize("peer", [peer.name for peer in PEERS])
@pytest.mark.parametrize("program", PROGRAMS)
def test_another_rounding_is_no_fault(program: str, peer: str) -> None:
    report = report_on(program)
    (found,) = (each for each in report.backends if each.name == peer)
    assert report.passes.passed
    assert found.passed, found


def test_peers_do_round_otherwise() -> None:
    """Else the tests above would say nothing."""
    reports = [report_on(program) for program in PROGRAMS]
    for number, peer in enumerate(PEERS[1:], 1):
        apart = [r.backends[number].free["f32"].difference for r in reports]
        assert max(apart) > 0, peer.name


def installed() -> dict[str, Backend]:
    """The backends whose frameworks are here."""
    found = {}
    for name in backends.installed():
        try:
            found[name] = backends.get(name)
        except NncError as missing:
            assert missing.diagnostics[0].code == "E0902"  # noqa: PT017
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "name"),
    [
        pytest.param(path, name, id=f"{path.stem}-{name}")
        for path in sorted(MODELS.glob("*.nn"))
        for name in load(str(path)).trainings
    ],
)
def test_every_model_trains_the_same_on_every_backend(path: Path, name: str) -> None:
    steps = 1 if path.stem == "char_rnn" else 3
    report = verify(load(str(path)).training(name), installed(), steps=steps)
    assert report.passed, report
    ratios = [check.worst.ratio for each in report.backends for check in each.lockstep.values()]
    assert np.max(ratios) < 1
