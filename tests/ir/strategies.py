"""Random dims and graphs for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from nnc.ir.builder import Builder, Tensor
from nnc.ir.dims import Dim, product, symbol
from nnc.ir.graph import Array, Graph, Origin
from nnc.ir.types import TensorType

NAMES = ("H", "N", "T_2")
SHAPES: tuple[tuple[Dim, ...], ...] = ((), (3,), (2, 3), (symbol("N"), 3), (symbol("N") * 2, 3))

texts = st.sampled_from(["", "h", "d_h", 'a "b"', "x/y.z", "naïve # 1", "back\\slash"])
origins = st.builds(
    Origin,
    st.sampled_from(["digits.nn", "std/layers.nn", "my model.nn", "C:\\m.nn"]),
    st.integers(1, 99),
    st.integers(1, 99),
    st.sampled_from(["", "net.dense_0", "net.blocks[1]"]),
)
numbers = st.one_of(
    st.floats(width=32), st.sampled_from([0.1, -0.0, 1e-30, float("inf"), float("nan")])
)


@st.composite
def graphs(draw: st.DrawFn, depth: int = 1) -> Graph:
    """A graph of floats with names, origins, constants, symbolic sizes and (at `depth`) bodies."""
    builder = Builder(Graph(draw(texts)))
    pool: list[Tensor] = [
        builder.input(f"x{i}", TensorType("f32", draw(st.sampled_from(SHAPES))))
        for i in range(draw(st.integers(1, 2)))
    ]
    for _ in range(draw(st.integers(0, 6))):
        with builder.at(tuple(draw(st.lists(origins, max_size=2)))):
            x = draw(st.sampled_from(pool))
            made = _node(draw, builder, x, depth)
        builder.graph.producer(made.value).name = draw(texts)
        pool.append(made)
    outputs = draw(st.lists(st.sampled_from(pool), max_size=2))
    builder.graph.outputs = {f"out/{i}": x.value for i, x in enumerate(outputs)}
    return builder.graph


def _node(draw: st.DrawFn, builder: Builder, x: Tensor, depth: int) -> Tensor:
    kinds = ["unary", "double", "const", "reduce", "reshape", "array"] + ["call"] * depth
    kind = draw(st.sampled_from(kinds))
    if kind == "unary":
        return x.emit(draw(st.sampled_from(["exp", "neg", "sign"])))
    if kind == "const":
        return x * draw(numbers)
    if kind == "reduce":
        return x.sum(tuple(range(draw(st.integers(0, x.rank)))))
    if kind == "reshape":
        return x.emit("reshape", shape=(1, product(x.shape)))
    if kind == "array":
        values = draw(st.lists(numbers, min_size=1, max_size=20))
        return builder.emit("const", value=Array(np.array(values, np.float32)), dtype="f32")
    if kind == "call":
        return _call(draw, builder, x)
    return x + x


def _call(draw: st.DrawFn, builder: Builder, x: Tensor) -> Tensor:
    body = draw(graphs(depth=0))
    inner = Builder(body)
    body.outputs["y"] = inner.tensor(body.input_named("x0")).emit("neg").value
    types = [body.node(id).type for id in body.inputs]
    operands = [builder.full(1.0, t.dtype, t.shape) for t in types]
    result = builder.emit("call", *operands, body=body)
    return result[-1] if isinstance(result, tuple) else result
