"""The NumPy backend's own functions against what they stand for, in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from nnc_numpy import attention, kernels

from tests.gradcheck import normal
from tests.ops.bodies import evaluate

SIZES = np.logspace(-10, 2.1, 100_000)
ACROSS = np.concatenate([-SIZES, [0.0], SIZES])


def units(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest error, in units of the last place; of what is denormal, in the smallest one."""
    step = np.spacing(np.maximum(np.abs(wanted), np.finfo(found.dtype).tiny).astype(found.dtype))
    return float(np.max(np.abs(found - wanted) / step))


@pytest.mark.parametrize(
    ("function", "meaning"),
    [
        (kernels.softplus, lambda x: np.logaddexp(0, x)),
        (kernels.log_sigmoid, lambda x: -np.logaddexp(0, -x)),
    ],
)
def test_logarithms_of_sums_are_right_everywhere(
    function: Callable[[np.ndarray], np.ndarray], meaning: Callable[[np.ndarray], np.ndarray]
) -> None:
    x = ACROSS.astype(np.float32)
    assert units(function(x), meaning(x.astype(np.float64))) < 5
    assert units(function(ACROSS), meaning(ACROSS.astype(np.longdouble))) < 5
    for dtype in (np.float16, np.float32, np.float64):
        ends = np.array([np.inf, -np.inf, np.nan], dtype)
        with np.errstate(invalid="ignore"):
            wanted = meaning(ends.astype(np.float64))
        found = function(ends)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, np.where(np.isnan(ends), np.nan, wanted))


# ---------------------------------------------------------------- attention
def heads(*shape: int, seed: int) -> np.ndarray:
    """x [N, H, T, D] as the heads of a projection lie: [N, T, H, D] in memory."""
    n, h, t, d = shape
    return normal(n, t, h, d, seed=seed).transpose(0, 2, 1, 3)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [(), (1, 1, 1, 100), (3, 1, 100, 100), (3, 2, 100, 100)])
@pytest.mark.parametrize("length", [40, 100, 200])
def test_attention_in_parts(mask: tuple[int, ...], causal: bool, length: int) -> None:
    """All samples at a time, or one, or one head of one."""
    q, k, v, dy = (heads(3, 2, length, 4, seed=seed) for seed in range(4))
    mask = tuple(length if dim == 100 else dim for dim in mask)
    shown = [np.random.default_rng(0).random(mask) < 0.7] if mask else []
    if mask and mask[2] > 1:
        shown[0][..., :9, :9] = False  # causal, these queries see nothing
    options = {"scale": 0.7, "causal": causal}
    y, logsumexp = evaluate("attention", q, k, v, *shown, **options)
    wanted = evaluate("attention_grad", dy, q, k, v, *shown, y, logsumexp, **options)
    for found, value in zip(
        attention.attention(q, k, v, *shown, **options), (y, logsumexp), strict=True
    ):
        np.testing.assert_allclose(found, value, rtol=1e-12, atol=1e-12)
    mixed, p = attention.attention_with_weights(q, k, v, *shown, **options)
    np.testing.assert_allclose(mixed, y, rtol=1e-12, atol=1e-12)
    operands = (dy, q, k, v, *shown, y)
    for gradients in (
        attention.attention_weights_grad(*operands, p, **options),
        attention.attention_grad(*operands, logsumexp, **options),
    ):
        for found, value in zip(gradients, wanted, strict=True):
            assert found.strides == q.strides
            np.testing.assert_allclose(found, value, rtol=1e-12, atol=1e-12)
