"""Layers against NumPy written out: dense, convolutions, pooling, embeddings, dropout."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.std.program import Applied, error_of, run

rng = np.random.default_rng(11)
X = rng.normal(size=(5, 4)).astype(np.float32)
IMAGE = rng.normal(size=(2, 6, 5, 4)).astype(np.float32)
SEQUENCE = rng.normal(size=(3, 7, 4)).astype(np.float32)


def weights(result: Applied) -> dict[str, np.ndarray]:
    """By the last word of the path: the weights of a single layer."""
    return {path.rpartition(".")[2]: v.astype(float) for path, v in result.state.items()}


# ---------------------------------------------------------------- dense, embedding, dropout
@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4), (4,)])
def test_dense_multiplies_the_last_axis(shape: tuple[int, ...]) -> None:
    x = rng.normal(size=shape)
    result = run("x |> Dense(3)", x=x, state={"net.dense_0.b": np.array([1, 2, 3], np.float32)})
    w = weights(result)
    np.testing.assert_allclose(result.value, x @ w["w"] + w["b"], rtol=1e-5, atol=1e-6)
    assert result.ops == ["dot", "add"]


def test_dense_without_bias_has_no_bias() -> None:
    result = run("x |> Dense(3, bias = false)", x=X)
    assert result.ops == ["dot"]
    assert "net.dense_0.b" not in [result.graph.node(i).attrs["name"] for i in result.graph.inputs]


def test_embedding_reads_rows_of_its_table() -> None:
    ids = np.array([[0, 6, 2], [2, 2, 1]])
    result = run("Embedding(7, 3)(x)", x=ids)
    np.testing.assert_array_equal(result.value, result.state["net.embedding_0.table"][ids])
    assert result.ops == ["take"]


def test_dropout_keeps_the_mean_and_scales_what_is_left() -> None:
    x = np.ones((200, 100))
    y = run("x |> Dropout(30%)", x=x, training=True).value
    kept = y != 0
    assert kept.mean() == pytest.approx(0.7, abs=0.01)
    np.testing.assert_allclose(y[kept], 1 / 0.7, rtol=1e-6)


def test_dropout_masks_the_gradient_alike_and_is_off_in_evaluation() -> None:
    both = run("let y = x |> Dropout(0.5)\nreturn (y, gradient(sum(y), x))", x=X + 9, training=True)
    np.testing.assert_array_equal(both.outputs["1"], np.where(both.outputs["0"] != 0, 2, 0))
    assert run("x |> Dropout(0.5)", x=X).ops == []
    assert run("x |> Dropout(0)", x=X, training=True).ops == []


def test_two_dropouts_draw_differently() -> None:
    both = run("(x |> Dropout(0.5), x |> Dropout(0.5))", x=np.ones((20, 20)), training=True)
    assert 0.3 < (both.outputs["0"] == both.outputs["1"]).mean() < 0.7


# ---------------------------------------------------------------- convolutions
def pads(size: int, k: int, stride: int, dilation: int, padding: Any) -> tuple[int, int]:
    reach = (k - 1) * dilation + 1
    if padding == "same":
        out = -(-size // stride)
        total = max((out - 1) * stride + reach - size, 0)
        return total // 2, total - total // 2
    if padding == "causal":
        return reach - 1, 0
    return (0, 0) if padding == "valid" else (padding, padding)


def correlate(
    x: np.ndarray, w: np.ndarray, stride: Any, dilation: Any, padding: Any, groups: int = 1
) -> np.ndarray:
    """x [N, *S, C] with w [*K, C // groups, O], one output element at a time."""
    kernel, spatial = w.shape[:-2], x.ndim - 2
    low_high = [
        pads(*of, padding) for of in zip(x.shape[1:-1], kernel, stride, dilation, strict=True)
    ]
    x = np.pad(x, [(0, 0), *low_high, (0, 0)])
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    out = [(s - r) // t + 1 for s, r, t in zip(x.shape[1:-1], reach, stride, strict=True)]
    per, each = w.shape[-2], w.shape[-1] // groups
    y = np.zeros((x.shape[0], *out, w.shape[-1]))
    for place in product(*map(range, out)):
        window = tuple(
            slice(p * t, p * t + r, d)
            for p, t, r, d in zip(place, stride, reach, dilation, strict=True)
        )
        seen = x[(slice(None), *window)]
        for g in range(groups):
            inside, made = slice(g * per, (g + 1) * per), slice(g * each, (g + 1) * each)
            axes = tuple(range(1, spatial + 2)), tuple(range(spatial + 1))
            y[(slice(None), *place, made)] = np.tensordot(seen[..., inside], w[..., made], axes)
    return y


def spread(value: Any, count: int) -> list[int]:
    return list(value) if isinstance(value, list) else [value] * count


CONVOLUTIONS: list[dict[str, Any]] = [
    {"k": 3},
    {"k": 4, "stride": 2},
    {"k": 2, "stride": 3, "padding": "valid"},
    {"k": 3, "dilation": 2},
    {"k": 3, "groups": 2},
    {"k": 1, "stride": 2},
    {"k": 3, "padding": "causal"},
    {"k": 3, "padding": 2},
]


@pytest.mark.parametrize("x", [IMAGE, SEQUENCE], ids=["2D", "1D"])
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_conv_is_the_sum_over_its_taps(x: np.ndarray, case: dict[str, Any]) -> None:
    _check_conv(x, case)


def test_kernel_stride_and_dilation_may_differ_by_axis() -> None:
    _check_conv(IMAGE, {"k": [3, 2], "stride": [1, 2], "dilation": [2, 1]})


def test_conv_in_three_dimensions() -> None:
    _check_conv(rng.normal(size=(1, 3, 4, 3, 2)).astype(np.float32), {"k": 2, "stride": 2})


def _check_conv(x: np.ndarray, case: dict[str, Any]) -> None:
    words = [f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}" for k, v in case.items()]
    bias = np.arange(6, dtype=np.float32)
    result = run(f"x |> Conv(6, {', '.join(words)})", x=x, state={"net.conv_0.b": bias})
    count = x.ndim - 2
    stride, dilation = (spread(case.get(key, 1), count) for key in ("stride", "dilation"))
    padding, groups = case.get("padding", "same"), case.get("groups", 1)
    w = weights(result)["w"]
    assert w.shape == (*spread(case["k"], count), 4 // groups if x.shape[-1] == 4 else 2, 6)
    expected = correlate(x.astype(float), w, stride, dilation, padding, groups) + bias
    np.testing.assert_allclose(result.value, expected, rtol=1e-4, atol=1e-5)
    assert result.ops == ["conv", "add"]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4))
def test_same_padding_gives_one_output_a_stride(size: int, k: int, stride: int) -> None:
    y = run(f"x |> Conv(2, {k}, stride = {stride})", x=np.zeros((1, size, 3))).value
    assert y.shape == (1, -(-size // stride), 2)


def test_a_depthwise_conv_keeps_channels_apart() -> None:
    result = run("x |> DepthwiseConv(3, multiplier = 2)", x=IMAGE)
    w = weights(result)["w"]
    assert w.shape == (3, 3, 1, 8)
    expected = correlate(IMAGE.astype(float), w, [1, 1], [1, 1], "same", groups=4)
    np.testing.assert_allclose(result.value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("k", "stride", "padding"), [(4, 2, "same"), (3, 2, "same"), (3, 1, "same"), (3, 2, "valid"),
                                 ([3, 2], [3, 1], "same"), (3, 2, 1)],
)  # fmt: skip
def test_conv_transpose_is_the_adjoint_of_conv(k: Any, stride: Any, padding: Any) -> None:
    quoted = f'"{padding}"' if isinstance(padding, str) else padding
    text = f"x |> ConvTranspose(3, {k}, stride = {stride}, padding = {quoted})"
    result = run(text, x=IMAGE)
    y, w = result.value.astype(float), weights(result)["w"]
    strides = spread(stride, 2)
    if padding == "same":
        assert y.shape[1:-1] == (6 * strides[0], 5 * strides[1])
    back = rng.normal(size=y.shape)
    forward = correlate(back, w, strides, [1, 1], padding)
    np.testing.assert_allclose((IMAGE * forward).sum(), (y * back).sum(), rtol=1e-4)


# ---------------------------------------------------------------- pooling, upsampling
def pooled(x: np.ndarray, k: int, stride: int, padding: str, how: Any, fill: float) -> np.ndarray:
    low_high = [pads(s, k, stride, 1, padding) for s in x.shape[1:-1]]
    x = np.pad(x, [(0, 0), *low_high, (0, 0)], constant_values=fill)
    out = [(s - k) // stride + 1 for s in x.shape[1:-1]]
    y = np.zeros((x.shape[0], *out, x.shape[-1]))
    for place in product(*map(range, out)):
        window = tuple(slice(p * stride, p * stride + k) for p in place)
        y[(slice(None), *place)] = how(x[(slice(None), *window)], axis=tuple(range(1, x.ndim - 1)))
    return y


@pytest.mark.parametrize("x", [IMAGE, SEQUENCE], ids=["2D", "1D"])
@pytest.mark.parametrize(
    ("k", "stride", "padding"), [(2, 2, "valid"), (3, 2, "same"), (3, 1, "same")]
)
def test_pooling_takes_the_greatest_or_the_mean_of_each_window(
    x: np.ndarray, k: int, stride: int, padding: str
) -> None:
    words = f'{k}, stride = {stride}, padding = "{padding}"'
    values = run(f"(x |> max_pool({words}), x |> avg_pool({words}))", x=x).outputs
    expected = pooled(x.astype(float), k, stride, padding, np.max, -np.inf)
    np.testing.assert_allclose(values["0"], expected)
    expected = pooled(x.astype(float), k, stride, padding, np.nanmean, np.nan)
    np.testing.assert_allclose(values["1"], expected, rtol=1e-5, atol=1e-6)


def test_average_pooling_counts_padding_only_if_asked_for() -> None:
    text = 'x |> avg_pool(3, stride = 2, padding = "same", count_padding = true)'
    expected = pooled(IMAGE.astype(float), 3, 2, "same", np.mean, 0)
    np.testing.assert_allclose(run(text, x=IMAGE).value, expected, rtol=1e-5, atol=1e-6)


def test_global_pooling_reduces_all_spatial_axes() -> None:
    values = run("(global_avg_pool(x), global_max_pool(x))", x=IMAGE).outputs
    np.testing.assert_allclose(values["0"], IMAGE.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values["1"], IMAGE.max((1, 2)))


def test_upsample_repeats_each_point() -> None:
    values = run("(upsample(x, 2), upsample(x, [1, 3]))", x=IMAGE).outputs
    np.testing.assert_array_equal(values["0"], IMAGE.repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(values["1"], IMAGE.repeat(3, 2))


def test_shapes() -> None:
    values = run("(flatten(x), reshape(x, [N, -1, 2]), concat(x, 2 * x))", x=IMAGE).outputs
    np.testing.assert_array_equal(values["0"], IMAGE.reshape(2, -1))
    np.testing.assert_array_equal(values["1"], IMAGE.reshape(2, -1, 2))
    np.testing.assert_array_equal(values["2"], np.concatenate([IMAGE, 2 * IMAGE], -1))


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x |> Conv(4, 3)", "Conv needs spatial axes"),
        ("x |> DepthwiseConv(3)", "DepthwiseConv needs spatial axes"),
        ("x |> ConvTranspose(4, 3)", "ConvTranspose needs spatial axes"),
        ("i |> Conv(4, 3, groups = 3)", "groups must divide both channel counts"),
        ("i |> Conv(4, [3, 3, 3])", "`k` is an int of at least 1 or a list of 2"),
        ("i |> Conv(4, 3, stride = 0)", "`stride` is an int of at least 1"),
        ("i |> Conv(4, true)", "must be an int or a list of ints"),
        ('i |> Conv(4, 3, padding = "sme")', 'unknown padding "sme"'),
        ('i |> Conv(4, 9, padding = "valid")', "does not fit"),
        ("i |> ConvTranspose(4, 2, stride = 3)", "a kernel at least as large as the stride"),
        ("x |> Dropout(1.5)", "at least 0 and below 1"),
        ("x |> Dropout(-1)", "at least 0 and below 1"),
        ("Embedding(7, 3)(x)", "must be i32[...]"),
        ("x |> max_pool(2)", "x is [N, *S, C]"),
        ("x |> global_avg_pool |> Dense(2, biass = false)", "did you mean `bias`?"),
    ],
)
def test_a_wrong_use_is_an_error_at_the_users_call(text: str, says: str) -> None:
    message = error_of(text, x=X, i=IMAGE)
    assert says in message
    assert "--> program.nn:3" in message
