"""What ops that hold a graph share: the signature of the body, and running it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnc.ir.graph import Graph, Value
from nnc.ir.types import TensorType, same_shape
from nnc.ops.registry import OpError


def body_inputs(body: Graph) -> list[tuple[str, TensorType]]:
    """Name and type of each input, in order."""
    nodes = (body.node(id) for id in body.inputs)
    return [(node.attrs["name"], node.type) for node in nodes]


def input_values(body: Graph) -> list[Value]:
    return [Value(id) for id in body.inputs]


def body_outputs(body: Graph) -> list[tuple[str, TensorType]]:
    """Name and type of each output, in order."""
    return [(name, body.type(value)) for name, value in body.outputs.items()]


def require_given(what: str, expected: TensorType, given: TensorType) -> None:
    if expected.dtype != given.dtype or not same_shape(expected.shape, given.shape):
        raise OpError(f"{what} is {expected}; it cannot be {given}")


def evaluate_body(body: Graph, operands: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The outputs of `body` for arrays in the order of its inputs."""
    from nnc.ir.interpret import evaluate_graph  # which runs all ops, these among them

    return evaluate_graph(body, operands)


def fresh_name(name: str, taken: set[str]) -> str:
    """`name`, with a number if it is taken; it is taken from then on."""
    chosen, number = name, 1
    while chosen in taken:
        number += 1
        chosen = f"{name}_{number}"
    taken.add(chosen)
    return chosen
