"""Draws inside a graph: the words of the streams, and floats and masks made from them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.types import TensorType
from nnc.ops.random import bernoulli_mask, mask_dtype, normal, uniform01
from nnc.ops.registry import OpError
from nnc.random import draw_bits, tag

U64 = TensorType("u64")
WORDS = draw_bits(7, "net.dropout_0", 2, 3, 4, 5, count=60)


def drawn(
    shape: tuple[int, ...], function: Callable[[Tensor], Tensor], dtype: str = "u32"
) -> np.ndarray:
    """`function` of the words of (seed 7, step 3, iteration 4, offset 5) at a place."""
    builder = Builder(Graph())
    operands = [builder.input(name, U64) for name in ("seed", "step", "iteration", "offset")]
    attrs: dict[str, Any] = {"path": "net.dropout_0", "ordinal": 2, "shape": shape, "dtype": dtype}
    bits = builder.emit("random_bits", *operands, **attrs)
    builder.graph.outputs = {"y": function(bits).value}
    return interpret(builder.graph, [np.uint64(n) for n in (7, 3, 4, 5)])["y"]


def test_bits_are_those_of_the_stream_in_row_major_order() -> None:
    np.testing.assert_array_equal(drawn((3, 20), lambda bits: bits), WORDS.reshape(3, 20))


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_uniform_floats_have_24_bits(dtype: str) -> None:
    found = drawn((60,), lambda bits: uniform01(bits, dtype))
    np.testing.assert_array_equal(found, (WORDS >> 8) / 2**24)
    assert found.dtype == np.dtype("f4" if dtype == "f32" else "f8")


def test_normal_floats_are_box_muller_in_float64_rounded_once() -> None:
    b1, b2 = WORDS[:30].astype("f8"), WORDS[30:].astype("f8")
    u1, u2 = (b1 + 1) * 2.0**-32, b2 * 2.0**-32
    expected = np.sqrt(-2 * np.log(u1)) * np.cos(2 * np.pi * u2)
    np.testing.assert_array_equal(drawn((2, 5, 6), normal), expected.astype("f4").reshape(5, 6))


@pytest.mark.parametrize("width", [16, 32])
@pytest.mark.parametrize("chance", [0.0, 0.3, 0.5, 1.0])
def test_masks_compare_with_an_integer_threshold(chance: float, width: int) -> None:
    mask = drawn((60,), lambda bits: bernoulli_mask(bits, chance), dtype=f"u{width}")
    words = draw_bits(7, "net.dropout_0", 2, 3, 4, 5, count=60, width=width)
    np.testing.assert_array_equal(mask, words.astype("u8") < round(chance * 2**width))


def test_extreme_probabilities_need_more_bits() -> None:
    chances = [0.0, 1e-6, 1 / 257, 1 / 256, 0.5, 255 / 256, 256 / 257, 1.0]
    wanted = ["u32", "u32", "u32", "u16", "u16", "u16", "u32", "u32"]
    assert [mask_dtype(chance) for chance in chances] == wanted


def test_words_of_other_widths_are_not_drawn() -> None:
    with pytest.raises(OpError, match="random words are u16 or u32, not i32"):
        drawn((2,), lambda bits: bits, dtype="i32")


def test_what_names_a_draw_is_u64() -> None:
    builder = Builder(Graph())
    seed, step = builder.input("seed", U64), builder.input("step", TensorType("i32"))
    attrs: dict[str, Any] = {"path": "p", "ordinal": 0, "shape": (2,)}
    with pytest.raises(OpError, match="the step of a random draw is a u64 scalar, not i32"):
        builder.emit("random_bits", seed, step, seed, seed, **attrs)


def test_a_draw_with_a_tag_is_of_the_stream_with_its_number() -> None:
    builder = Builder(Graph())
    tags = builder.emit("stream_tags", path="dropout/net.layer_0.*.mix.*", sizes=(2, 3))
    builder.graph.outputs = {"tags": tags.value}
    found = interpret(builder.graph, [])["tags"]
    assert found.shape == (2, 3)
    assert found[1, 2] == tag("dropout/net.layer_0.1.mix.2")
    words = draw_bits(7, int(found[1, 2]), 2, 3, count=5)
    np.testing.assert_array_equal(words, draw_bits(7, "dropout/net.layer_0.1.mix.2", 2, 3, count=5))


def test_stars_and_sizes_are_as_many() -> None:
    with pytest.raises(OpError, match=r"`a\.\*` has 1 stars, and 2 sizes are given"):
        Builder(Graph()).emit("stream_tags", path="a.*", sizes=(2, 3))
