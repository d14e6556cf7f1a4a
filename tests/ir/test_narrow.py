"""Short floats in NumPy, against the bfloat16 that JAX brings."""

import jax.numpy as jnp
import numpy as np
import pytest

from nnc.ir.interpret import as_float64, interpret
from nnc.ir.narrow import held, round_to, to_bf16, to_f16
from nnc.ir.types import TensorType
from tests.passes.graphs import graph

BF16 = TensorType("bf16", (3,))


def bits(seed: int) -> np.ndarray:
    """Random float32: infinities, nans and subnormals among them."""
    words = np.random.default_rng(seed).integers(0, 2**32, 2**18, dtype=np.uint32)
    return words.view(np.float32)


def test_every_value_is_rounded_as_by_bfloat16() -> None:
    x = bits(0)
    with np.errstate(all="ignore"):
        wanted = x.astype(jnp.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(to_bf16(x), wanted)


@pytest.mark.parametrize("step", range(-3, 4))
def test_ties_go_to_the_even_one(step: int) -> None:
    """Values around the middle between all neighbours."""
    middles = (np.arange(2**16, dtype=np.uint32) << 16) + np.uint32(0x8000 + step)
    x = middles.view(np.float32)
    with np.errstate(all="ignore"):
        wanted = x.astype(jnp.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(to_bf16(x), wanted)


def test_what_is_bf16_stays() -> None:
    x = (np.arange(2**16, dtype=np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(to_bf16(x), x)
    assert str(to_bf16(np.float32(-0.0))) == "-0.0"


def test_f16_overflows_to_infinity() -> None:
    with np.errstate(over="ignore"):
        assert to_f16(np.float32([65519, 65520, -1e9])).tolist() == [65504, np.inf, -np.inf]


def test_rounding_keeps_the_type_of_its_operand() -> None:
    x = np.float64([1 / 3, 1e-3])
    assert round_to(x, dtype="bf16").dtype == np.float64
    assert held(x, "bf16").dtype == np.float32
    np.testing.assert_array_equal(round_to(x, dtype="f64"), x)


def test_the_interpreter_rounds_every_op() -> None:
    """1 + 2^-8 is halfway between two neighbours in bf16; in f32 it would add up."""
    made = graph(lambda x: x + 2.0**-8 + 2.0**-8, BF16)
    assert interpret(made, [np.ones(3, np.float32)])["y0"].tolist() == [1, 1, 1]
    wide = as_float64(made)
    assert interpret(wide, [np.ones(3)])["y0"].tolist() == [1 + 2.0**-7] * 3


def test_inputs_are_rounded_where_they_enter() -> None:
    made = graph(lambda x: x.cast("f32"), BF16)
    assert interpret(made, [np.full(3, 1 + 2.0**-9)])["y0"].tolist() == [1, 1, 1]
