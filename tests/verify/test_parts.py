"""The pieces of a verification: points, cases, streams, smoothness, ties, free runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnc_numpy import NumpyBackend, backend

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Value
from nnc.ir.program import Training
from nnc.ir.types import TensorType
from nnc.verify import freerun, streams, verify
from nnc.verify.cases import cases, points
from nnc.verify.expected import Expected
from nnc.verify.parts import Emitted, Inputs, Variant
from nnc.verify.probes import first_wrong, probe_name, probed, probed_value
from nnc.verify.smooth import is_smooth
from nnc.verify.twin import in_float64
from tests.verify.programs import PROGRAMS, training


def variant_of(name: str, evaluated: bool = False) -> tuple[Variant, Emitted]:
    variant = Variant.of(training(name, evaluated))
    return variant, Emitted(backend, variant.optimized, "test")


# ---------------------------------------------------------------- which calls
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 10_000))
def test_points_thin_out(cycles: int) -> None:
    found = points(cycles)
    assert found == [
        p for p in (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if p < cycles
    ]


def test_every_part_is_called() -> None:
    variant, emitted = variant_of("mlp", evaluated=True)
    found = cases(variant.optimized, emitted, 3)
    assert [case.label for case in found if case.part.kind == "step"] == [
        "step at step 0", "step at step 1", "step at step 2",
    ]  # fmt: skip
    assert {case.part.kind for case in found} == {"step", "batch", "finish", "forward"}


def test_alternating_steps_are_called_both() -> None:
    variant, emitted = variant_of("pair")
    labels = [case.label for case in cases(variant.optimized, emitted, 2)]
    assert labels == ["up at step 0", "down at step 0", "up at step 1", "down at step 1"]


def test_every_phase_is_reached() -> None:
    once = training("mlp")
    phase = once.phases[0]
    twice = replace(once, phases=[phase, replace(phase, name="more", steps=[*phase.steps])])
    variant = Variant.of(twice)
    found = cases(variant.optimized, Emitted(backend, variant.optimized, "test"), 2)
    assert [case.at for case in found] == ["step 0", "step 1", "step 40", "step 41"]


# ---------------------------------------------------------------- streams
class OtherWeights(NumpyBackend):
    """Draws initial weights from other streams."""

    def emit(self, training: Training) -> str:
        return super().emit(training).replace('"init/', '"weights/')


def test_other_initial_weights_are_found() -> None:
    report = verify(training("mlp"), {"numpy": backend, "other": OtherWeights()}, steps=1)
    numpy, other = report.backends
    assert numpy.init.equal
    assert other.init.differs == "net.dense_0.w"
    assert other.fault is not None
    assert other.fault.op == "init"
    assert other.lockstep["f32"].passed
    assert not other.passed


def test_words_of_a_stream_are_compared_to_the_bit() -> None:
    variant, emitted = variant_of("mlp")
    found = streams.compare_draws(backend, variant.optimized, cases(variant.optimized, emitted, 3))
    assert (found.compared, found.differs) == (3, "")


def test_digests_tell_types_shapes_and_bytes_apart() -> None:
    one = np.ones((2, 3), np.float32)
    others = [one.reshape(3, 2), one.astype(np.float64), one * 2, one.view(np.int32)]
    assert len({streams.digest(x) for x in [one, *others]}) == 5
    assert streams.digest(np.asfortranarray(one)) == streams.digest(one)


# ---------------------------------------------------------------- smoothness
@pytest.mark.parametrize(
    ("name", "smooth"),
    [
        ("norm", True),
        ("lstm", True),
        ("mlp", False),  # relu
        ("conv", False),  # relu and max-pooling
        ("attention", False),  # Lion's sign
        ("pair", False),  # huber's border
    ],
)
def test_decisions_about_weights_make_a_step_jump(name: str, smooth: bool) -> None:
    steps = [
        step.graph for phase in Variant.of(training(name)).optimized.phases for step in phase.steps
    ]
    assert all(map(is_smooth, steps)) == smooth


def test_a_mask_that_is_drawn_is_no_decision() -> None:
    builder = Builder(Graph("step"))
    x = builder.input("x", TensorType("f32", (3,)), "batch")
    w = builder.input("w", TensorType("f32", (3,)), "state")
    builder.graph.outputs = {"w": (x > 0.0).where(w * 0.9, w).value}
    assert is_smooth(builder.graph)
    builder.graph.outputs["@metrics/positive"] = (w > 0.0).cast("f32").sum((0,)).value
    assert is_smooth(builder.graph)


# ---------------------------------------------------------------- looking inside
def decision() -> tuple[Graph, Value, Value]:
    """A graph `y = x * x > 1`, probed."""
    builder = Builder(Graph("g"))
    x = builder.input("x", TensorType("f32", (2,)))
    square = x * x
    over = square > 1.0
    builder.graph.outputs = {"y": over.value}
    return probed(builder.graph), square.value, over.value


@pytest.mark.parametrize(
    ("found", "tie"),
    [
        ([False, True], True),  # as the backend's own square says
        ([True, False], False),
    ],
)
def test_a_decision_that_follows_from_the_operands_is_a_tie(found: list[bool], tie: bool) -> None:
    graph, square, over = decision()
    values = {probe_name(square): np.float64([1, 4]), probe_name(over): np.bool_([True, True])}
    spread = {name: np.zeros(2) for name in values}
    spread[probe_name(square)] += 1e-7
    one = next(node for node in graph if node.op == "broadcast")
    values[probe_name(Value(one.id))] = np.ones(2)
    spread[probe_name(Value(one.id))] = np.zeros(2)
    seen = {
        **values,
        probe_name(square): np.float32([1 - 6e-8, 4]),
        probe_name(over): np.bool_(found),
    }
    inputs = Inputs({}, {"x": np.float32([1, 2])})
    wrong = first_wrong(graph, Expected(values, spread), seen, inputs, {})
    assert wrong is not None
    assert (wrong.value, wrong.is_tie) == (over, tie)
    pinned = first_wrong(graph, Expected(values, spread), seen, inputs, {probe_name(over): seen})
    assert pinned is None


def test_names_of_probes_lead_back() -> None:
    assert probed_value(probe_name(Value(12, 3))) == Value(12, 3)


@pytest.mark.parametrize("name", PROGRAMS)
def test_probes_change_nothing(name: str) -> None:
    """The outputs of a step are the same, to the bit, when all its values are returned.

    An LSTM is one function only where nothing inside it is returned, so it is held to float64.
    """
    is_lstm = name == "lstm"
    variant = Variant.of(in_float64(training(name)) if is_lstm else training(name))
    emitted = Emitted(backend, variant.optimized, "test")
    tolerance = 1e-13 if is_lstm else 0.0
    for case in cases(variant.optimized, emitted, 1):
        graph = probed(case.part.graph(variant.optimized))
        again = Emitted(backend, case.part.with_graph(variant.optimized, graph), "probed")
        plain, seen = emitted.run(case.part, case.inputs), again.run(case.part, case.inputs)
        assert seen.keys() > plain.keys()
        for output, value in plain.items():
            np.testing.assert_allclose(seen[output], value, tolerance, tolerance, err_msg=output)


# ---------------------------------------------------------------- float64 and free runs
def test_the_twin_keeps_shared_graphs_shared() -> None:
    once = training("mlp")
    phase = once.phases[0]
    twin = in_float64(replace(once, phases=[phase, phase]))
    first, second = (phase.steps[0].graph for phase in twin.phases)
    assert first is second
    assert {entry.type.dtype for entry in twin.state.values()} == {"f64"}


def test_a_band_holds_small_errors_and_no_large_ones() -> None:
    variant, emitted = variant_of("norm")
    start = emitted.init(0)
    curve = freerun.run(emitted, variant, start, 6)
    errors = {"step": {path: np.full(v.shape, 1e-6) for path, v in start.items()}}
    errors["step"]["@loss"] = np.float64(1e-5)
    band = freerun.band(emitted, variant, start, 6, curve, errors)
    assert band.ratio(curve)[0] == 0

    def moved(by: float) -> freerun.Curve:
        changed = {path: value + np.float32(by) for path, value in start.items()}
        return freerun.run(emitted, variant, changed, 6)

    assert 0 < band.ratio(moved(1e-6))[0] < 1
    ratio, where = band.ratio(moved(1e-2))
    assert ratio > 1
    assert where
