"""What a value is, seen past how it was written: what passes that look for formulas ask of a graph.

Each question notes the nodes that it looked through, so that the formula can tell whether anything
else reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from nnc.ir.dims import Dim, equal, product
from nnc.ir.graph import Array, Graph, Node, Value
from nnc.ir.types import TensorType

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Spread:
    """`base`, repeated: its axes longer than 1 stand, in order, at `axes` of the whole."""

    base: Value
    axes: Axes


@dataclass(frozen=True)
class Centred:
    """x - mean(x) over `axes`; `mean` is the value that was subtracted."""

    x: Value
    axes: Axes
    mean: Value


@dataclass
class View:
    """Questions about values of `graph`; `inner` are the nodes that compute what was found."""

    graph: Graph
    inner: set[int] = field(default_factory=set)
    #: nodes that only repeat or reshape
    shapes: set[int] = field(default_factory=set)

    def node(self, value: Value, *ops: str) -> Node | None:
        """The node that made `value` where it is one of `ops`."""
        node = self.graph.producer(value)
        return node if node.op in ops else None

    def through(self, *nodes: Node) -> None:
        self.inner.update(node.id for node in nodes)

    # ------------------------------------------------------------ shapes
    def spread(self, value: Value) -> Spread:
        """`value` without the broadcasts, and the reshapes that add or drop axes of 1."""
        axes: Axes | None = None
        while True:
            node = self.graph.producer(value)
            here = long_axes(self.graph.type(value))
            step = _places(self.graph, node)
            axes = here if axes is None else axes
            if step is None:
                return Spread(value, axes)
            at = dict(zip(here, axes, strict=True))
            axes = tuple(at[axis] for axis in step)
            self.shapes.add(node.id)
            value = node.operands[0]

    def number(self, value: Value) -> float | None:
        """The number that every element of a constant equals, as it was written."""
        node = self.graph.producer(value)
        while node.op in ("broadcast", "reshape"):
            node = self.graph.producer(node.operands[0])
        held = node.attrs["value"] if node.op == "const" else None
        return None if held is None or isinstance(held, Array) else float(held)

    def is_count(self, value: Value, count: Dim) -> bool:
        """Whether `value` is the number `count` everywhere."""
        if isinstance(count, int):
            return self.number(value) == count
        node = self.node(self.spread(value).base, "size")
        return node is not None and equal(node.attrs["dim"], count) is True

    # ------------------------------------------------------------ moments
    def mean(self, value: Value) -> tuple[Value, Axes] | None:
        """x and the axes where `value` is the mean of x over them."""
        quotient = self.node(value, "div")
        if quotient is None:
            return None
        total = self.node(self.spread(quotient.operands[0]).base, "sum")
        if total is None:
            return None
        (x,), axes = total.operands, total.attrs["axes"]
        shape = self.graph.type(x).shape
        if not self.is_count(quotient.operands[1], product([shape[axis] for axis in axes])):
            return None
        self.through(quotient, total)
        return x, axes

    def centred(self, value: Value) -> Centred | None:
        difference = self.node(value, "sub")
        if difference is None:
            return None
        x, subtracted = difference.operands
        spread = self.spread(subtracted)
        found = self.mean(spread.base)
        if found is None or found[0] != x or not self.is_kept(spread, x, found[1]):
            return None
        self.through(difference)
        return Centred(x, found[1], spread.base)

    def is_kept(self, spread: Spread, x: Value, axes: Axes) -> bool:
        """Whether what is left of x without `axes` stands where it stood in x."""
        return spread.axes == tuple(a for a in long_axes(self.graph.type(x)) if a not in axes)

    def variance(self, value: Value) -> tuple[Value, Axes, list[Value]] | None:
        """x, the axes where `value` is mean((x - mean(x))^2) over them, and the means in it."""
        found = self.mean(value)
        square = self.node(found[0], "mul", "pow") if found is not None else None
        if found is None or square is None:
            return None
        bases = square.operands
        if square.op == "pow":
            if self.number(bases[1]) != 2:
                return None
            bases = bases[:1]
        roots = [self.centred(base) for base in bases]
        first = roots[0]
        if first is None or first.axes != found[1]:
            return None
        if any(root is None or (root.x, root.axes) != (first.x, first.axes) for root in roots):
            return None
        self.through(square)
        return first.x, first.axes, [root.mean for root in roots if root is not None]

    # ------------------------------------------------------------ readers
    def is_alone(
        self, root: Node, known: Iterable[Value], is_output: Callable[[Node], bool]
    ) -> bool:
        """Whether nothing but `root` needs the values inside, other than those that are `known`."""
        replaced = {root.id, *(value.node for value in known)}
        return not any(
            reader.id not in self.inner or (reader.id not in replaced and is_output(reader))
            for id in self.inner - replaced
            for reader in self._readers(id, is_output)
        )

    def _readers(self, id: int, is_output: Callable[[Node], bool]) -> Iterator[Node]:
        """What reads the node `id`, itself where it is an output, past changes of shape."""
        if is_output(self.graph.node(id)):
            yield self.graph.node(id)
        for reader in map(self.graph.node, list(self.graph.nx.adj[id])):
            if reader.id in self.shapes and reader.id not in self.inner:
                if is_output(reader):
                    yield reader
                yield from self._readers(reader.id, is_output)
            else:
                yield reader

    def reaches(self, root: Node, targets: Collection[int]) -> bool:
        """Whether one of the nodes `targets` is inside or depends on what is, but for `root`."""
        if not self.inner.isdisjoint(targets):
            return True
        seen = set(self.inner)
        stack = [id for id in self.inner if id != root.id]
        while stack:
            for reader in self.graph.nx.adj[stack.pop()]:
                if reader in targets:
                    return True
                if reader not in seen:
                    seen.add(reader)
                    stack.append(reader)
        return False


def long_axes(type: TensorType) -> Axes:
    return tuple(axis for axis, dim in enumerate(type.shape) if dim != 1)


def _places(graph: Graph, node: Node) -> Axes | None:
    """Where the long axes of the operand of a broadcast, or of a reshape to more or fewer axes of
    1, stand in its result; None for other nodes."""
    if node.op not in ("broadcast", "reshape"):
        return None
    before, after = graph.type(node.operands[0]), node.type
    if node.op == "broadcast":
        return tuple(node.attrs["axes"][axis] for axis in long_axes(before))
    old, new = long_axes(before), long_axes(after)
    kept = len(old) == len(new) and all(
        equal(before.shape[a], after.shape[b]) is True for a, b in zip(old, new, strict=True)
    )
    return new if kept else None


def scaled(view: View, value: Value) -> tuple[Value, float]:
    """x and c where `value` is x * c or x / (1 / c) for a number c, else the value and 1."""
    node = view.node(value, "mul", "div")
    if node is None:
        return value, 1.0
    for x, factor in (node.operands, node.operands[::-1])[: 1 + (node.op == "mul")]:
        number = view.number(factor)
        if number:
            view.through(node)
            return x, number if node.op == "mul" else 1 / number
    return value, 1.0
