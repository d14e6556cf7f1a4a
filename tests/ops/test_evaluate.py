"""What each op computes, against Python's own arithmetic, written-out sums or NumPy formulas."""

import itertools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnc.ir.types import TensorType, dtype_of
from nnc.ops.registry import OPS
from tests.gradcheck import normal, uniform

X, Y = normal(2, 3), normal(2, 3, seed=1)
POSITIVE = uniform(0.1, 3.0, 2, 3)
INTS, OTHER_INTS = np.array([7, -7, 5, -9], np.int32), np.array([2, 2, -3, -4], np.int32)


def evaluate(op: str, *arrays: np.ndarray, **attrs: Any) -> np.ndarray:
    """The value of a single op, after its type rule has agreed with it."""
    evaluation = OPS[op].evaluate
    assert evaluation is not None
    result = np.asarray(evaluation(*arrays, **attrs))
    types = [TensorType(dtype_of(x), x.shape) for x in arrays]
    assert OPS[op].infer(*types, **attrs) == TensorType(dtype_of(result), result.shape)
    return result


UNARY: dict[str, tuple[Callable[[float], float], np.ndarray]] = {
    "neg": (operator.neg, X),
    "abs": (abs, X),
    "sign": (lambda v: math.copysign(1.0, v), X),
    "exp": (math.exp, X),
    "expm1": (math.expm1, X * 1e-3),
    "log": (math.log, POSITIVE),
    "log1p": (math.log1p, X * 1e-3),
    "sqrt": (math.sqrt, POSITIVE),
    "rsqrt": (lambda v: v**-0.5, POSITIVE),
    "sin": (math.sin, X),
    "cos": (math.cos, X),
    "tan": (math.tan, X),
    "tanh": (math.tanh, X),
    "erf": (math.erf, X),
    "floor": (math.floor, X * 5),
    "ceil": (math.ceil, X * 5),
    "round": (round, np.array([0.5, 1.5, -2.5, 2.4, -0.6])),
}
BINARY: dict[str, tuple[Callable[[Any, Any], float], np.ndarray, np.ndarray]] = {
    "add": (operator.add, X, Y),
    "sub": (operator.sub, X, Y),
    "mul": (operator.mul, X, Y),
    "div": (operator.truediv, X, Y),
    "pow": (operator.pow, POSITIVE, Y),
    "rem": (operator.mod, X * 5, Y),
    "floordiv": (operator.floordiv, X * 5, Y),
    "maximum": (max, X, Y),
    "minimum": (min, X, Y),
    "atan2": (math.atan2, X, Y),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("op", UNARY)
def test_unary(op: str, dtype: type) -> None:
    formula, x = UNARY[op]
    x = x.astype(dtype)
    expected: np.ndarray = np.array([formula(float(v)) for v in x.flat], np.float64)
    expected = expected.reshape(x.shape)
    result = evaluate(op, x)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, 4 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("op", BINARY)
def test_binary(op: str, dtype: type) -> None:
    formula, x, y = BINARY[op]
    x, y = x.astype(dtype), y.astype(dtype)
    pairs = zip(x.flat, y.flat, strict=True)
    expected: np.ndarray = np.array([formula(float(a), float(b)) for a, b in pairs])
    result = evaluate(op, x, y)
    assert result.dtype == dtype
    expected = expected.reshape(x.shape)
    # The remainder of nearly whole quotients loses digits in proportion to the operand.
    absolute = 8 * float(np.finfo(dtype).eps) if op == "rem" else 0.0
    np.testing.assert_allclose(result, expected, 4 * float(np.finfo(dtype).eps), absolute)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "rem", "floordiv", "maximum", "minimum"])
def test_integers_as_in_python(op: str) -> None:
    formula = BINARY[op][0]
    expected = [formula(int(a), int(b)) for a, b in zip(INTS, OTHER_INTS, strict=True)]
    assert evaluate(op, INTS, OTHER_INTS).tolist() == expected


def test_whole_powers_of_negative_bases_are_exact() -> None:
    bases, exponents = np.array([-2.0, -3.0, -2.0]), np.array([3.0, 2.0, -1.0])
    assert evaluate("pow", bases, exponents).tolist() == [-8.0, 9.0, -0.5]


@pytest.mark.parametrize(
    ("op", "formula"),
    [
        ("eq", operator.eq),
        ("ne", operator.ne),
        ("lt", operator.lt),
        ("le", operator.le),
        ("gt", operator.gt),
        ("ge", operator.ge),
    ],
)
def test_comparisons(op: str, formula: Callable[[Any, Any], bool]) -> None:
    x, y = np.array([1.0, 2.0, 3.0, np.nan]), np.array([1.0, 3.0, 2.0, np.nan])
    expected = [formula(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    assert evaluate(op, x, y).tolist() == expected


@pytest.mark.parametrize(
    ("op", "formula"), [("and", operator.and_), ("or", operator.or_), ("xor", operator.xor)]
)
def test_logic_of_bits_and_bools(op: str, formula: Callable[[Any, Any], Any]) -> None:
    for x, y in (
        (np.array([True, True, False, False]), np.array([True, False, True, False])),
        (np.array([12, 5, 0], np.uint32), np.array([10, 3, 9], np.uint32)),
    ):
        expected = [formula(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        assert evaluate(op, x, y).tolist() == expected


def test_not_and_is_finite() -> None:
    assert evaluate("not", np.array([True, False])).tolist() == [False, True]
    values = np.array([1.0, np.inf, -np.inf, np.nan], np.float32)
    assert evaluate("is_finite", values).tolist() == [True, False, False, False]


def test_shifts() -> None:
    two = np.array([2, 2], np.uint32)
    assert evaluate("shift_left", np.array([3, 2**31], np.uint32), two).tolist() == [12, 0]
    assert evaluate("shift_right", np.array([12, 2**31], np.uint32), two).tolist() == [3, 2**29]
    assert evaluate("shift_right", np.array([-8], np.int32), np.array([2], np.int32)) == -2


def test_where_takes_by_condition() -> None:
    condition = np.array([True, False, True])
    result = evaluate("where", condition, np.arange(3), -np.arange(3))
    assert result.tolist() == [0, -1, 2]


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (np.array([2.7, -2.7], np.float32), "i32", [2, -2]),
        (np.array([0.0, 0.5, -1.0]), "bool", [False, True, True]),
        (np.array([True, False]), "f32", [1.0, 0.0]),
        (np.array([1 + 2**-30]), "f32", [1.0]),
    ],
)
def test_cast(value: np.ndarray, dtype: str, expected: list[Any]) -> None:
    assert evaluate("cast", value, dtype=dtype).tolist() == expected


def test_bitcast_reads_the_same_bits() -> None:
    one = evaluate("bitcast", np.asarray(1.0, np.float32), dtype="u32")
    assert int(one) == 0x3F800000
    assert float(evaluate("bitcast", one, dtype="f32")) == 1.0


# ---------------------------------------------------------------- creation
def test_constants_counts_and_sizes() -> None:
    assert evaluate("const", value=3, dtype="f32").tolist() == 3.0
    assert evaluate("iota", shape=(2, 3), axis=1, dtype="i32").tolist() == [[0, 1, 2]] * 2
    assert evaluate("iota", shape=(2, 1), axis=0, dtype="f64").tolist() == [[0.0], [1.0]]
    assert evaluate("size", dim=7, dtype="f32").tolist() == 7.0


# ---------------------------------------------------------------- shape
def test_broadcast_names_the_axis_of_each_axis() -> None:
    result = evaluate("broadcast", np.array([1, 2]), shape=(3, 2, 4), axes=(1,))
    for i, j, k in np.ndindex(3, 2, 4):
        assert result[i, j, k] == [1, 2][j]


def test_slice_and_pad() -> None:
    x = np.arange(12).reshape(3, 4)
    result = evaluate("slice", x, start=(0, 1), stop=(3, 4), step=(2, 2))
    assert result.tolist() == [[1, 3], [9, 11]]
    padded = evaluate("pad", np.array([1, 2]), low=(1,), high=(2,), value=9)
    assert padded.tolist() == [9, 1, 2, 9, 9]
    assert evaluate("pad", np.asarray(5), low=(), high=(), value=0) == 5


def test_reshape_transpose_reverse_concat() -> None:
    x = np.arange(6).reshape(2, 3)
    assert evaluate("reshape", x, shape=(3, 2)).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert evaluate("transpose", x, perm=(1, 0)).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert evaluate("reverse", x, axes=(1,)).tolist() == [[2, 1, 0], [5, 4, 3]]
    assert evaluate("concat", x, x[:, :1], axis=1).tolist() == [[0, 1, 2, 0], [3, 4, 5, 3]]


WINDOWS = {"axes": (1, 2), "size": (2, 3), "stride": (2, 1), "dilation": (1, 2)}


def test_window_is_its_definition() -> None:
    x = np.arange(2 * 5 * 7 * 2).reshape(2, 5, 7, 2)
    result = evaluate("window", x, **WINDOWS)
    assert result.shape == (2, 2, 3, 2, 2, 3)
    for n, i, j, c, a, b in np.ndindex(result.shape):
        assert result[n, i, j, c, a, b] == x[n, 2 * i + a, j + 2 * b, c]


def test_fold_adds_every_element_at_its_place() -> None:
    w = normal(2, 2, 3, 2, 2, 3)
    expected = np.zeros((2, 5, 7, 2))
    for n, i, j, c, a, b in np.ndindex(w.shape):
        expected[n, 2 * i + a, j + 2 * b, c] += w[n, i, j, c, a, b]
    np.testing.assert_allclose(evaluate("fold", w, shape=(2, 5, 7, 2), **WINDOWS), expected)


@pytest.mark.parametrize(("start", "first"), [(1, 1), (-4, 0), (9, 2)])
def test_dynamic_slices_are_moved_inside(start: int, first: int) -> None:
    x, at = np.arange(5), np.asarray(start, np.int32)
    assert evaluate("dynamic_slice", x, at, size=(3,)).tolist() == [first, first + 1, first + 2]
    updated = evaluate("dynamic_update", x, np.full(3, 9), at)
    assert updated.tolist() == [9 if first <= i < first + 3 else i for i in range(5)]
    assert x.tolist() == [0, 1, 2, 3, 4]


# ---------------------------------------------------------------- index
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("index", [np.asarray(1), np.array([1, 0, 1]), np.array([[1, 1], [0, 1]])])
def test_take_and_its_adjoint(axis: int, index: np.ndarray) -> None:
    x, index = normal(2, 3, 4), index.astype(np.int32)
    taken = evaluate("take", x, index, axis=axis)
    expected, update = x.copy(), normal(*taken.shape)
    for place in np.ndindex(taken.shape):
        at = place[axis : axis + index.ndim]
        source = (*place[:axis], index[at], *place[axis + index.ndim :])
        assert taken[place] == x[source]
        expected[source] += update[place]
    added = evaluate("scatter_add", x, index, update, axis=axis)
    np.testing.assert_allclose(added, expected, 1e-14)


@pytest.mark.parametrize("axis", [0, 1])
def test_take_along_and_its_adjoint(axis: int) -> None:
    x = normal(3, 3)
    index = np.array([[0, 2, 2], [1, 2, 0], [0, 2, 1], [0, 0, 0]], np.int32)
    index = index if axis == 0 else index.T.copy()
    taken = evaluate("take_along", x, index, axis=axis)
    expected, update = x.copy(), normal(*index.shape)
    for i, j in np.ndindex(index.shape):
        source = (index[i, j], j) if axis == 0 else (i, index[i, j])
        assert taken[i, j] == x[source]
        expected[source] += update[i, j]
    added = evaluate("scatter_add_along", x, index, update, axis=axis)
    np.testing.assert_allclose(added, expected, 1e-14)


def test_scatter_add_keeps_integers_and_float32() -> None:
    index = np.array([0, 0, 2], np.int32)
    for dtype in (np.int32, np.float32):
        x, update = np.ones(3, dtype), np.array([1, 2, 3], dtype)
        result = evaluate("scatter_add", x, index, update, axis=0)
        assert result.tolist() == [4, 1, 4]
    nothing = evaluate("scatter_add", x, index[:0], update[:0], axis=0)
    assert nothing.tolist() == [1, 1, 1]


def test_argsort_is_stable_with_nan_last() -> None:
    x = np.array([2.0, np.nan, 1.0, 2.0, 1.0])
    assert evaluate("argsort", x, axis=0).tolist() == [2, 4, 0, 3, 1]


# ---------------------------------------------------------------- reduce
@pytest.mark.parametrize("axes", [(), (0,), (1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("op", ["sum", "prod", "max", "min"])
def test_reductions(op: str, axes: tuple[int, ...]) -> None:
    x = normal(2, 3, 2)
    reductions: dict[str, Callable[[list[float]], float]] = {
        "sum": math.fsum,
        "prod": math.prod,
        "max": max,
        "min": min,
    }
    result = evaluate(op, x, axes=axes)
    kept = [axis for axis in range(3) if axis not in axes]
    for place in itertools.product(*(range(x.shape[axis]) for axis in kept)):
        chosen: list[Any] = [slice(None)] * 3
        for axis, at in zip(kept, place, strict=True):
            chosen[axis] = at
        expected = reductions[op](np.ravel(x[tuple(chosen)]).tolist())
        np.testing.assert_allclose(result[place], expected, 1e-13)


def test_reductions_keep_the_element_type() -> None:
    for dtype in (np.float32, np.int32, np.uint32):
        for op in ("sum", "prod", "max", "min"):
            assert evaluate(op, np.ones((2, 2), dtype), axes=(0,)).dtype == dtype
        assert evaluate("cumsum", np.ones(3, dtype), axis=0, reverse=True).dtype == dtype


def test_arguments_of_extrema_are_the_first() -> None:
    x = np.array([[1.0, 3.0, 3.0], [2.0, 0.0, 0.0]])
    assert evaluate("argmax", x, axis=1).tolist() == [1, 0]
    assert evaluate("argmin", x, axis=1).tolist() == [0, 1]
    assert evaluate("argmax", x[0], axis=0).dtype == np.int32


def test_cumsum_from_either_end() -> None:
    x = np.array([1.0, 2.0, 4.0])
    assert evaluate("cumsum", x, axis=0, reverse=False).tolist() == [1.0, 3.0, 7.0]
    assert evaluate("cumsum", x, axis=0, reverse=True).tolist() == [7.0, 6.0, 4.0]
