"""Normalizations against two-pass formulas in float64; running averages of BatchNorm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.std.program import Applied, error_of, run

rng = np.random.default_rng(13)
IMAGE = (3 * rng.normal(size=(4, 5, 3, 6)) + 2).astype(np.float32)
GAIN, BIAS = rng.normal(size=(2, 6)).astype(np.float32)


def normalized(x: np.ndarray, axes: tuple[int, ...], eps: float = 1e-5) -> np.ndarray:
    m = x.mean(axes, keepdims=True)
    return (x - m) / np.sqrt(((x - m) ** 2).mean(axes, keepdims=True) + eps)


def groups_of(x: np.ndarray, groups: int) -> np.ndarray:
    split = x.reshape(*x.shape[:-1], groups, -1)
    axes = (*range(1, x.ndim - 1), x.ndim)
    return normalized(split, axes).reshape(x.shape)


FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "LayerNorm()": lambda x: normalized(x, (-1,)),
    "LayerNorm(eps = 0.5)": lambda x: normalized(x, (-1,), 0.5),
    "GroupNorm(3)": lambda x: groups_of(x, 3),
    "GroupNorm(6)": lambda x: normalized(x, tuple(range(1, x.ndim - 1))),
    "RMSNorm()": lambda x: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5),
    "BatchNorm()": lambda x: normalized(x, tuple(range(x.ndim - 1))),
}


def apply(layer: str, x: np.ndarray, training: bool = True) -> tuple[Applied, str]:
    name = f"net.{layer.partition('Norm')[0].lower()}_norm_0"
    state = {f"{name}.gain": GAIN, f"{name}.bias": BIAS}
    return run(f"x |> {layer}", x=x, training=training, state=state), name


@pytest.mark.parametrize("layer", FORMULAS)
@pytest.mark.parametrize("x", [IMAGE, IMAGE[:, :, 0]], ids=["2D", "1D"])
def test_it_is_its_formula(layer: str, x: np.ndarray) -> None:
    result, _ = apply(layer, x)
    bias = 0 if layer.startswith("RMS") else BIAS
    expected = FORMULAS[layer](x.astype(float)) * GAIN + bias
    np.testing.assert_allclose(result.value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", ["LayerNorm()", "GroupNorm(3)", "BatchNorm()"])
def test_moments_are_two_pass(layer: str) -> None:
    # One pass, mean(x^2) - mean(x)^2, loses all of a spread of 1 around 10000 in float32.
    x = (rng.normal(size=(6, 5, 6)) + 1e4).astype(np.float32)
    result, _ = apply(layer, x)
    expected = FORMULAS[layer](x.astype(float)) * GAIN + BIAS
    np.testing.assert_allclose(result.value, expected, rtol=2e-2, atol=2e-2)


def test_batch_norm_keeps_running_averages_with_the_weight_of_the_old_value() -> None:
    result, name = apply("BatchNorm(decay = 0.8)", IMAGE)
    x = IMAGE.astype(float)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(result.written[f"{name}.mean"], 0.2 * mean, rtol=1e-5)
    np.testing.assert_allclose(result.written[f"{name}.var"], 0.8 + 0.2 * var, rtol=1e-5)


def test_the_default_weight_of_the_old_value_is_nine_tenths() -> None:
    result, name = apply("BatchNorm()", IMAGE)
    expected = 0.9 + 0.1 * IMAGE.astype(float).var((0, 1, 2))
    np.testing.assert_allclose(result.written[f"{name}.var"], expected, rtol=1e-5)


def test_batch_norm_uses_them_in_evaluation_and_writes_nothing() -> None:
    mean, var = rng.normal(size=6), rng.random(6) + 0.5
    state = {"net.batch_norm_0.mean": mean.astype("f4"), "net.batch_norm_0.var": var.astype("f4")}
    result = run("x |> BatchNorm()", x=IMAGE, state=state)
    expected = (IMAGE - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(result.value, expected, rtol=1e-4, atol=1e-5)
    assert result.written == {}


def test_a_frozen_batch_norm_is_as_in_evaluation() -> None:
    result = run("frozen(BatchNorm())(x)", x=IMAGE, training=True)
    assert result.written == {}
    np.testing.assert_allclose(result.value, IMAGE / np.sqrt(1 + 1e-5), rtol=1e-5)


def test_batch_norm_of_a_batch_differentiates_through_its_moments() -> None:
    # The output does not change when the input is shifted or scaled as a whole.
    text = "let y = x |> BatchNorm(eps = 0)\nreturn gradient(sum(w * y), x)"
    w = rng.normal(size=IMAGE.shape)
    slope = run(text, x=IMAGE, w=w, training=True).value
    np.testing.assert_allclose(slope.sum((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose((slope * IMAGE).sum((0, 1, 2)), 0, atol=1e-3)


def test_groups_must_divide_the_channels() -> None:
    message = error_of("x |> GroupNorm(4)", x=IMAGE)
    assert "groups must divide the channels" in message
    assert "--> program.nn:3" in message
