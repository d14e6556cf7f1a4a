"""Makes the functions of an emitted file take and return f32 where the graph has bf16.

NumPy, which stands on the other side, has no bf16.  The state alone keeps its types: it stays the
framework's own from step to step.
"""

from __future__ import annotations

from collections.abc import Collection

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Value


def cross_in_f32(graph: Graph, state: Collection[str]) -> None:
    """Inputs and outputs of bf16 become f32 in place, cast inside, but those named in `state`."""
    builder = Builder(graph)
    for id in graph.inputs:
        node = graph.node(id)
        if node.type.dtype == "bf16" and node.attrs["kind"] != "state":
            node.types = (node.type.with_dtype("f32"),)
            readers, outside = graph.users(Value(id)), _outputs(graph, Value(id))
            narrow = builder.tensor(Value(id)).cast("bf16").value
            for user, _ in readers:
                operands = (narrow if v == Value(id) else v for v in user.operands)
                graph.set_operands(user, operands)
            graph.outputs |= dict.fromkeys(outside, narrow)
    for name, value in graph.outputs.items():
        if graph.type(value).dtype == "bf16" and name not in state:
            with builder.at(graph.producer(value).origin):
                graph.outputs[name] = builder.tensor(value).cast("f32").value


def _outputs(graph: Graph, value: Value) -> list[str]:
    return [name for name, output in graph.outputs.items() if output == value]
