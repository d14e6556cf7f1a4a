"""Convolutions against the definition written as loops, and the laws that tie the triple."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from nnc.ir.builder import Builder
from nnc.ir.dims import symbol
from nnc.ir.graph import Graph
from nnc.ir.types import TensorType
from nnc.ops.blocks import short_rows
from nnc.ops.registry import OPS, OpError
from nnc.ops.rows import Windows
from tests.gradcheck import normal
from tests.ops.bodies import evaluate

PLAIN = {"stride": (1,), "dilation": (1,), "low": (0,), "high": (0,), "groups": 1}


@dataclass(frozen=True)
class Convolution:
    x: np.ndarray
    w: np.ndarray
    attrs: dict[str, Any]


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    """Any geometry with up to two spatial axes in which at least one window fits."""
    spatial = draw(st.integers(1, 2))
    groups, per_group, per_output = (draw(st.integers(1, 3)) for _ in range(3))

    def numbers(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(spatial))

    size, stride, dilation = numbers(1, 3), numbers(1, 3), numbers(1, 2)
    low, high, spare = numbers(0, 2), numbers(0, 2), numbers(0, 3)
    needed = ((k - 1) * d + 1 for k, d in zip(size, dilation, strict=True))
    lengths = (
        max(1, n - lo - hi) + more for n, lo, hi, more in zip(needed, low, high, spare, strict=True)
    )
    return Convolution(
        normal(draw(st.integers(1, 2)), *lengths, groups * per_group),
        normal(*size, per_group, groups * per_output, seed=1),
        {"stride": stride, "dilation": dilation, "low": low, "high": high, "groups": groups},
    )


def reference(x: np.ndarray, w: np.ndarray, attrs: dict[str, Any]) -> np.ndarray:
    """y[n, p, o] = the sum over taps k and channels c of x[n, p s + k d - low, c] w[k, c, o]."""
    pads = [(0, 0), *zip(attrs["low"], attrs["high"], strict=True), (0, 0)]
    padded = np.pad(x, pads)
    type = OPS["conv"].infer(TensorType("f64", x.shape), TensorType("f64", w.shape), **attrs)
    y = np.zeros(type.shape)
    per_group, features = w.shape[-2:]
    for n, *place, o in product(*map(range, y.shape)):
        group = o // (features // attrs["groups"])
        channels = slice(group * per_group, (group + 1) * per_group)
        for tap in product(*map(range, w.shape[:-2])):
            steps = zip(place, attrs["stride"], tap, attrs["dilation"], strict=True)
            at: Any = tuple(p * s + k * d for p, s, k, d in steps)
            y[(n, *place, o)] += padded[n][at][channels] @ w[tap][:, o]
    return y


@given(convolutions())
@settings(max_examples=40, deadline=None)
def test_conv_is_its_definition(c: Convolution) -> None:
    np.testing.assert_allclose(
        evaluate("conv", c.x, c.w, **c.attrs),
        reference(c.x, c.w, c.attrs),
        rtol=1e-11,
        atol=1e-11,
    )


@given(convolutions())
@settings(max_examples=60, deadline=None)
def test_the_gradients_are_adjoints_of_the_convolution(c: Convolution) -> None:
    """<conv(x, w), dy> = <x, conv_input_grad(dy, w)> = <w, conv_filter_grad(x, dy)>."""
    y = evaluate("conv", c.x, c.w, **c.attrs)
    dy = normal(*y.shape, seed=2)
    dx = evaluate("conv_input_grad", dy, c.w, shape=c.x.shape, **c.attrs)
    dw = evaluate("conv_filter_grad", c.x, dy, shape=c.w.shape, **c.attrs)
    assert dx.shape == c.x.shape
    assert dw.shape == c.w.shape
    inner = np.vdot(y, dy)
    np.testing.assert_allclose(np.vdot(c.x, dx), inner, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(np.vdot(c.w, dw), inner, rtol=1e-10, atol=1e-10)


def infer(x: tuple[Any, ...], w: tuple[Any, ...], **attrs: Any) -> TensorType:
    builder = Builder(Graph())
    y = builder.input("x", TensorType("f32", x)).emit(
        "conv", builder.input("w", TensorType("f32", w)), **{**PLAIN, **attrs}
    )
    return y.type


def test_sizes_may_be_symbolic() -> None:
    n, t = symbol("N"), symbol("T")
    assert infer((n, t, 4), (3, 4, 8), low=(1,), high=(1,)) == TensorType("f32", (n, t, 8))
    assert infer((n, t, 4), (3, 4, 8), stride=(2,)).shape[1] == (t - 3) // 2 + 1


@pytest.mark.parametrize(
    ("x", "w", "attrs", "message"),
    [
        ((2, 5, 4), (3, 3, 8), {}, r"reads 3 channels; f32\[2, 5, 4\] has 4"),
        ((2, 5, 4), (3, 2, 8), {"groups": 2, "stride": (0,)}, "stride = "),
        ((2, 5, 4), (3, 2, 7), {"groups": 2}, "7 output channels do not divide into 2 groups"),
        ((2, 5, 4), (6, 4, 8), {}, "a window of 6 does not fit into 5"),
        ((2, 5, 4), (3, 4, 8), {"low": (1, 1)}, r"low = \(1, 1\) for 1 spatial axes"),
        ((2, 5, 4), (3, 3, 4, 8), {}, "needs 3 axes"),
        ((2, 4), (4, 8), {}, "spatial"),
    ],
)
def test_misuse_is_refused(
    x: tuple[int, ...], w: tuple[int, ...], attrs: dict[str, Any], message: str
) -> None:
    with pytest.raises(OpError, match=message):
        infer(x, w, **attrs)


def test_a_gradient_has_to_fit_its_convolution() -> None:
    w, dy = TensorType("f32", (3, 4, 8)), TensorType("f32", (2, 4, 8))
    with pytest.raises(OpError, match=r"gives f32\[2, 3, 8\]; its gradient cannot take"):
        OPS["conv_input_grad"].infer(dy, w, shape=(2, 5, 4), **PLAIN)


@pytest.mark.parametrize(("low", "high"), [((1, 1), (1, 1)), ((0, 2), (2, 0)), ((0, 0), (0, 0))])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_filters_of_3_rows_go_by_tiles(
    monkeypatch: pytest.MonkeyPatch, dtype: str, low: tuple[int, int], high: tuple[int, int]
) -> None:
    """They round no more than the products of each tap."""
    x, w = normal(5, 8, 10, 64).astype(dtype), normal(3, 3, 64, 96, seed=1).astype(dtype)
    attrs = {"stride": (1, 1), "dilation": (1, 1), "low": low, "high": high, "groups": 1}
    y = evaluate("conv", x, w, **attrs)
    assert Windows((3, 3), y.shape[1:-1], (1, 1), (1, 1), low, 10).is_tiled
    dy = normal(*y.shape, seed=2).astype(dtype)

    def triple() -> list[np.ndarray]:
        return [
            evaluate("conv", x, w, **attrs),
            evaluate("conv_input_grad", dy, w, shape=x.shape, **attrs),
            evaluate("conv_filter_grad", x, dy, shape=w.shape, **attrs),
        ]

    tiled = triple()
    monkeypatch.setattr(Windows, "is_tiled", False)
    for found, wanted in zip(tiled, triple(), strict=True):
        assert found.dtype == wanted.dtype
        error = np.abs(found - wanted).max() / np.abs(wanted).max()
        assert error < 16 * np.finfo(dtype).eps


@pytest.mark.parametrize(("size", "height", "tiled"), [((3, 3), 8, True), ((3, 3), 7, False)])
def test_tiles_are_of_two_rows(size: tuple[int, int], height: int, tiled: bool) -> None:
    assert Windows(size, (height, 5), (1, 1), (1, 1), (1, 1), 5).is_tiled is tiled


@pytest.mark.parametrize("features", [4, 256])
def test_long_images_are_cut(features: int) -> None:
    """Products are short where that leaves them many rows, else one a view."""
    x, w = normal(3, 64, 70, 16), normal(3, 5, 16, features, seed=1)
    attrs = {"stride": (2, 1), "dilation": (1, 1), "low": (1, 2), "high": (1, 2), "groups": 1}
    y = evaluate("conv", x, w, **attrs)
    padded = np.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0)))
    windows = sliding_window_view(padded, (3, 5), (1, 2))[:, ::2]
    np.testing.assert_allclose(y, np.einsum("nhwcij,ijco->nhwo", windows, w), atol=1e-9)
    dy = normal(*y.shape, seed=2)
    dw = evaluate("conv_filter_grad", x, dy, shape=w.shape, **attrs)
    np.testing.assert_allclose(dw, np.einsum("nhwcij,nhwo->ijco", windows, dy), atol=1e-9)
    dx = evaluate("conv_input_grad", dy, w, shape=x.shape, **attrs)
    np.testing.assert_allclose((dx * x).sum(), (dy * y).sum(), rtol=1e-9)


def test_short_rows_are_of_less_than_half_a_million_terms() -> None:
    assert short_rows(512) == 1023


def test_pads_may_be_wider_than_rows() -> None:
    attrs = {"stride": (1,), "dilation": (1,), "low": (2,), "high": (2,), "groups": 1}
    y = evaluate("conv", normal(1, 1, 1), np.ones((2, 1, 1)), **attrs)
    np.testing.assert_array_equal(y[0, :, 0] != 0, [False, True, True, False])
