"""Mixed precision is the same on every backend, and a backend that forgets a rounding is seen."""

from __future__ import annotations

import nnc_jax
import nnc_numpy
import nnc_torch
import numpy as np
import pytest

from nnc.ir.program import Training
from nnc.ir.types import TensorType
from nnc.passes.pipeline import optimize
from nnc.verify import verify
from nnc.verify.expected import expect
from nnc.verify.montecarlo import Machine
from nnc.verify.rounding import FORMATS, overflowed
from tests.passes.graphs import graph
from tests.verify import programs
from tests.verify.programs import PROGRAMS

BACKENDS = {b.name: b for b in (nnc_numpy.backend, nnc_jax.backend, nnc_torch.backend)}
MATRICES = {"contract": ((1,), (0,)), "batch": ((), ())}
OVERFLOWING = "loss      = 100 * cross_entropy(logits, points.y)\n  precision = f16"


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of other tests, with products in short floats."""
    texts = {}
    for name, text in PROGRAMS.items():
        for precision in ("bf16", "f16"):
            setting = f"precision = {precision}\n  optimizer"
            texts[f"{name}-{precision}"] = text.replace("optimizer", setting)
    overflowing = PROGRAMS["mlp"].replace(
        "loss      = cross_entropy(logits, points.y)", OVERFLOWING
    )
    assert overflowing != PROGRAMS["mlp"]
    monkeypatch.setattr(programs, "PROGRAMS", {**texts, "overflow": overflowing})


@pytest.mark.parametrize(
    "name", ["mlp-bf16", "conv-bf16", "lstm-bf16", "attention-bf16", "mlp-f16", "overflow"]
)
def test_backends_are_equal(name: str) -> None:
    report = verify(training(name), BACKENDS, steps=6)
    assert report.passes.passed
    for backend in report.backends:
        assert backend.passed, backend


def training(name: str) -> Training:
    return programs.training(name, evaluated=not name.startswith("lstm"))


def test_a_cast_that_is_left_out_is_no_fault_of_meaning() -> None:
    """It errs less than one that rounds, so it passes; one that rounds to less does not."""
    made = graph(lambda x: x.cast("bf16").cast("f32"), TensorType("f32", (64,)))
    x = np.random.default_rng(0).normal(size=64).astype(np.float32)
    machine = Machine(made)
    expected = expect(machine, Machine(made, expand=True), {"x0": x})
    assert expected.ratio("y0", x) <= 1
    assert expected.ratio("y0", x * (1 + 2.0**-9)) <= 1
    assert expected.ratio("y0", x * (1 + 2.0**-3)) > 1


def test_a_product_of_short_floats_is_rounded_once() -> None:
    """Its tolerance is that of one rounding, not of one for each of the 4096 terms."""
    types = TensorType("bf16", (1, 4096)), TensorType("bf16", (4096, 1))
    made = graph(lambda x, w: x.emit("dot", w, **MATRICES), *types)
    x = np.random.default_rng(0).normal(size=4096).astype(np.float16).astype(np.float32)
    given = {"x0": x.reshape(1, -1), "x1": np.ones((4096, 1), np.float32)}
    expected = expect(Machine(made), Machine(made, expand=True), given)
    unit = FORMATS["bf16"].unit * np.abs(expected.values["y0"])
    assert np.all(expected.spread["y0"] < 2 * unit)


@pytest.mark.parametrize(("dtype", "largest"), [("f16", 65504.0), ("f32", 3.4028234663852886e38)])
def test_what_is_beyond_a_type_is_an_infinity(dtype: str, largest: float) -> None:
    y = np.array([largest, -largest, 2 * largest, -2 * largest, np.nan])
    found = overflowed(y, FORMATS[dtype])
    np.testing.assert_array_equal(found, [largest, -largest, np.inf, -np.inf, np.nan])


def test_the_limit_is_where_rounding_begins_to_overflow() -> None:
    limit = FORMATS["f16"].limit
    with np.errstate(over="ignore"):
        assert np.float16(limit) == np.inf
        assert np.float16(np.nextafter(limit, 0)) < np.inf


def test_the_twin_has_no_casts() -> None:
    from nnc.verify.twin import in_float64

    twin = in_float64(programs.training("mlp-bf16"))
    for phase in twin.phases:
        for step in phase.steps:
            optimize(step.graph)
            assert not {"bf16", "f16", "f32"} & step.graph.dtypes
            dtypes = {n.attrs["dtype"] for n in step.graph if n.op == "cast" and n.type.is_float}
            assert dtypes <= {"f64"}
