"""Random words as values of the graph, and the one way in which words become floats and masks.

The words are those of `nnc.random` (docs/architecture.md, "Random streams").  Everything above them
is ordinary graph code, rounded once from float64 where it matters, so that every backend draws the
same numbers.
"""

from __future__ import annotations

from math import pi, prod
from typing import TYPE_CHECKING

import numpy as np

from nnc import random as streams
from nnc.ir.dims import Dim
from nnc.ir.types import TensorType
from nnc.ops.registry import OpError, family

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

define = family("random")

#: the types that random words may have, and how many bits those are
WIDTHS = {"u16": 16, "u32": 32}


def _random_bits_infer(
    seed: TensorType,
    step: TensorType,
    iteration: TensorType,
    offset: TensorType,
    *tag: TensorType,
    path: str,
    ordinal: int,
    shape: tuple[Dim, ...],
    dtype: str = "u32",
) -> TensorType:
    if dtype not in WIDTHS:
        raise OpError(f"random words are {' or '.join(WIDTHS)}, not {dtype}")
    names = ("seed", "step", "iteration", "offset", "tag")
    if len(tag) > 1:
        raise OpError(f"a random draw has one tag, not {len(tag)}")
    for name, type in zip(names, (seed, step, iteration, offset, *tag), strict=False):
        if type != TensorType("u64"):
            raise OpError(f"the {name} of a random draw is a u64 scalar, not {type}")
    return TensorType(dtype, tuple(shape))


def _random_bits(
    seed: np.ndarray,
    step: np.ndarray,
    iteration: np.ndarray,
    offset: np.ndarray,
    *tag: np.ndarray,
    path: str,
    ordinal: int,
    shape: tuple[int, ...],
    dtype: str = "u32",
) -> np.ndarray:
    stream, count = int(tag[0]) if tag else path, prod(shape)
    places = ordinal, int(step), int(iteration), int(offset)
    words = streams.draw_bits(int(seed), stream, *places, count=count, width=WIDTHS[dtype])
    return words.reshape(shape)


define(
    "random_bits",
    infer=_random_bits_infer,
    evaluate=_random_bits,
    zero_gradient=True,
    doc="Words of `shape` (u32, or u16 as `dtype` says), drawn for (seed, path, ordinal, step, "
    "iteration), after `offset`; a fifth operand is the tag of the stream, for a path with stars.",
)


def _stream_tags_infer(*, path: str, sizes: tuple[int, ...]) -> TensorType:
    if path.count("*") != len(sizes):
        raise OpError(f"`{path}` has {path.count('*')} stars, and {len(sizes)} sizes are given")
    return TensorType("u64", tuple(sizes))


define(
    "stream_tags",
    infer=_stream_tags_infer,
    evaluate=streams.stream_tags,
    zero_gradient=True,
    doc="The tags (u64) of the streams of `path`, whose stars stand for numbers below `sizes`.",
)


def uniform01(bits: Tensor, dtype: str = "f32") -> Tensor:
    """Floats in [0, 1) of 24 random bits each, from u32 words of the same shape."""
    return bits.binary("shift_right", 8).cast(dtype) * 2.0**-24


def normal(bits: Tensor, dtype: str = "f32") -> Tensor:
    """Standard normal floats [...] from u32 words [2, ...]: Box-Muller in float64, rounded once.

    bits[0] gives the radius and bits[1] the angle (Box and Muller 1958, the cosine branch alone).
    """
    shape = bits.shape[1:]

    def half(index: int) -> Tensor:
        rest = (0,) * len(shape)
        part: Tensor = bits.emit(
            "slice", start=(index, *rest), stop=(index + 1, *shape), step=(1,) * bits.rank
        )
        return part.reshape(shape).cast("f64")

    radius = ((half(0) + 1.0) * 2.0**-32).emit("log") * -2.0
    angle = half(1) * 2.0**-32 * (2.0 * pi)
    return (radius.emit("sqrt") * angle.emit("cos")).cast(dtype)


def mask_dtype(probability: float) -> str:
    """The words that tell `probability` from its neighbours: 16 bits where it is not extreme."""
    return "u16" if 1 / 256 <= probability <= 255 / 256 else "u32"


def bernoulli_mask(bits: Tensor, probability: float) -> Tensor:
    """Bools that are true with `probability`, to half a step of the words `bits` of their shape."""
    steps = 1 << WIDTHS[bits.dtype]
    threshold = round(probability * steps)
    if threshold >= steps:
        return bits.builder.full(True, "bool", bits.shape)
    return bits < threshold
