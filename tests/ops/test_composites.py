"""Every composite computes what its decomposition computes, and so do its gradients."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnc.ir.builder import Builder, Tensor
from nnc.ir.dims import symbol
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.reverse import vjp
from nnc.ir.types import TensorType, dtype_of
from nnc.ir.verify import verify
from nnc.ops.registry import OPS
from tests.gradcheck import normal
from tests.ops import cases_control, cases_elementwise, cases_nn
from tests.ops.bodies import decompose, evaluate
from tests.ops.test_conv import Convolution, convolutions

CASES = [*cases_nn.CASES, *cases_elementwise.CASES, *cases_control.CASES]
COMPOSITES = sorted(name for name, op in OPS.items() if op.composite)


def values_and_gradients(
    op: str, arrays: list[np.ndarray], attrs: dict[str, Any], decomposed: bool, batch: bool = False
) -> list[np.ndarray]:
    """Results of `op` and cotangents of its float operands; axis 0 of all is named N if `batch`."""
    builder = Builder(Graph(op))
    shapes = [(symbol("N"), *x.shape[1:]) if batch else x.shape for x in arrays]
    xs = [
        builder.input(f"x{i}", TensorType(dtype_of(x), shape))
        for i, (x, shape) in enumerate(zip(arrays, shapes, strict=True))
    ]
    made: Any = decompose(op, *xs, **attrs) if decomposed else builder.emit(op, *xs, **attrs)
    ys: list[Tensor] = list(made) if isinstance(made, tuple) else [made]
    smooth = [y for y in ys if y.type.is_float]
    dys = [(y * 0.5).emit("cos") for y in smooth]
    wrt = [x for x in xs if x.type.is_float]
    cotangents = [ct for ct in vjp(builder, smooth, dys, wrt) if ct is not None]
    builder.graph.outputs = {f"y{i}": t.value for i, t in enumerate([*ys, *cotangents])}
    verify(builder.graph)
    return list(interpret(builder.graph, arrays).values())


def check(op: str, arrays: list[np.ndarray], attrs: dict[str, Any]) -> None:
    own = values_and_gradients(op, arrays, attrs, decomposed=False)
    core = values_and_gradients(op, arrays, attrs, decomposed=True)
    assert len(own) == len(core) > 1
    for a, b in zip(own, core, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("case", [c for c in CASES if OPS[c.op].composite], ids=str)
def test_a_composite_is_its_decomposition(case: Any) -> None:
    check(case.op, list(case.arrays), dict(case.attrs))


def test_every_composite_is_among_them() -> None:
    assert set(COMPOSITES) == {case.op for case in CASES if OPS[case.op].composite}


@given(convolutions())
@settings(max_examples=25, deadline=None)
def test_convolutions_of_any_geometry(c: Convolution) -> None:
    dy = evaluate("conv", c.x, c.w, **c.attrs)
    check("conv", [c.x, c.w], c.attrs)
    check("conv_input_grad", [dy, c.w], {"shape": c.x.shape, **c.attrs})
    check("conv_filter_grad", [c.x, dy], {"shape": c.w.shape, **c.attrs})


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_pools_of_any_geometry(data: st.DataObject) -> None:
    spatial = data.draw(st.integers(1, 2))

    def numbers(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(low, high)) for _ in range(spatial))

    size, stride = numbers(1, 3), numbers(1, 3)
    low = tuple(data.draw(st.integers(0, k - 1)) for k in size)
    high = tuple(data.draw(st.integers(0, k - 1)) for k in size)
    x = normal(2, *(k + more for k, more in zip(size, numbers(0, 4), strict=True)), 2)
    x = np.round(2 * x) / 2  # ties
    attrs = {"size": size, "stride": stride, "low": low, "high": high}
    y, index = evaluate("max_pool", x, **attrs)
    for op, operands in (("max_pool", [x]), ("sum_pool", [x])):
        check(op, operands, attrs)
    dy = normal(*y.shape)
    check("max_pool_grad", [dy, index], {"shape": x.shape, **attrs})
    check("sum_pool_grad", [dy], {"shape": x.shape, **attrs})


@pytest.mark.parametrize(
    "op",
    ["softmax", "log_softmax", "logsumexp", "sigmoid", "softplus", "log_sigmoid", "gelu", "silu"],
)
def test_float32_stays_float32(op: str) -> None:
    attrs = {"axis": 1} if op.endswith(("softmax", "logsumexp")) else {}
    x = normal(2, 3).astype("f4")
    for decomposed in (False, True):
        values = values_and_gradients(op, [x], attrs, decomposed)
        assert all(value.dtype == np.float32 for value in values)


N = symbol("N")
CONV = {"stride": (2,), "dilation": (1,), "low": (1,), "high": (1,), "groups": 2}
POOL = {"size": (2,), "stride": (1,), "low": (1,), "high": (0,)}


@pytest.mark.parametrize(
    ("op", "shapes", "attrs"),
    [
        ("softmax", [(3, 4)], {"axis": 1}),
        ("logsumexp", [(3, 4)], {"axis": 1}),
        ("max_pool", [(3, 4, 2)], POOL),
        ("sum_pool", [(3, 4, 2)], POOL),
        ("sum_pool_grad", [(3, 4, 2)], {"shape": (N, 4, 2), **POOL}),
    ],
)
def test_the_batch_size_may_be_symbolic(op: str, shapes: list[Any], attrs: dict[str, Any]) -> None:
    arrays = [normal(*shape) for shape in shapes]
    own, core = (values_and_gradients(op, arrays, attrs, d, batch=True) for d in (False, True))
    for a, b in zip(own, core, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("decomposed", [False, True])
def test_a_convolution_of_symbolic_batch_size(decomposed: bool) -> None:
    builder = Builder(Graph())
    x = builder.input("x", TensorType("f64", (N, 5, 4)))
    w = builder.input("w", TensorType("f64", (3, 2, 6)))
    y = decompose("conv", x, w, **CONV) if decomposed else x.emit("conv", w, **CONV)
    dx = vjp(builder, [y], [y], [x])[0]
    assert dx is not None
    builder.graph.outputs = {"dx": dx.value}
    arrays = [normal(3, 5, 4), normal(3, 2, 6)]
    found = interpret(builder.graph, arrays)["dx"]
    dy = evaluate("conv", *arrays, **CONV)
    expected = evaluate("conv_input_grad", dy, arrays[1], shape=(3, 5, 4), **CONV)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


# ------------------------------------------------------------------------------- extreme operands
EXTREME = np.array([-1e4, -745.0, -40.0, -1e-9, 0.0, 1e-9, 40.0, 745.0, 1e4])


def both(op: str, x: np.ndarray, **attrs: Any) -> list[np.ndarray]:
    return [values_and_gradients(op, [x], attrs, decomposed)[0] for decomposed in (False, True)]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_sigmoids_of_large_numbers(dtype: str) -> None:
    x = EXTREME.astype(dtype)
    wide = EXTREME.astype(np.longdouble)
    expected = {
        "sigmoid": 1 / (1 + np.exp(-wide)),
        "softplus": np.logaddexp(0, wide),
        "log_sigmoid": -np.logaddexp(0, -wide),
    }
    rtol = 8 * float(np.finfo(dtype).eps)
    for op, values in expected.items():
        for found in both(op, x):
            least = float(np.finfo(dtype).smallest_normal)
            np.testing.assert_allclose(found, values.astype(dtype), rtol=rtol, atol=least)


def test_softmaxes_of_large_numbers() -> None:
    x = np.array([[1e4, 1e4, -1e4], [-1e4, -1e4 - 1, -np.inf]])
    share = 1 / (1 + np.exp(-1.0))
    for found in both("softmax", x, axis=1):
        np.testing.assert_allclose(found, [[0.5, 0.5, 0], [share, 1 - share, 0]], rtol=1e-12)
    for found in both("log_softmax", x, axis=1):
        np.testing.assert_allclose(
            found,
            [
                [-np.log(2), -np.log(2), -2e4 - np.log(2)],
                [np.log(share), np.log(share) - 1, -np.inf],
            ],
            rtol=1e-12,
        )
    for found in both("logsumexp", x, axis=1):
        np.testing.assert_allclose(found, [1e4 + np.log(2), -1e4 - np.log(share)], rtol=1e-12)


def test_logsumexp_of_nothing_possible_is_impossible() -> None:
    for found in both("logsumexp", np.full((1, 3), -np.inf), axis=1):
        np.testing.assert_array_equal(found, [-np.inf])


def test_the_first_of_equal_numbers_wins_a_max_pool() -> None:
    x = np.array([1.0, 1.0, 0.0, 2.0]).reshape(1, 4, 1)
    y, index = evaluate("max_pool", x, size=(3,), stride=(1,), low=(1,), high=(1,))
    np.testing.assert_array_equal(y[0, :, 0], [1, 1, 2, 2])
    np.testing.assert_array_equal(index[0, :, 0], [1, 0, 2, 1])
