"""Constants are computed at compile time, but never written out as large tables."""

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings

from nnc.ir.builder import Tensor
from nnc.ir.graph import Graph
from nnc.ir.types import TensorType
from nnc.passes.fold_constants import LARGEST, fold_constants
from tests.passes.graphs import (
    F64,
    assert_becomes,
    assert_same_meaning,
    assert_stays,
    random_graphs,
)


@settings(max_examples=40, deadline=None)
@given(random_graphs())
def test_not_a_bit_changes(original: Graph) -> None:
    assert_same_meaning(fold_constants, original)


def test_scalars() -> None:
    assert_becomes(
        fold_constants,
        lambda x: x * (x.builder.const(2.0, "f64").emit("sqrt") * 3.0),
        lambda x: x * (np.sqrt(2.0) * 3.0),
        F64,
    )


def test_broadcast_scalars_stay_scalars() -> None:
    def before(x: Tensor) -> Tensor:
        return x * (x.builder.full(2.0, "f64", (2, 3)) * x.builder.full(3.0, "f64", (2, 3)))

    assert_becomes(fold_constants, before, lambda x: x * 6.0, F64)


def test_float32_is_rounded_as_float32() -> None:
    third = float(np.float32(1) / np.float32(3))
    assert_becomes(
        fold_constants,
        lambda x: x * (x.builder.const(1.0, "f32") / 3.0),
        lambda x: x * third,
        TensorType("f32", ()),
    )


def test_division_by_zero_is_infinite_as_at_run_time() -> None:
    assert_becomes(
        fold_constants,
        lambda x: x * (x.builder.const(1.0, "f64") / 0.0),
        lambda x: x * float("inf"),
        F64,
    )


def doubled_table(count: int) -> Callable[[Tensor], Tensor]:
    return lambda x: x + x.builder.const(np.arange(float(count)), "f64") * 2.0


def test_small_arrays_fold() -> None:
    assert_becomes(
        fold_constants,
        doubled_table(LARGEST),
        lambda x: x + x.builder.const(np.arange(float(LARGEST)) * 2, "f64"),
        TensorType("f64", (LARGEST,)),
    )


def test_large_arrays_stay() -> None:
    assert_stays(fold_constants, doubled_table(LARGEST + 1), TensorType("f64", (LARGEST + 1,)))


def test_draws_are_not_constants() -> None:
    def draw(x: Tensor) -> Tensor:
        zero = x.builder.const(0, "u64")
        bits: Tensor = zero.emit(
            "random_bits", zero, zero, zero, path="init/w", ordinal=0, shape=(3,)
        )
        return bits

    assert_stays(fold_constants, draw, F64)
