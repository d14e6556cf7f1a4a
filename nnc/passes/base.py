"""What a pass is, and the `Rewriter` with which passes change a graph in place.

A pass keeps what a graph computes, to the bit where it says nothing else.  It changes the graph in
place from a worklist: at 100,000 nodes a copy costs over a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.host import HostExpr

#: what a step is given by the host, by name
Scalars = dict[str, HostExpr]

#: when a pass runs: what is left to differentiate is another graph than what comes of it
BEFORE, AFTER = "before differentiation", "after differentiation"


@dataclass(frozen=True)
class Pass:
    """A named rewriting of one graph in place; `doc` is one line for the command line.

    `exact` is whether it keeps every bit; one that does not changes roundings, no more.
    """

    name: str
    run: Callable[[Graph], None]
    doc: str
    stage: str = AFTER
    exact: bool = True
    #: on the graph of a step, in place of `run`: given its scalars, those that it reads besides
    hoist: Callable[[Graph, Scalars], Scalars] | None = None


def bodies(node: Node) -> Iterator[tuple[str, Graph]]:
    """The body of a loop or a call, with the name of the attribute that holds it."""
    if "body" in node.attrs:
        yield "body", node.attrs["body"]


def run_on_bodies(graph: Graph, run: Callable[[Graph], object], end: int | None = None) -> None:
    """`run` on every body that a node of `graph` holds, in place where no other graph holds it.

    With `end`, of nodes with a smaller id alone.  A shared body is replaced by a copy, once for all
    passes; one that several nodes of `graph` share stays shared.
    """
    done: dict[int, tuple[Graph, Graph]] = {}  # holds the originals too: an id lives as they do
    for node in graph.holders():
        if end is not None and node.id >= end:
            continue
        body = node.attrs["body"]
        if id(body) not in done:
            own = body.copy() if body.is_shared else body
            own.is_shared = False
            run(own)
            done[id(body)] = body, own
        if done[id(body)][1] is not body:
            node.attrs = {**node.attrs, "body": done[id(body)][1]}


class RecordingBuilder(Builder):
    """A builder that remembers the nodes it added, so that they get their turn."""

    def __init__(self, graph: Graph):
        super().__init__(graph)
        self.added: list[int] = []

    def emit(self, op: str, *operands: Tensor, name: str = "", **attrs: Any) -> Any:
        made = super().emit(op, *operands, name=name, **attrs)
        first = made[0] if isinstance(made, tuple) else made
        self.added.append(first.value.node)
        return made


class Rewriter:
    """A worklist over the nodes of `graph` in order of creation, and the edits passes make.

    Iteration gives each node once, and again the readers of a value that `replace` moved; nodes
    added by `builder` come when the others are through.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.builder = RecordingBuilder(graph)
        self._outputs: dict[Value, list[str]] = {}
        for name, value in graph.outputs.items():
            self._outputs.setdefault(value, []).append(name)
        self._work: deque[int] = deque(graph.nx)
        self._waiting = set(self._work)

    def __iter__(self) -> Iterator[Node]:
        nodes = self.graph.nx._node
        while self._work or self.builder.added:
            if self.builder.added:
                self.push(self.builder.added)
                self.builder.added.clear()
            id = self._work.popleft()
            self._waiting.discard(id)
            if id in nodes:
                yield nodes[id]["node"]

    def push(self, ids: Iterable[int]) -> None:
        for id in ids:
            if id not in self._waiting:
                self._waiting.add(id)
                self._work.append(id)

    def operands(self, node: Node) -> tuple[Tensor, ...]:
        return tuple(self.builder.tensor(value) for value in node.operands)

    def is_output(self, value: Value) -> bool:
        return value in self._outputs

    def gives_output(self, node: Node) -> bool:
        """Whether a result of `node` is an output."""
        return any(Value(node.id, i) in self._outputs for i in range(len(node.types)))

    def replace(self, old: Value, new: Value) -> None:
        """Let all readers and outputs of `old` read `new`, and look at the readers again."""
        if old == new:
            return
        for user, _ in self.graph.users(old):
            operands = (new if value == old else value for value in user.operands)
            self.graph.set_operands(user, operands)
            self.push((user.id,))
        for name in self._outputs.pop(old, ()):
            self.graph.outputs[name] = new
            self._outputs.setdefault(new, []).append(name)

    def replace_node(self, node: Node, results: tuple[Tensor, ...]) -> None:
        """Let `results` take the place of the results of `node`, and remove what is then unread.

        The name and the origin of `node` go on to a new node that has none.
        """
        for index, result in enumerate(results):
            self.replace(Value(node.id, index), result.value)
        if len(results) == 1:
            made = self.graph.producer(results[0].value)
            if not made.name and made.op != "input":
                made.name = node.name
        self.remove_unread(node)

    def remove_unread(self, node: Node) -> None:
        """Remove `node` where nothing reads it, then its operands where they are unread by that."""
        stack = [node]
        while stack:
            dead = stack.pop()
            if dead.id not in self.graph.nx or not self._unread(dead):
                continue
            producers = {value.node for value in dead.operands}
            self.graph.remove(dead.id)
            stack.extend(self.graph.node(id) for id in producers)

    def _unread(self, node: Node) -> bool:
        return (
            node.op != "input" and not self.graph.nx._adj[node.id] and not self.gives_output(node)
        )
