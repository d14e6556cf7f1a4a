"""The graph: one op a node, one operand an edge, on a `networkx.MultiDiGraph`.

networkx's own algorithms (order, dominators, min-cut, drawing) work on `Graph.nx` directly.  Each
networkx node is an integer id whose attribute `"node"` is the `Node`; an edge (producer, consumer)
has the operand's index as its key and the producer's result index as its attribute `"result"`.

Bodies of loops and calls are graphs of their own, held in an attribute of their node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, NamedTuple

import networkx
import numpy as np

from nnc.ir.types import TensorType


class Value(NamedTuple):
    """Result `index` of node `node`."""

    node: int
    index: int = 0  # type: ignore[assignment]  # hides tuple.index, which nobody wants here


class Origin(NamedTuple):
    """Where in a program a node comes from, and the path of the instance it belongs to."""

    file: str
    line: int
    column: int
    scope: str = ""


class Array:
    """A NumPy array as an immutable, comparable attribute (for `const`)."""

    __slots__ = ("_hash", "data")

    def __init__(self, data: np.ndarray):
        self.data = np.array(data)
        self.data.setflags(write=False)
        self._hash = hash((self.data.dtype.str, self.data.shape, self.data.tobytes()))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Array)
            and self.data.dtype == other.data.dtype
            and self.data.shape == other.data.shape
            and self.data.tobytes() == other.data.tobytes()
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Array({self.data.dtype}{list(self.data.shape)})"


@dataclass(slots=True)
class Node:
    """One op.  `attrs` are immutable values (numbers, strings, tuples, dims, `Array`, `Graph`)."""

    id: int
    op: str
    operands: tuple[Value, ...]
    attrs: Mapping[str, Any]
    types: tuple[TensorType, ...]
    name: str = ""
    origin: tuple[Origin, ...] = ()

    @property
    def type(self) -> TensorType:
        """The type of the only result."""
        (only,) = self.types
        return only


@dataclass
class Graph:
    """A function from `inputs` (nodes with op `input`) to named `outputs`.

    `scope` is the path of the instance whose body this is, where it is the body of a `call`.
    `is_shared` is False for a body that is known to be held by nodes of one graph alone.
    """

    name: str = ""
    nx: networkx.MultiDiGraph = field(default_factory=networkx.MultiDiGraph)
    inputs: list[int] = field(default_factory=list)
    outputs: dict[str, Value] = field(default_factory=dict)
    scope: str = ""
    is_shared: bool = field(default=True, compare=False, repr=False)
    _next: int = 0
    _holders: set[int] = field(default_factory=set)  # ids of nodes that came with a body
    _sorted: list[int] | None = field(default=None, compare=False)  # `_order`, where it is known

    # ------------------------------------------------------------ reading
    # networkx's own dictionaries, without the views in front of them: passes read these most.
    def node(self, id: int) -> Node:
        return self.nx._node[id]["node"]

    def producer(self, value: Value) -> Node:
        return self.node(value.node)

    def type(self, value: Value) -> TensorType:
        node: Node = self.nx._node[value.node]["node"]
        return node.types[value.index]

    def __len__(self) -> int:
        return len(self.nx)

    def __iter__(self) -> Iterator[Node]:
        """Nodes in a topological order that keeps the order of creation where it can."""
        nodes = self.nx._node
        if self._sorted is None:
            self._sorted = self._order()
        elif len(self._sorted) != len(nodes):  # what was removed since has left the rest in order
            self._sorted = [id for id in self._sorted if id in nodes]
        return iter([nodes[id]["node"] for id in self._sorted])

    def _order(self) -> list[int]:
        """The lexicographically first topological order of the ids."""
        ids = sorted(self.nx._node)
        if self._is_ordered():
            return ids
        waiting = {id: len(self.node(id).operands) for id in ids}
        ready = [id for id in ids if not waiting[id]]  # sorted, so a heap already
        order = []
        while ready:
            id = heappop(ready)
            order.append(id)
            for consumer, edges in self.nx._adj[id].items():
                waiting[consumer] -= len(edges)
                if not waiting[consumer]:
                    heappush(ready, consumer)
        if len(order) < len(ids):
            raise networkx.NetworkXUnfeasible("the graph has a cycle")
        return order

    def _is_ordered(self) -> bool:
        """Whether each node reads older ones only."""
        for id, sources in self.nx._pred.items():
            for source in sources:
                if source >= id:
                    return False
        return True

    def users(self, value: Value) -> list[tuple[Node, int]]:
        """The (node, operand index) pairs that read `value`; outputs are not among them."""
        return [
            (self.node(consumer), key)
            for consumer, edges in self.nx._adj[value.node].items()
            for key, data in edges.items()
            if data["result"] == value.index
        ]

    def is_read_once(self, id: int) -> bool:
        """Whether one operand of one node reads node `id`; outputs do not count."""
        consumers = self.nx._adj[id]
        return len(consumers) == 1 and len(next(iter(consumers.values()))) == 1

    def holders(self) -> list[Node]:
        """The nodes that hold a body, in order of creation."""
        nodes = [self.node(id) for id in sorted(self._holders) if id in self.nx._node]
        return [node for node in nodes if "body" in node.attrs]

    def input_named(self, name: str) -> Value:
        for id in self.inputs:
            if self.node(id).attrs["name"] == name:
                return Value(id)
        raise KeyError(name)

    @property
    def input_names(self) -> list[str]:
        return [self.node(id).attrs["name"] for id in self.inputs]

    @property
    def dtypes(self) -> set[str]:
        """The element types of all values, those in bodies too."""
        found: set[str] = set()
        for id in self.nx:
            node = self.node(id)
            found.update(type.dtype for type in node.types)
            found.update(*(v.dtypes for v in node.attrs.values() if isinstance(v, Graph)))
        return found

    @property
    def next_id(self) -> int:
        """The id of the next node: all nodes added from now on have at least this one."""
        return self._next

    # ------------------------------------------------------------ writing
    def insert(
        self,
        op: str,
        operands: Iterable[Value],
        attrs: Mapping[str, Any],
        types: tuple[TensorType, ...],
        name: str = "",
        origin: tuple[Origin, ...] = (),
        id: int | None = None,
    ) -> Node:
        """Add a node whose types the caller has inferred (`Builder.emit` does both).

        `id` is for who reads a graph back; everyone else takes the next one.
        """
        number = self._next if id is None else id
        node = Node(number, op, tuple(operands), dict(attrs), types, name, origin)
        self._next = max(self._next, number + 1)
        self.nx.add_node(number, node=node)
        self._sorted = None
        self._connect(node)
        if op == "input":
            self.inputs.append(number)
        if "body" in node.attrs:
            node.attrs["body"].is_shared = True
            self._holders.add(number)
        return node

    def set_operands(self, node: Node, operands: Iterable[Value]) -> None:
        self._disconnect(node)
        node.operands = tuple(operands)
        self._connect(node)

    def replace(self, old: Value, new: Value) -> list[Node]:
        """Let every user and output of `old` read `new`; the users, for a worklist."""
        users = []
        for consumer, _ in self.users(old):
            if consumer.id == new.node:
                continue
            self.set_operands(consumer, (new if v == old else v for v in consumer.operands))
            users.append(consumer)
        for name, value in self.outputs.items():
            if value == old:
                self.outputs[name] = new
        return users

    def replace_results(self, node: Node, new: Sequence[Value]) -> None:
        """Let every user and output of `node` read `new`, one value a result of it."""
        for consumer in [self.node(id) for id in self.nx._adj[node.id]]:
            operands = (new[v.index] if v.node == node.id else v for v in consumer.operands)
            self.set_operands(consumer, operands)
        for name, value in self.outputs.items():
            if value.node == node.id:
                self.outputs[name] = new[value.index]

    def remove(self, id: int) -> None:
        """Remove a node that nothing reads."""
        assert not self.nx.out_degree(id), f"node {id} still has users"
        if self.node(id).op == "input":
            self.inputs.remove(id)
        self.nx.remove_node(id)

    def copy(self) -> Graph:
        """A copy that shares no node with this one; it shares the bodies."""
        other = Graph(self.name, inputs=list(self.inputs), outputs=dict(self.outputs))
        other.scope = self.scope
        other._next = self._next
        other._holders = set(self._holders)
        for id, data in self.nx._node.items():
            n: Node = data["node"]
            copied = Node(n.id, n.op, n.operands, n.attrs, n.types, n.name, n.origin)
            other.nx.add_node(id, node=copied)
            if "body" in n.attrs:
                n.attrs["body"].is_shared = True
        # as in the original, so that readers keep their order
        for source, consumers in self.nx._succ.items():
            for consumer, edges in consumers.items():
                own = {key: dict(data) for key, data in edges.items()}
                other.nx._succ[source][consumer] = own
        for consumer, sources in self.nx._pred.items():
            for source in sources:
                other.nx._pred[consumer][source] = other.nx._succ[source][consumer]
        return other

    # What `nx.add_edge` and `nx.remove_edge` do, without their questions.
    def _connect(self, node: Node) -> None:
        successors, sources = self.nx._succ, self.nx._pred[node.id]
        for key, value in enumerate(node.operands):
            edges = sources.get(value.node)
            if edges is None:
                edges = sources[value.node] = successors[value.node][node.id] = {}
            edges[key] = {"result": value.index}

    def _disconnect(self, node: Node) -> None:
        self._sorted = None
        sources = self.nx._pred[node.id]
        for source in sources:
            del self.nx._succ[source][node.id]
        sources.clear()
