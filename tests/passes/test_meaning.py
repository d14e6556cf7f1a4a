"""Each pass alone, and all of them, compute what the graph says: in float64, on whole programs and
on random graphs with their gradients.

A pass that is `exact` keeps every bit, if the order of a sum is none of its business: NumPy adds up
what lies otherwise in memory in another order, and so does a BLAS whose factors change places.  On
random graphs each sum is rounded once, so there it must be the bits; on programs it must be the
bits of all but `simplify`, the one that moves data.

Passes that are not exact change the order of sums: their results are within `ROUNDING` of the
largest value of the output (what Adam divides by may be as small as its eps, so that the rounding
of a gradient which is 0 comes out 1e8 times as large), or within the tolerance of Monte Carlo
arithmetic, where even a sign hangs on a rounding (`nnc.verify.expected`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Value
from nnc.ir.interpret import interpret
from nnc.ir.text import graphs_equal
from nnc.ir.verify import verify
from nnc.ops.registry import OPS
from nnc.passes.autodiff import expand_gradients
from nnc.passes.base import AFTER, BEFORE, Pass
from nnc.passes.pipeline import DEFAULT, FAST_MATH, PASSES, STANDARD, Pipeline, optimize
from nnc.passes.simplify import simplify
from nnc.verify.expected import Expected, expect
from nnc.verify.montecarlo import Machine
from nnc.verify.twin import Arrays
from tests.passes.programs import ELABORATE, Call, calls, trainings
from tests.passes.random_losses import arrays, losses

ROUNDING = 1e-9

NOTHING = Pipeline(())
ALONE = [each for each in PASSES.values() if each.stage == AFTER]
FIRST = [each for each in PASSES.values() if each.stage == BEFORE]

Change = Callable[[Graph], None]
Spread = Callable[[], Expected]


def assert_same(found: Arrays, wanted: Arrays, exact: bool, spread: Spread | None = None) -> None:
    """Equal names and, but for rounding where they are not `exact`, equal values."""
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype, name
        if exact or value.dtype.kind != "f":
            np.testing.assert_array_equal(found[name], value, err_msg=name)
            continue
        size = np.max(np.abs(value), initial=0.0 if spread else 1.0, where=np.isfinite(value))
        far = ~np.isclose(found[name], value, 0, ROUNDING * size, equal_nan=True)
        if spread is not None and far.any():
            far = far & (spread().ratios(name, found[name]) > 1)
        assert not far.any(), f"{name}: {found[name][far]} is not {value[far]}"


def assert_call_same(call: Call, changed: Graph, graph: Graph, exact: bool) -> None:
    """`changed` gives for `call` what `graph` does."""

    def spread() -> Expected:
        sizes = {"N": call.samples}
        machines = (Machine(graph, expand=expand, sizes=sizes) for expand in (False, True))
        return expect(*machines, call.inputs)

    assert_same(call.run(changed), call.run(graph), exact, spread)


def assert_change_keeps(change: Change, graph: Graph, all_calls: list[Call], exact: bool) -> None:
    changed = graph.copy()
    change(changed)
    verify(changed)
    if not graphs_equal(changed, graph):
        for call in all_calls:
            assert_call_same(call, changed, graph, exact)


# ---------------------------------------------------------------- whole programs
@pytest.mark.parametrize("name", ELABORATE)
def test_passes_keep_what_programs_compute(name: str) -> None:
    """Those after differentiation, each alone and all together."""
    for training in trainings(name):
        by_part: dict[int, list[Call]] = {}
        for call in calls(training):
            by_part.setdefault(id(call.graph(training)), []).append(call)
        for found in by_part.values():
            graph = found[0].graph(training)
            for each in ALONE:
                exact = each.exact and each is not simplify
                assert_change_keeps(each.run, graph, found, exact)
            for passes in (DEFAULT, FAST_MATH):
                assert_change_keeps(partial(optimize, passes=passes), graph, found, False)


@pytest.mark.parametrize("name", ELABORATE)
def test_passes_before_differentiation_keep_what_programs_compute(name: str) -> None:
    """Each alone, and the whole way from a program to its optimized graphs."""
    for number, plain in enumerate(trainings(name, NOTHING)):
        found = calls(plain)
        ways = [Pipeline((each,)) for each in FIRST]
        for way in [*ways, STANDARD]:
            training = trainings(name, way)[number]
            for call in found:
                changed = call.graph(training).copy()
                optimize(changed, way.passes)
                assert_call_same(call, changed, call.graph(plain), False)


# ---------------------------------------------------------------- random graphs
def differentiated(forward: Graph) -> Graph:
    """The loss and its gradients by all inputs, as a step has them."""
    graph = forward.copy()
    builder = Builder(graph)
    loss = builder.tensor(graph.outputs["loss"])
    wrt = [builder.tensor(Value(id)) for id in graph.inputs]
    made = builder.emit("gradient", loss, *wrt)
    gradients = made if isinstance(made, tuple) else (made,)
    graph.outputs |= {f"d{i}": x.value for i, x in enumerate(gradients)}
    expand_gradients(graph)
    return graph


@pytest.fixture(scope="module")
def exact_sums() -> Iterator[None]:
    """Results that depend on values alone, not on where they lie: every sum is rounded once."""

    def plain(evaluate: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *xs, **attrs: evaluate(*(np.array(x, order="C") for x in xs), **attrs)

    with pytest.MonkeyPatch.context() as patch:
        for name, op in OPS.items():
            if op.evaluate is not None:
                evaluate = {"sum": exact_sum, "dot": exact_dot}.get(name, plain(op.evaluate))
                patch.setitem(OPS, name, replace(op, evaluate=evaluate))
        yield


def exact_sum(x: np.ndarray, *, axes: tuple[int, ...]) -> np.ndarray:
    return np.apply_along_axis(math.fsum, -1, with_last(x, axes))


def exact_dot(x: np.ndarray, y: np.ndarray, *, contract: Any, batch: Any) -> np.ndarray:
    """Products without a batch, each rounded before they are added up."""
    assert batch == ((), ())
    left, right = with_last(x, contract[0]), with_last(y, contract[1])
    products = left.reshape(*left.shape[:-1], *[1] * (right.ndim - 1), -1) * right
    return np.apply_along_axis(math.fsum, -1, products)


def with_last(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """`x` with `axes`, in that order, as one last axis."""
    rest = [axis for axis in range(x.ndim) if axis not in axes]
    return x.transpose(*rest, *axes).reshape(*(x.shape[axis] for axis in rest), -1)


EVERY = [(each.name, (each,)) for each in ALONE]
EVERY += [("all", DEFAULT), ("fast-math", FAST_MATH)]


@pytest.mark.parametrize("passes", [passes for _, passes in EVERY], ids=[name for name, _ in EVERY])
@settings(max_examples=60, deadline=None)
@given(forward=losses())
@pytest.mark.usefixtures("exact_sums")
def test_passes_keep_random_graphs_and_gradients(passes: tuple[Pass, ...], forward: Graph) -> None:
    graph = differentiated(forward)
    changed = graph.copy()
    optimize(changed, passes)
    verify(changed)
    inputs = arrays(graph)
    exact = all(each.exact for each in passes)
    assert_same(interpret(changed, inputs), interpret(graph, inputs), exact)


@pytest.mark.parametrize("each", FIRST, ids=lambda each: each.name)
@settings(max_examples=60, deadline=None)
@given(forward=losses())
def test_what_comes_first_keeps_random_graphs_and_gradients(each: Pass, forward: Graph) -> None:
    changed = forward.copy()
    each.run(changed)
    inputs = arrays(forward)
    wanted = interpret(differentiated(forward), inputs)
    assert_same(interpret(differentiated(changed), inputs), wanted, False)
