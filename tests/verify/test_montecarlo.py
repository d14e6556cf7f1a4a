"""Tolerances: what rounding does to a graph, measured by random errors in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.types import TensorType
from nnc.ops.registry import OPS
from nnc.verify.expected import SAFETY, Expected, difference, expect
from nnc.verify.montecarlo import Machine
from nnc.verify.rounding import EXACT, FORMATS, RELATIVE, SUMS

U = 2.0**-24
RNG = np.random.default_rng(0)


def graph_of(build: Callable[..., Tensor], *shapes: tuple[int, ...], dtype: str = "f32") -> Graph:
    """A graph of inputs `x0`, `x1` ... and the output `y`."""
    builder = Builder(Graph("g"))
    xs = [builder.input(f"x{i}", TensorType(dtype, shape)) for i, shape in enumerate(shapes)]
    builder.graph.outputs["y"] = build(*xs).value
    return builder.graph


def expected(graph: Graph, *arrays: np.ndarray) -> Expected:
    inputs = {f"x{i}": array for i, array in enumerate(arrays)}
    return expect(Machine(graph), Machine(graph, expand=True), inputs)


def float32(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


# ---------------------------------------------------------------- the sizes of errors
def test_every_op_has_a_size() -> None:
    """Those in no table round once: they are known to, or count whole numbers."""
    once = {
        "add", "sub", "mul", "rem", "cast", "const", "input",
        "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not", "is_finite",
        "shift_left", "shift_right", "argmax", "argmin", "argsort", "random_bits", "orthogonal",
        "scan", "call", "gradient", "stream_tags",
    }  # fmt: skip
    core = {name for name, op in OPS.items() if not op.composite}
    assert core == EXACT | RELATIVE.keys() | SUMS.keys() | once


def test_one_operation_errs_by_half_a_unit() -> None:
    x, y = float32(1000), float32(1000)
    found = expected(graph_of(lambda a, b: a * b, (1000,), (1000,)), x, y)
    scale = U * np.abs(x.astype(float) * y)
    assert np.all(found.spread["y"] < scale)
    assert np.median(found.spread["y"] / scale) == pytest.approx(1 / np.sqrt(3), rel=0.1)


@pytest.mark.parametrize(
    "build",
    [
        lambda x: x.transpose((1, 0)).reshape((6, 8)),
        lambda x: (x > 0.0).where(x, 0.0),
        lambda x: -x.max((1,)).expand((6, 8)),
        lambda x: x * 2.0,
        lambda x: (x > 0.0).cast("f32").sum((0,)),
    ],
)
def test_what_is_exact_has_no_tolerance(build: Callable[[Tensor], Tensor]) -> None:
    found = expected(graph_of(build, (8, 6)), float32(8, 6))
    np.testing.assert_array_equal(found.spread["y"], 0)


def test_cancellation_is_seen() -> None:
    """(x + 1000) - 1000 keeps the error of 1000, whatever is left of x."""
    x = float32(500)
    found = expected(graph_of(lambda a: (a + 1000.0) - 1000.0, (500,)), x)
    assert np.all(found.spread["y"] > 0.1 * 1000 * U)
    assert found.ratio("y", (x + np.float32(1000)) - np.float32(1000)) < 1


def test_a_decision_that_hangs_on_a_rounding_is_open() -> None:
    """A sum that is zero but for rounding falls on either side of zero."""
    x = np.float32([0.1, 0.2, -0.3])
    graph = graph_of(lambda a: (a.sum((0,)) > 0.0).cast("f32"), (3,))
    decided = graph_of(lambda a: (a.sum((0,)) > -1.0).cast("f32"), (3,))
    assert expected(graph, x).spread["y"] > 0
    assert expected(decided, x).spread["y"] == 0


def test_constants_are_rounded_once() -> None:
    x = np.float32([1, 2, 4])
    spread = expected(graph_of(lambda a: a * 0.1, (3,)), x).spread["y"]
    assert np.all(spread > 0.2 * U * 0.1 * x)
    np.testing.assert_array_equal(expected(graph_of(lambda a: a * 0.5, (3,)), x).spread["y"], 0)


def test_float16_is_coarser() -> None:
    x = float32(200).astype(np.float16)
    coarse = expected(graph_of(lambda a: a.emit("exp"), (200,), dtype="f16"), x).spread["y"]
    fine = expected(graph_of(lambda a: a.emit("exp"), (200,)), x.astype(np.float32)).spread["y"]
    assert np.median(coarse / fine) == pytest.approx(2**13, rel=0.2)


def test_loops_err_in_every_round() -> None:
    body = Graph("body")
    inner = Builder(body)
    inner.input("t", TensorType("i32"))
    h, w = inner.input("h", TensorType("f32", (4,))), inner.input("w", TensorType("f32", (4,)))
    body.outputs["h"] = (h * w).value

    def build(length: int) -> Graph:
        return graph_of(
            lambda h, w: h.emit(
                "scan", w, body=body, carries=1, sequences=0, axes=(), out_axes=(),
                length=length, reverse=False,
            )[0],
            (4,), (4,),
        )  # fmt: skip

    x, w = float32(4), np.float32([1.1, 1.2, 0.9, 1.05])
    once, often = (expected(build(length), x, w) for length in (1, 30))
    relative = [e.spread["y"] / np.abs(e.values["y"]) for e in (once, often)]
    assert np.all(relative[1] > 2 * relative[0])


# ---------------------------------------------------------------- laws
@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 400),
    mean=st.sampled_from([0.0, 0.1, 1.0, 100.0]),
    seed=st.integers(0, 2**32 - 1),
    forwards=st.booleans(),
)
def test_sums_in_any_order_are_within_tolerance(
    count: int, mean: float, seed: int, forwards: bool
) -> None:
    x = (np.random.default_rng(seed).normal(size=(count, 5)) + mean).astype(np.float32)
    found = expected(graph_of(lambda a: a.sum((0,)), (count, 5)), x)
    total = np.zeros(5, np.float32)
    for row in x if forwards else x[::-1]:
        total += row
    assert found.ratio("y", total) < 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(1, 200))
def test_float32_is_within_tolerance_and_a_few_tolerances_are_not(seed: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = (rng.normal(size=s).astype(np.float32) for s in ((6, depth), (depth, 4)))

    def net(a: Tensor, b: Tensor) -> Tensor:
        product = a.emit("dot", b, contract=((1,), (0,)), batch=((), ()))
        log_p: Tensor = product.emit("tanh").emit("log_softmax", axis=1)
        return log_p

    graph = graph_of(net, x.shape, w.shape)
    found = expected(graph, x, w)
    honest = interpret(graph, [x, w])["y"]
    assert found.ratio("y", honest) < 1
    wrong = found.values["y"].copy()
    place = tuple(rng.integers(wrong.shape))
    wrong[place] += 3 * SAFETY * found.spread["y"][place]
    assert found.ratio("y", wrong) == pytest.approx(3)


# ---------------------------------------------------------------- comparing
def test_differences_of_what_is_not_finite() -> None:
    inf, nan = np.inf, np.nan
    apart = difference(np.float64([inf, nan, inf, nan, 1]), np.float64([inf, nan, -inf, 1, inf]))
    np.testing.assert_array_equal(apart, [0, 0, inf, inf, inf])


def test_another_shape_is_wrong() -> None:
    found = expected(graph_of(lambda a: a * 0.1, (3,)), float32(3))
    assert found.ratio("y", np.zeros(4)) == np.inf


@pytest.mark.parametrize("name", FORMATS)
def test_formats_hold_their_own_values(name: str) -> None:
    format = FORMATS[name]
    values = np.float64([0, 1, -0.5, 3, np.inf])
    assert np.all(format.holds(values))
    assert not format.holds(np.float64([0.1]))[0]
