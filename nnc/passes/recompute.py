"""A step that computes parts of its forward pass again in its backward pass.

`Halves` is the graph of a step as the two passes; `rebuilt` writes it down again with the values
of a plan recomputed, in the order in which it is to be printed.  Every copy of a node computes
what the node does from the same values, so not a bit changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.order import forward_results
from nnc.ir.reverse import ancestors
from nnc.ir.storage import Storage, bytes_of

TINY = 64  # bytes


@dataclass(frozen=True)
class Halves:
    """The nodes of a step: those that loss and metrics need, and all others, in order."""

    graph: Graph
    forward: tuple[Node, ...]
    backward: tuple[Node, ...]
    storage: Storage
    place: Mapping[int, int]  # forward node -> its position
    last_read: Mapping[Value, int]  # forward value -> position of the last reader of it or a view
    fixed: frozenset[int]  # forward nodes that depend on no batch and no draw but on weights
    drawn: frozenset[int]  # forward nodes that depend on scalars alone: masks, counts

    @staticmethod
    def of(graph: Graph) -> Halves:
        order = [node for node in graph if node.op != "input"]
        reached = ancestors(graph, forward_results(graph))
        forward = tuple(node for node in order if node.id in reached)
        place = {node.id: at for at, node in enumerate(forward)}
        last: dict[Value, int] = {}
        for at, node in enumerate(forward):
            for value in node.operands:
                last[value] = at
        backward = [node for node in order if node.id not in reached]
        storage = Storage(graph, [*(graph.node(id) for id in graph.inputs), *order])
        last_read: dict[Value, int] = {}
        for value, at in last.items():
            owner = storage.owner(value)
            last_read[owner] = max(last_read.get(owner, 0), at)
        sources = sources_of(graph, forward)
        drawn = frozenset(id for id, kinds in sources.items() if kinds <= {"scalar"})
        fixed = frozenset(id for id, kinds in sources.items() if kinds == {"state"})

        def position(value: Value) -> int | None:
            owner = storage.owner(value)
            if owner.node not in place or owner.node in drawn | fixed:
                return None
            return last_read.get(owner, place[owner.node])

        ordered = tuple(latest_first(backward, position, len(forward)))
        return Halves(graph, forward, ordered, storage, place, last_read, fixed, drawn)

    def is_free(self, value: Value) -> bool:
        """Whether `value` is there anyway: an input or a view of one, or next to nothing."""
        owner = self.storage.owner(value)
        return self.graph.producer(owner).op == "input" or bytes_of(self.graph.type(owner)) <= TINY

    def needed(self) -> set[Value]:
        """The forward values that the backward pass reads."""
        values = {value for node in self.backward for value in node.operands}
        return {value for value in values if value.node in self.place and not self.is_free(value)}


def sources_of(graph: Graph, nodes: tuple[Node, ...]) -> dict[int, frozenset[str]]:
    """Node -> the kinds of inputs that it depends on."""
    found: dict[int, frozenset[str]] = {}
    for id in graph.inputs:
        found[id] = frozenset((graph.node(id).attrs["kind"],))
    for node in nodes:
        found[node.id] = frozenset().union(*(found[value.node] for value in node.operands))
    return {node.id: found[node.id] for node in nodes}


def latest_first(nodes: list[Node], place: Callable[[Value], int | None], end: int) -> list[Node]:
    """The nodes of a backward pass, those first that need the end of the forward pass alone.

    A derivative such as that of gelu depends on the forward pass alone and so could be computed
    at once; it is to wait until the gradient has come to its place.  `place` is that of a forward
    value, where it has one.
    """
    depth: dict[int, int] = {}
    for node in nodes:
        places = (depth.get(v.node, place(v)) for v in node.operands)
        depth[node.id] = min((at for at in places if at is not None), default=end)
    return sorted(nodes, key=lambda node: -depth[node.id])  # stable, so still topological


@dataclass
class Rewriting:
    """One graph being written down again."""

    halves: Halves
    groups: tuple[frozenset[int], ...]
    new: Graph
    at: dict[Value, Value] = field(default_factory=dict)  # old value -> where it is now
    again: dict[Value, Value] = field(default_factory=dict)  # the same, recomputed
    guarded: dict[int, dict[Value, Value]] = field(default_factory=dict)  # group -> behind barrier
    pending: Counter[Value] = field(default_factory=Counter)  # backward readers still to come
    made: list[Value] = field(default_factory=list)  # values of the backward pass so far

    def copy(self, node: Node, operands: tuple[Value, ...]) -> Node:
        made = self.new.insert(node.op, operands, node.attrs, node.types, node.name, node.origin)
        return made

    def now(self, value: Value) -> Value:
        return self.again.get(value, self.at[value]) if value in self.at else self.again[value]


def rebuilt(halves: Halves, groups: tuple[frozenset[int], ...]) -> Graph:
    """The graph of `halves` with the nodes of each of `groups` computed again.

    The copies stand right before their first reader.  What they read is held back by a `barrier`
    until the gradient has come to them, so that no compiler takes them for what they copy.
    """
    graph = halves.graph
    work = Rewriting(halves, groups, Graph(graph.name, scope=graph.scope))
    for id in graph.inputs:
        made = work.copy(graph.node(id), ())
        work.at[Value(id)] = Value(made.id)
    for node in halves.forward:
        _place(work, node)
    for node in halves.backward:
        work.pending.update(node.operands)
    owner = {id: number for number, group in enumerate(groups) for id in group}
    for node in halves.backward:
        for value in node.operands:
            if value.node in owner and value not in work.again:
                _recompute(work, owner[value.node], value)
        _place(work, node)
        work.pending.subtract(node.operands)
        work.made += [Value(node.id, index) for index in range(len(node.types))]
    work.new.outputs = {name: work.at[value] for name, value in graph.outputs.items()}
    return work.new


def _place(work: Rewriting, node: Node) -> None:
    made = work.copy(node, tuple(work.now(value) for value in node.operands))
    for index in range(len(node.types)):
        work.at[Value(node.id, index)] = Value(made.id, index)


def _recompute(work: Rewriting, number: int, wanted: Value) -> None:
    """Copies of `wanted` and of all that group `number` has to compute for it."""
    nodes = work.groups[number]
    if number not in work.guarded:
        work.guarded[number] = _barrier(work, nodes)
    guarded, graph = work.guarded[number], work.halves.graph
    for node in _before(work, nodes, wanted.node):
        operands = (
            work.again[v] if v.node in nodes else guarded.get(v) or work.now(v)
            for v in node.operands
        )
        made = work.copy(node, tuple(operands))
        for index in range(len(graph.node(node.id).types)):
            work.again[Value(node.id, index)] = Value(made.id, index)


def _before(work: Rewriting, nodes: frozenset[int], last: int) -> Iterator[Node]:
    """Those of `nodes` that are to be computed for `last`, in order, `last` included."""
    found: set[int] = set()
    stack = [last]
    while stack:
        id = stack.pop()
        if id in found or Value(id) in work.again:
            continue
        found.add(id)
        stack += [v.node for v in work.halves.graph.node(id).operands if v.node in nodes]
    return (work.halves.forward[at] for at in sorted(work.halves.place[id] for id in found))


def _barrier(work: Rewriting, nodes: frozenset[int]) -> dict[Value, Value]:
    """What `nodes` read from outside, after the latest gradient: old value -> new one."""
    halves, graph = work.halves, work.halves.graph
    read = dict.fromkeys(
        value
        for at in sorted(halves.place[id] for id in nodes)
        for value in halves.forward[at].operands
        if value.node not in nodes and _may_wait(halves, value)
    )
    trigger = next((v for v in reversed(work.made) if work.pending[v] > 0), None)
    held = [*read, *([trigger] if trigger is not None else [])]
    if not read:
        return {}
    builder = Builder(work.new, graph.producer(held[0]).origin)
    made = builder.emit("barrier", *(builder.tensor(work.now(value)) for value in held))
    results = made if isinstance(made, tuple) else (made,)
    behind = {value: result.value for value, result in zip(held, results, strict=True)}
    if trigger is not None:
        work.again[trigger] = behind.pop(trigger)
    return behind


def _may_wait(halves: Halves, value: Value) -> bool:
    """Weights need no barrier: they are read with something that has one, and change in place."""
    node = halves.graph.producer(value)
    if node.op == "input":
        return bool(node.attrs["kind"] != "state")
    return node.id not in halves.fixed and bool(node.operands)
