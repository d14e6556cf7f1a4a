"""Small graphs that loops and calls run in tests, and ops run alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.types import TensorType
from nnc.ops.registry import OPS


def body(
    inputs: Mapping[str, TensorType], function: Callable[..., Sequence[Tensor]], name: str = "body"
) -> Graph:
    """The graph of `function` on inputs of these names and types; outputs are called y0, y1 ..."""
    builder = Builder(Graph(name))
    results = function(*(builder.input(key, type) for key, type in inputs.items()))
    builder.graph.outputs = {f"y{i}": result.value for i, result in enumerate(results)}
    return builder.graph


def evaluate(op: str, *arrays: np.ndarray, **attrs: Any) -> Any:
    """The op's own NumPy evaluation."""
    function = OPS[op].evaluate
    assert function is not None
    return function(*arrays, **attrs)


def decompose(op: str, *xs: Tensor, **attrs: Any) -> Any:
    """The op's decomposition."""
    function = OPS[op].decompose
    assert function is not None
    return function(*xs, **attrs)


def matmul(x: Tensor, y: Tensor) -> Tensor:
    result: Tensor = x.emit("dot", y, contract=((x.rank - 1,), (0,)), batch=((), ()))
    return result


def f64(*shape: int) -> TensorType:
    return TensorType("f64", shape)


I32 = TensorType("i32")


def cell(n: int = 2, inputs: int = 2, hidden: int = 3) -> Graph:
    """h' = tanh(x w + h u), yields h' * h' * sum(x): (i, h, x, w, u) -> (h', y)."""

    def step(i: Tensor, h: Tensor, x: Tensor, w: Tensor, u: Tensor) -> list[Tensor]:
        new = (matmul(x, w) + matmul(h, u)).emit("tanh")
        return [new, new * new * x.sum((1,)).broadcast((n, hidden), (0,))]

    return body(
        {
            "i": I32,
            "h": f64(n, hidden),
            "x": f64(n, inputs),
            "w": f64(inputs, hidden),
            "u": f64(hidden, hidden),
        },
        step,
        "cell",
    )
