"""Whether a step is smooth: no decision in it depends on the weights.

Training a net with relu or max-pooling amplifies one rounding that falls otherwise into another
curve in a few dozen steps.  What jumps is a decision: a comparison, a rank, a rounding to whole
numbers.  Where none that reads the state reaches the new state, the step is a continuous function
of it and float32 runs of honest backends stay close, so that their curves can be judged.  Maxima
and absolute values are continuous themselves; their gradients are made of decisions.
"""

from __future__ import annotations

from nnc.ir.graph import Graph, Value
from nnc.ir.program import is_result

#: ops whose result jumps where an operand passes a threshold
DECISIONS = frozenset((
    "eq", "ne", "lt", "le", "gt", "ge", "sign", "floor", "ceil", "round", "floordiv", "rem",
    "argmax", "argmin", "argsort", "max_pool", "is_finite",
))  # fmt: skip


def is_smooth(graph: Graph) -> bool:
    """Whether the new state is a continuous function of the old one."""
    inputs = {id for id in graph.inputs if graph.node(id).attrs["kind"] == "state"}
    outputs = [v for name, v in graph.outputs.items() if not is_result(name)]
    return not _decides(graph, inputs, outputs)


def _decides(graph: Graph, sources: set[int], outputs: list[Value]) -> bool:
    """Whether a decision lies on a way from one of `sources` to one of `outputs`."""
    reached: set[int] = set()
    work = [value.node for value in outputs]
    while work:
        id = work.pop()
        if id not in reached:
            reached.add(id)
            work += [value.node for value in graph.node(id).operands]
    moved = set(sources)
    for node in graph:
        if node.id not in reached or not any(v.node in moved for v in node.operands):
            continue
        moved.add(node.id)
        if node.op in DECISIONS or _body_decides(node.attrs.get("body")):
            return True
    return False


def _body_decides(body: Graph | None) -> bool:
    return body is not None and _decides(body, set(body.inputs[1:]), list(body.outputs.values()))
