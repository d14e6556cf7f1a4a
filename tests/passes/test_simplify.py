"""Rules as pairs of graphs, and the law: not a bit of the result changes."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.types import NUMPY_DTYPES, TensorType
from nnc.ops.registry import OpError
from nnc.passes import algebra
from nnc.passes.simplify import simplify
from tests.passes.graphs import (
    F64,
    assert_becomes,
    assert_same_meaning,
    assert_stays,
    graph,
    random_graphs,
)

I32 = TensorType("i32", (4,))
BOOL = TensorType("bool", (4,))
VECTOR = TensorType("f64", (3,))
MATRIX = TensorType("f64", (3, 3))
BOX = TensorType("f64", (2, 3, 4))

Make = Callable[..., Tensor]


@settings(max_examples=60, deadline=None)
@given(random_graphs())
def test_not_a_bit_changes(original: Graph) -> None:
    assert_same_meaning(simplify, original)


VALUES = {
    "f64": (0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 5e-324, 1e300),
    "i32": (0, 1, -1, 7, -8, 2**31 - 1),
    "bool": (False, True),
}
ROUNDS_ONCE = ("x ** 2", "x ** -1")  # where `pow` may be off by a unit in the last place


@pytest.mark.parametrize("dtype", VALUES)
@pytest.mark.parametrize("number", range(len(algebra.ALGEBRA)))
def test_each_rule_is_exact_on_every_combination_of_special_values(number: int, dtype: str) -> None:
    pattern, replacement, *condition = algebra.ALGEBRA[number]
    names = sorted(set(re.findall(r"\b[a-z]\b", pattern)))
    kinds = ["bool" if name in "cd" else dtype for name in names]
    grid = np.meshgrid(*(VALUES[kind] for kind in kinds), indexing="ij")
    arrays = [axis.reshape(-1).astype(NUMPY_DTYPES[k]) for axis, k in zip(grid, kinds, strict=True)]
    builder = Builder(Graph(pattern))
    inputs = [
        builder.input(n, TensorType(k, a.shape))
        for n, k, a in zip(names, kinds, arrays, strict=True)
    ]
    bound = {name: x.value for name, x in zip(names, inputs, strict=True)}
    result = TensorType(dtype, arrays[0].shape)
    try:
        before = algebra.build(builder, algebra.parse(pattern), bound, result)
    except OpError:
        return  # the pattern is of another element type
    if (condition and not condition[0](before.type)) or pattern in ROUNDS_ONCE:
        return
    after = algebra.build(builder, algebra.parse(replacement), bound, before.type)
    builder.graph.outputs = {"before": before.value, "after": after.value}
    values = interpret(builder.graph, arrays)
    np.testing.assert_array_equal(values["after"], values["before"])
    if values["before"].dtype.kind == "f":
        number_at = ~np.isnan(values["before"])
        signs = [np.signbit(value)[number_at] for value in values.values()]
        np.testing.assert_array_equal(*signs)


ALGEBRA: dict[str, tuple[Make, Make]] = {
    "double negation": (lambda x, y: x.emit("neg").emit("neg") * y, lambda x, y: x * y),
    "adding a negative": (lambda x, y: x + -y, lambda x, y: x - y),
    "adding to a negative": (lambda x, y: -x + y, lambda x, y: y - x),
    "signs leave products": (lambda x, y: -x / -y, lambda x, y: x / y),
    "one on either side": (lambda x, y: 1.0 * x * y * 1.0, lambda x, y: x * y),
    "minus one": (lambda x, y: x * -1.0 - y, lambda x, y: -x - y),
    "negative zero is neutral": (lambda x, y: (x + -0.0) * y, lambda x, y: x * y),
    "subtracting zero": (lambda x, y: (x - 0.0) * y, lambda x, y: x * y),
    "a square": (lambda x, y: x**2.0 - y, lambda x, y: x * x - y),
    "a reciprocal": (lambda x, y: x**-1.0 - y, lambda x, y: 1.0 / x - y),
    "division by 2^k": (lambda x, y: x / 8.0 - y, lambda x, y: x * 0.125 - y),
    "a number takes the sign": (
        lambda x, y: (x - y) * 0.3 * y + -((x * 0.5) * y) * 1.0 - -(y * -0.25),
        lambda x, y: (x - y) * 0.3 * y - (x * 0.5) * y - y * 0.25,
    ),
    "one branch": (lambda x, y: (x > y).where(x, x), lambda x, y: x),
    "not, in a condition": (
        lambda x, y: (x > y).emit("not").where(x, y),
        lambda x, y: (x > y).where(y, x),
    ),
    "conditions meet": (
        lambda x, y: (x > 0.0).where((y > 0.0).where(x, 0.0) * 2.0, 0.0),
        lambda x, y: ((x > 0.0).binary("and", y > 0.0)).where(x * 2.0, 0.0),
    ),
    "markers": (
        lambda x, y: x.emit("stop_gradient").emit("with_gradient", y) + y,
        lambda x, y: x + y,
    ),
}


@pytest.mark.parametrize("name", ALGEBRA)
def test_algebra(name: str) -> None:
    before, after = ALGEBRA[name]
    assert_becomes(simplify, before, after, F64, F64)


INEXACT: dict[str, Make] = {
    "-0.0 + 0.0 is 0.0": lambda x, y: x + 0.0 - y,
    "the root of -inf is nan": lambda x, y: x**0.5 - y,
    "0 * inf is nan": lambda x, y: x * 0.0 - y,
    "inf - inf is nan": lambda x, y: (x - x) * y,
    "1/3 is rounded": lambda x, y: x / 3.0 - y,
    "-(x - x) is -0.0": lambda x, y: -(x - y),
    "a sum of -0.0 is 0.0": lambda x, y: (-x).sum((0,)),
    "nan > y and nan <= y are both false": lambda x, y: (x > y).emit("not"),
    "rounding is not associative": lambda x, y: (x * 3.0) * 5.0 - y,
    "a negative factor makes -0.0": lambda x, y: (x > y).where(x, 0.0) * -2.0,
}


@pytest.mark.parametrize("reason", INEXACT)
def test_stays_because(reason: str) -> None:
    assert_stays(simplify, INEXACT[reason], F64, F64)


def test_integers_have_one_zero() -> None:
    assert_becomes(simplify, lambda x: (x + 0) * 1, lambda x: x, I32)
    assert_becomes(simplify, lambda x: x * 0, lambda x: x.builder.full(0, "i32", (4,)), I32)


def test_logic() -> None:
    def before(x: Tensor, y: Tensor) -> Tensor:
        true = x.builder.full(True, "bool", (4,))
        return x.binary("and", true).emit("not").emit("not").binary("or", y.binary("and", y))

    assert_becomes(simplify, before, lambda x, y: x.binary("or", y), BOOL, BOOL)


SHAPES: dict[str, tuple[TensorType, Make, Make]] = {
    "transposes compose": (
        BOX,
        lambda x: x.transpose((1, 2, 0)).transpose((1, 0, 2)),
        lambda x: x.transpose((2, 1, 0)),
    ),
    "transposes cancel": (BOX, lambda x: x.transpose((1, 2, 0)).transpose((2, 0, 1)), lambda x: x),
    "reshapes compose": (
        BOX,
        lambda x: x.reshape((6, 4)).reshape((24,)),
        lambda x: x.reshape((24,)),
    ),
    "reshapes cancel": (BOX, lambda x: x.reshape((6, 4)).reshape((2, 3, 4)), lambda x: x),
    "broadcasts compose": (
        VECTOR,
        lambda x: x.broadcast((3, 2), (0,)).broadcast((5, 3, 4, 2), (1, 3)),
        lambda x: x.broadcast((5, 3, 4, 2), (1,)),
    ),
    "a transposed broadcast": (
        VECTOR,
        lambda x: x.broadcast((3, 2), (0,)).transpose((1, 0)),
        lambda x: x.broadcast((2, 3), (1,)),
    ),
    "the whole slice": (
        VECTOR,
        lambda x: x.emit("slice", start=(0,), stop=(3,), step=(1,)),
        lambda x: x,
    ),
    "two reversals": (
        BOX,
        lambda x: x.emit("reverse", axes=(0, 2)).emit("reverse", axes=(2, 0)),
        lambda x: x,
    ),
    "wider and back": (
        TensorType("f32", (3,)),
        lambda x: x.cast("f64").cast("f32"),
        lambda x: x,
    ),
    "work above a broadcast": (
        VECTOR,
        lambda x: x.broadcast((2, 3), (1,)).emit("exp") * 3.0,
        lambda x: (x.emit("exp") * 3.0).broadcast((2, 3), (1,)),
    ),
    "counting along one axis": (
        MATRIX,
        lambda x: x * x.builder.emit("iota", shape=(3, 3), axis=0, dtype="f64"),
        lambda x: (
            x * x.builder.emit("iota", shape=(3,), axis=0, dtype="f64").broadcast((3, 3), (0,))
        ),
    ),
    "a product of transposes": (
        MATRIX,
        lambda x: x.transpose((1, 0)).emit("dot", x, contract=((1,), (0,)), batch=((), ())),
        lambda x: x.emit("dot", x, contract=((0,), (0,)), batch=((), ())),
    ),
    "a transposed product": (
        F64,
        lambda x: x.emit("dot", x * x, contract=((0,), (0,)), batch=((), ())).transpose((1, 0)),
        lambda x: (x * x).emit("dot", x, contract=((0,), (0,)), batch=((), ())),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str) -> None:
    type, before, after = SHAPES[name]
    assert_becomes(simplify, before, after, type)


def test_narrowing_and_back_stays() -> None:
    assert_stays(simplify, lambda x: x.cast("f32").cast("f64"), F64)


def test_the_name_of_a_value_goes_on_to_what_takes_its_place() -> None:
    def named(x: Tensor, y: Tensor) -> Tensor:
        difference = x + -y
        x.builder.graph.producer(difference.value).name = "difference"
        return difference

    changed = graph(named, F64, F64)
    simplify.run(changed)
    (node,) = [node for node in changed if node.op != "input"]
    assert (node.op, node.name) == ("sub", "difference")


def test_rules_apply_inside_bodies() -> None:
    inner = graph(lambda x: x * 1.0 + -x, F64)
    outer = graph(lambda x: x.emit("call", body=inner)[0], F64)
    simplify.run(outer)
    (call,) = [node for node in outer if node.op == "call"]
    assert [node.op for node in call.attrs["body"]] == ["input", "sub"]
    assert len(inner) > 2, "a body that others may share is not changed itself"
