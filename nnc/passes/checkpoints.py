"""Which forward values of a step are kept for its backward pass: a minimum cut.

The forward pass is divided into stretches where little crosses from one to the next, as Chen et al.
divide it ("Training deep nets with sublinear memory cost", 2016).  What crosses is kept where it
is needed again.  Inside a stretch, the values to keep are the cheapest set that separates what must
not be computed twice from what the backward pass reads: a minimum cut by bytes, as in the
partitioner of functorch (He, "min-cut optimal recomputation", 2021).  In a stretch that is
computed again as a whole, products included, nothing has to be kept but what crosses into it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import networkx

from nnc.ir.dims import product
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.storage import bytes_of, count
from nnc.ops.registry import OPS
from nnc.passes.recompute import Halves

#: what is cheap to compute again: it goes through memory a few times
CHEAP_FAMILIES = ("elementwise", "creation", "shape", "reduce", "random")
CHEAP = {
    "sigmoid", "softplus", "log_sigmoid", "gelu", "gelu_grad", "silu", "silu_grad", "layer_norm",
    "batch_norm", "softmax", "log_softmax", "logsumexp", "take", "take_along",
}  # fmt: skip
#: what computing an element costs beside a multiplication and addition of a product
PASS = 16
SOURCE, SINK = "source", "sink"


def is_cheap(node: Node) -> bool:
    return OPS[node.op].family in CHEAP_FAMILIES or node.op in CHEAP


def work(node: Node, graph: Graph) -> int:
    """What it costs to compute a node, in operations of a product."""
    size = sum(count(type.size) for type in node.types)
    if node.op == "scan":
        body = node.attrs["body"]
        return count(node.attrs["length"]) * sum(work(inner, body) for inner in body)
    if node.op == "call":
        return sum(work(inner, node.attrs["body"]) for inner in node.attrs["body"])
    if node.op == "dot":
        shape = graph.type(node.operands[0]).shape
        return 2 * size * count(product([shape[axis] for axis in node.attrs["contract"][0]]))
    if node.op == "conv":
        return 2 * size * count(product(graph.type(node.operands[1]).shape[:-1]))
    if node.op == "attention":
        scores = graph.type(node.operands[0]).shape[:-1]
        return 2 * size * count(graph.type(node.operands[1]).shape[-2]) + PASS * count(
            product(scores)
        )
    return PASS * size


# ---------------------------------------------------------------- stretches
def narrow_places(halves: Halves, stretches: int) -> list[int]:
    """Positions in the forward pass that divide it into about equal `stretches`, by bytes.

    Of the positions near each of the equal ones, that one where the least crosses.
    """
    sizes = [sum(halves.storage.bytes(value) for value in results(n)) for n in halves.forward]
    crossing = crossing_bytes(halves)
    ends = list(_running(sizes))
    total = ends[-1] if ends else 0
    places: list[int] = []
    for number in range(1, stretches):
        goal, reach = total * number / stretches, total / stretches / 2
        near = [at for at, end in enumerate(ends, 1) if abs(end - goal) <= reach]
        near = [at for at in near if at < len(ends) and (not places or at > places[-1])]
        if near:
            places.append(min(near, key=lambda at: (crossing[at], abs(ends[at - 1] - goal))))
    return places


def crossing_bytes(halves: Halves) -> list[int]:
    """For each position, the bytes of earlier values that forward nodes from there on read."""
    change = [0] * (len(halves.forward) + 2)
    for owner, last in halves.last_read.items():
        if owner.node in halves.place and owner.node not in halves.drawn | halves.fixed:
            size = halves.storage.bytes(owner)
            change[halves.place[owner.node] + 1] += size
            change[last + 1] -= size
    return list(_running(change))


def _running(numbers: Iterable[int]) -> Iterable[int]:
    total = 0
    for number in numbers:
        total += number
        yield total


def results(node: Node) -> list[Value]:
    return [Value(node.id, index) for index in range(len(node.types))]


# ---------------------------------------------------------------- plans
@dataclass(frozen=True)
class Plan:
    """What is computed again, stretch by stretch, and what that costs."""

    groups: tuple[frozenset[int], ...]  # the nodes of each stretch, the last one first
    cost: int


def plan(halves: Halves, places: list[int], whole: Collection[int]) -> Plan:
    """Keep what the minimum cuts of all stretches say; those in `whole` are computed again.

    `places` divide the forward pass; `whole` are numbers of stretches.
    """
    bounds = [0, *places, len(halves.forward)]
    wanted, kept = halves.needed(), outputs_of(halves)
    groups = []
    for number in range(len(bounds) - 2, -1, -1):
        members = {node.id for node in halves.forward[bounds[number] : bounds[number + 1]]}
        here = {value for value in wanted if value.node in members | halves.drawn}
        cut = Cut(halves, members | halves.drawn, bounds[number + 1], number in whole, kept)
        groups.append(frozenset(cut.recomputed(here)))
    again = set().union(*groups)
    cost = sum(work(halves.graph.node(id), halves.graph) for id in again)
    return Plan(tuple(group for group in groups if group), cost)


def outputs_of(halves: Halves) -> set[Value]:
    """What is kept anyway."""
    return {halves.storage.owner(value) for value in halves.graph.outputs.values()}


@dataclass
class Cut:
    """The minimum cut of one stretch, which ends before position `end`; `kept` grows by it."""

    halves: Halves
    members: set[int]
    end: int
    is_whole: bool
    kept: set[Value]

    def recomputed(self, wanted: set[Value]) -> set[int]:
        """The nodes that are computed again for `wanted`, after what is to be kept is."""
        network = self._network(wanted)
        if SOURCE in network and SINK in network:
            _, (before, _) = networkx.minimum_cut(network, SOURCE, SINK)
            self.kept |= {v for v, side in before - {SOURCE} if side == "in"} & {
                v for v, side in set(network) - before - {SINK} if side == "out"
            }
        return self._behind(wanted)

    def _network(self, wanted: set[Value]) -> Any:
        """Values as edges from "in" to "out", of the capacity that keeping them costs."""
        network, storage = networkx.DiGraph(), self.halves.storage
        seen: set[Value] = set()
        stack = [value for value in wanted if not self._is_there(value)]
        network.add_edges_from(((value, "out"), SINK) for value in stack)
        while stack:
            value = stack.pop()
            if value in seen:
                continue
            seen.add(value)
            if value.node not in self.members:
                value = storage.owner(value)
            if storage.is_view(value):
                network.add_edge((value, "in"), (value, "out"))
            else:
                network.add_edge((value, "in"), (value, "out"), capacity=self._price(value))
            node = self.halves.graph.producer(value)
            if not self._may_repeat(node):
                network.add_edge(SOURCE, (value, "in"))
                continue
            for operand in node.operands:
                if not self._is_there(operand):
                    inside = operand.node in self.members
                    source = operand if inside else storage.owner(operand)
                    network.add_edge((source, "out"), (value, "in"))
                    stack.append(operand)
        return network

    def _price(self, value: Value) -> int:
        """Bytes; of equal ones the latest is the cheapest, since less is computed again."""
        length = len(self.halves.forward)
        size = bytes_of(self.halves.graph.type(value))
        return 2 * length * size + length - self.halves.place[value.node]

    def _is_there(self, value: Value) -> bool:
        """Whether reading `value` keeps nothing more alive."""
        owner = self.halves.storage.owner(value)
        return self.halves.is_free(value) or (owner in self.kept and owner == value)

    def _may_repeat(self, node: Node) -> bool:
        if node.id not in self.members or node.id in self.halves.fixed:
            return False
        if node.id in self.halves.drawn or self.halves.storage.is_view(Value(node.id)):
            return True
        crosses = any(self._crosses(value) for value in results(node))
        return not crosses and (self.is_whole or is_cheap(node))

    def _crosses(self, value: Value) -> bool:
        """Whether a later stretch reads `value`, or a view of it."""
        return self.halves.last_read.get(value, 0) >= self.end

    def _behind(self, wanted: set[Value]) -> set[int]:
        """The nodes from what is kept to `wanted`."""
        storage, found, stack = self.halves.storage, set[int](), list(wanted)
        while stack:
            value = stack.pop()
            if value.node in found or self._is_there(value):
                continue
            if value.node not in self.members:
                self.kept.add(storage.owner(value))
                continue
            found.add(value.node)
            stack += self.halves.graph.node(value.node).operands
        return found
