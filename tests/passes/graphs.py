"""Random graphs of float64 and bool for laws that every pass keeps, and small ones by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.text import graphs_equal, structural_text
from nnc.ir.types import TensorType
from nnc.ir.verify import verify
from nnc.passes.base import Pass

F64 = TensorType("f64", (2, 3))
SPECIAL = (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 4.0, 3.0)


def graph(
    function: Callable[..., Tensor | Sequence[Tensor]], *types: TensorType, **named: TensorType
) -> Graph:
    """The graph of `function`; inputs are called x0, x1, ... or as `named`, outputs y0, y1, ..."""
    builder = Builder(Graph("test"))
    inputs = [builder.input(f"x{i}", type) for i, type in enumerate(types)]
    inputs += [builder.input(name, type) for name, type in named.items()]
    made = function(*inputs)
    results = [made] if isinstance(made, Tensor) else made
    builder.graph.outputs = {f"y{i}": result.value for i, result in enumerate(results)}
    return builder.graph


def assert_becomes(
    each: Pass, before: Callable[..., Any], after: Callable[..., Any], *types: TensorType
) -> None:
    """`each` turns the graph of `before` into that of `after`, unused nodes aside."""
    changed, expected = graph(before, *types), graph(after, *types)
    each.run(changed)
    verify(changed)
    assert graphs_equal(changed, expected), (
        f"\n{structural_text(changed)}\nis not\n{structural_text(expected)}"
    )


def assert_stays(each: Pass, function: Callable[..., Any], *types: TensorType) -> None:
    assert_becomes(each, function, function, *types)


def assert_same_meaning(each: Pass, original: Graph) -> None:
    """The same outputs to the bit, signs of zeros included, on ordinary and special values."""
    changed = original.copy()
    each.run(changed)
    verify(changed)
    for values in (ordinary, special):
        inputs = [
            values(original.node(id).type.shape, seed) for seed, id in enumerate(original.inputs)
        ]
        before, after = interpret(original, inputs), interpret(changed, inputs)
        assert list(before) == list(after)
        for name in before:
            np.testing.assert_array_equal(after[name], before[name])
            if before[name].dtype.kind == "f":
                number = ~np.isnan(before[name])
                signs = np.signbit(after[name]), np.signbit(before[name])
                np.testing.assert_array_equal(signs[0][number], signs[1][number])


def ordinary(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def special(shape: tuple[int, ...], seed: int) -> np.ndarray:
    values = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -2.5)
    return np.random.default_rng(seed + 100).choice(values, size=shape)


@st.composite
def random_graphs(draw: st.DrawFn) -> Graph:
    """Elementwise, shape and reducing ops over two inputs, with constants that rules look for."""
    builder = Builder(Graph("random"))
    pool = [builder.input("x0", F64), builder.input("x1", F64)]
    for _ in range(draw(st.integers(1, 12))):
        x = draw(st.sampled_from(pool))
        pool.append(_grown(draw, builder, pool, x))
    outputs = draw(st.lists(st.sampled_from(pool[2:]), min_size=1, max_size=3))
    builder.graph.outputs = {f"y{i}": x.value for i, x in enumerate(outputs)}
    return builder.graph


def _grown(draw: st.DrawFn, builder: Builder, pool: list[Tensor], x: Tensor) -> Tensor:
    kind = draw(st.sampled_from(["unary", "binary", "number", "choice", "shape", "spread", "dot"]))
    if kind == "unary":
        return x.emit(draw(st.sampled_from(["neg", "abs", "exp", "sign", "stop_gradient"])))
    if kind == "binary":
        other = draw(st.sampled_from([y for y in pool if y.shape == x.shape]))
        return x.binary(draw(st.sampled_from(["add", "sub", "mul", "div", "maximum"])), other)
    if kind == "number":
        op = draw(st.sampled_from(["add", "sub", "mul", "div", "pow"]))
        exponents = (0.0, 1.0, -1.0, 3.0)
        return x.binary(op, draw(st.sampled_from(exponents if op == "pow" else SPECIAL)))
    if kind == "choice":
        other = draw(st.sampled_from([y for y in pool if y.shape == x.shape]))
        condition = draw(st.sampled_from([x > 0.0, x.equals(x), (x > other).emit("not")]))
        return condition.where(draw(st.sampled_from([x, other])), draw(st.sampled_from([0.0, x])))
    if kind == "shape" and x.rank == 2:
        return draw(st.sampled_from([x.transpose((1, 0)).transpose((1, 0)), _there_and_back(x)]))
    if kind == "spread":
        row = x.sum((0,)) if x.rank == 2 else x
        return row.broadcast(F64.shape, (1,)) if row.shape == (3,) else row.expand((2, 3))
    if kind == "dot" and x.rank == 2:
        product = x.emit("dot", pool[0], contract=((0,), (0,)), batch=((), ()))
        return product.transpose((1, 0)).max((0,))
    return x


def _there_and_back(x: Tensor) -> Tensor:
    return x.reshape((6,)).reshape((3, 2)).reshape(x.shape)
