"""In which order the nodes of a graph are computed, and what each of them reads.

Emitted functions are printed in this order, and their memory is predicted from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from nnc.ir.graph import Graph, Node, Value
from nnc.ir.program import is_result
from nnc.ops.registry import OPS


class Read(NamedTuple):
    """A value as a node reads it; `axes` is set where the node reads past a broadcast."""

    value: Value
    axes: tuple[int, ...] | None = None


def reads(graph: Graph, node: Node) -> list[Read]:
    """What the text of `node` refers to."""
    if OPS[node.op].family != "elementwise" or not node.type.rank:
        return [Read(value) for value in node.operands]
    if all(graph.producer(value).op != "broadcast" for value in node.operands):
        return [Read(value) for value in node.operands]
    found = [past_broadcasts(graph, value) for value in node.operands]
    covered = {axis for read in found for axis in _axes(read, node)}
    if covered >= set(range(node.type.rank)):
        return found
    return [Read(node.operands[0]), *found[1:]]  # something must have the shape of the result


def sources(graph: Graph, node: Node) -> Iterable[Value]:
    """The values that the text of `node` refers to."""
    found = node.operands
    if any(graph.producer(value).op == "broadcast" for value in found):
        return [read.value for read in reads(graph, node)]
    return found


def past_broadcasts(graph: Graph, value: Value) -> Read:
    axes: tuple[int, ...] | None = None
    node = graph.producer(value)
    while node.op == "broadcast":
        outer = axes
        axes = node.attrs["axes"]
        axes = axes if outer is None else tuple(outer[axis] for axis in axes)
        value = node.operands[0]
        node = graph.producer(value)
    return Read(value, axes)


def _axes(read: Read, node: Node) -> Iterable[int]:
    return range(node.type.rank) if read.axes is None else read.axes


def needed(graph: Graph, targets: Iterable[Value], given: Iterable[Value] = ()) -> list[Node]:
    """The nodes that must be printed for `targets` where `given` is there, in order of
    computation."""
    found = behind(graph, targets, {value.node for value in given})
    return just_in_time(graph, [node for node in graph if node.id in found])


def just_in_time(graph: Graph, nodes: list[Node]) -> list[Node]:
    """`nodes` with those that depend on no data (masks, counts) right before their first reader."""
    read = {node.id: [value.node for value in sources(graph, node)] for node in nodes}
    given = {node.id for node in nodes if node.op == "input"}
    scalars = {id for id in given if graph.node(id).attrs["kind"] == "scalar"}
    waiting: dict[int, Node] = {}
    order: list[Node] = []
    for node in nodes:
        if node.id not in given and all(id in scalars or id in waiting for id in read[node.id]):
            waiting[node.id] = node
        else:
            order += [*called(read, waiting, read[node.id]), node]
    return order + called(read, waiting, list(waiting))


def called(
    read: dict[int, list[int]], waiting: dict[int, Node], wanted: Sequence[int]
) -> list[Node]:
    """Those of `wanted` that are `waiting`, after what they `read`; they wait no longer."""
    order: list[Node] = []
    stack = [id for id in reversed(wanted) if id in waiting]
    while stack:
        id = stack[-1]
        before = [source for source in read[id] if source in waiting]
        if before and id in waiting:
            stack += reversed(before)
        else:
            stack.pop()
            if id in waiting:
                order.append(waiting.pop(id))
    return order


# ---------------------------------------------------------------- the parts of a step
def step_order(graph: Graph) -> list[tuple[str, list[Node]]]:
    """All that a step computes, as `sections` of what its outputs need."""
    return sections(graph, needed(graph, graph.outputs.values()))


def sections(graph: Graph, nodes: list[Node]) -> list[tuple[str, list[Node]]]:
    """The nodes of a step under titles, in order of computation; empty parts are left out.

    Forward is what loss and metrics need.  Of the rest, an update is what depends on the moments of
    an optimizer or on a scalar of the host that the forward part does not read.
    """
    forward = behind(graph, forward_results(graph))
    inputs = {node.id for node in nodes if node.op == "input" and is_update_source(node)}
    update = inputs - forward
    for node in nodes:
        if any(value.node in update for value in sources(graph, node)):
            update.add(node.id)
    update -= forward
    parts: dict[str, list[Node]] = {"forward": [], "gradients": [], "update": []}
    for node in nodes:
        if node.op == "input":
            continue
        title = "forward" if node.id in forward else "update" if node.id in update else "gradients"
        parts[title].append(node)
    return [(title, members) for title, members in parts.items() if members]


def forward_results(graph: Graph) -> list[Value]:
    """The loss and the metrics of a step."""
    outputs = graph.outputs.items()
    return [value for name, value in outputs if is_result(name) and name != "@skipped"]


def is_update_source(node: Node) -> bool:
    return node.attrs["kind"] == "scalar" or node.attrs["name"].startswith("@opt/")


def behind(graph: Graph, targets: Iterable[Value], given: Collection[int] = ()) -> set[int]:
    """The nodes that `targets` are computed from, with their own, up to nodes that are `given`."""
    found: set[int] = set()
    stack = [value.node for value in targets]
    while stack:
        id = stack.pop()
        if id not in found and id not in given:
            found.add(id)
            stack.extend(value.node for value in sources(graph, graph.node(id)))
    return found
