"""Which values of a step are alive when, and so how much memory it takes at its peak.

A value takes its bytes from the node that computes it, in the order in which a step is printed, to
the last that reads it or a view of it.  The state is updated in place.  This is what a framework
that computes op by op takes; one that fuses ops takes less.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nnc.ir.graph import Graph, Node, Value
from nnc.ir.order import needed, sources, step_order
from nnc.ir.program import is_result
from nnc.ir.storage import Storage, bytes_of, is_elementwise

#: what a value is to a step; also the sections of `step_order` that compute each kind
STATE, BATCH, ACTIVATIONS, GRADIENTS, WORKSPACE = (
    "state", "batch", "activations", "gradients", "workspace",
)  # fmt: skip
KINDS = (STATE, BATCH, ACTIVATIONS, GRADIENTS, WORKSPACE)
SECTION_KINDS = {"forward": ACTIVATIONS, "gradients": GRADIENTS, "update": GRADIENTS}
#: op -> temporaries while it is computed, as multiples of its result
TEMPORARIES = {
    "softmax": 1.0, "log_softmax": 2.0, "logsumexp": 1.0, "softmax_grad": 1.0, "erf": 2.0,
    "layer_norm": 2.0, "layer_norm_grad": 2.0, "batch_norm": 2.0, "batch_norm_grad": 2.0,
}  # fmt: skip
CONVOLUTIONS = ("conv", "conv_input_grad", "conv_filter_grad")
WINDOWS = 1 << 20


@dataclass(frozen=True)
class Held:
    """A value that is alive: its name, where it comes from, its bytes and kind."""

    name: str
    place: str
    bytes: int
    kind: str


@dataclass(frozen=True)
class Peak:
    """The moment of a step at which most bytes are alive; `values` is sorted, the largest first."""

    bytes: int
    at: Node | None
    values: tuple[Held, ...]

    @property
    def parts(self) -> dict[str, int]:
        """Bytes by kind."""
        sums = dict.fromkeys(KINDS, 0)
        for held in self.values:
            sums[held.kind] += held.bytes
        return sums


@dataclass(frozen=True)
class Liveness:
    """The nodes of a graph in order, and the bytes alive while each is computed."""

    graph: Graph
    order: tuple[Node, ...]
    alive: tuple[int, ...]
    storage: Storage
    kinds: Mapping[int, str]  # node -> kind of its results
    last: Mapping[Value, int]  # value with bytes of its own -> position of its last reader

    @property
    def most(self) -> int:
        return max(self.alive, default=0)

    def peak(self) -> Peak:
        if not self.order:
            return Peak(0, None, ())
        at = self.alive.index(self.most)
        held = [self._held(value) for value in self.alive_at(at)]
        extra = workspace(self.graph, self.order[at])
        if extra:
            node = self.order[at]
            held.append(Held(f"inside {label(node)}", place(node), extra, WORKSPACE))
        held.sort(key=lambda h: -h.bytes)
        return Peak(self.most, self.order[at], tuple(held))

    def alive_at(self, at: int) -> list[Value]:
        """The values with bytes of their own that are alive while node number `at` is computed."""
        found = []
        for position, node in enumerate(self.order):
            if position > at and node.op != "input":
                continue
            for index in range(len(node.types)):
                value = Value(node.id, index)
                if self.storage.bytes(value) and self.last.get(value, position) >= at:
                    found.append(value)
        return found

    def _held(self, value: Value) -> Held:
        node = self.graph.producer(value)
        return Held(label(node), place(node), self.storage.bytes(value), self.kinds[node.id])


def label(node: Node) -> str:
    return node.attrs["name"] if node.op == "input" else node.name or node.op


def place(node: Node) -> str:
    """The line of the program that a node comes from, and its instance."""
    if not node.origin:
        return ""
    origin = node.origin[0]
    return f"{origin.file}:{origin.line} {origin.scope}".rstrip()


# ---------------------------------------------------------------- analysis
def step_liveness(graph: Graph, keeps: int = 0) -> Liveness:
    """Of the graph of a step; values of less than `keeps` bytes live to its end."""
    parts = step_order(graph)
    given = [graph.node(id) for id in graph.inputs]
    kinds = {n.id: STATE if n.attrs["kind"] == "state" else BATCH for n in given}
    for title, members in parts:
        kinds |= dict.fromkeys((node.id for node in members), SECTION_KINDS[title])
    nodes = [*given, *(node for _, members in parts for node in members)]
    return liveness(graph, nodes, kinds, frozenset(updating(graph)), keeps)


def liveness(
    graph: Graph,
    order: Sequence[Node],
    kinds: Mapping[int, str],
    placed: frozenset[int] = frozenset(),
    keeps: int = 0,
) -> Liveness:
    """Of the nodes of `order`; inputs and outputs live from the first to the last of them."""
    storage = Storage(graph, order, placed)
    end = len(order)
    last: dict[Value, int] = {}
    readers: Counter[Value] = Counter()
    for position, node in enumerate(order):
        read = sources(graph, node)
        readers.update(read)
        if node.op == "input":
            last[Value(node.id)] = end
        for value in read:
            last[storage.owner(value)] = max(position, last.get(storage.owner(value), 0))
    for value in graph.outputs.values():
        last[storage.owner(value)] = end
    freed: dict[int, int] = defaultdict(int)
    alive = []
    now = sum(storage.bytes(Value(id)) for id in graph.inputs)
    for position, node in enumerate(order):
        made = 0
        for index in range(len(node.types)):
            value = Value(node.id, index)
            if node.op != "input" and (size := storage.bytes(value)):
                made += size
                if size < keeps and is_variable(graph, value, readers):
                    last[value] = end
                freed[last.get(value, position)] += size
        now += made
        alive.append(now + (workspace(graph, node) if made else 0))
        now -= freed.pop(position, 0)
    return Liveness(graph, tuple(order), tuple(alive), storage, kinds, last)


def is_variable(graph: Graph, value: Value, readers: Counter[Value]) -> bool:
    """Whether `value` has a name of its own, rather than a place inside an expression."""
    node = graph.producer(value)
    return readers[value] > 1 or bool(node.name) or not is_elementwise(node)


def workspace(graph: Graph, node: Node) -> int:
    """Bytes that a node takes while it is computed, beside its operands and results."""
    if node.op in TEMPORARIES:
        return int(TEMPORARIES[node.op] * bytes_of(node.types[0]))
    if node.op in CONVOLUTIONS:  # a padded copy, and the windows of some samples at a time
        return bytes_of(graph.type(node.operands[0])) + WINDOWS
    if node.op in ("scan", "call"):
        body = node.attrs["body"]
        order = needed(body, body.outputs.values())
        given = sum(bytes_of(body.node(id).type) for id in body.inputs)
        return max(0, liveness(body, order, {}).most - given)
    return 0


def updating(graph: Graph) -> Iterable[int]:
    """The nodes that update one entry of the state, element by element, and serve nothing else.

    Backends do that in place, in pieces, or in one kernel.
    """
    owners: dict[int, str] = {}
    for name, value in graph.outputs.items():
        if not is_result(name):
            owners[value.node] = name.rpartition("/")[2]
    results = {value.node for name, value in graph.outputs.items() if is_result(name)}
    for node in reversed(list(graph)):
        readers = {owners.get(id, "") for id in graph.nx.adj[node.id]}
        readers |= {owners[node.id]} if node.id in owners else set()
        if len(readers) != 1 or "" in readers or node.id in results:
            owners.pop(node.id, None)
            continue
        if is_elementwise(node) and not node.name.startswith("d_"):
            owners[node.id] = readers.pop()
            yield node.id
        else:
            owners.pop(node.id, None)
