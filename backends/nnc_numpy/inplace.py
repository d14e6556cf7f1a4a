"""Statements that work in place: an elementwise result goes into the array of an operand that dies.

    h = x @ w + b                h = x @ w
    y = np.maximum(0.0, h)  ->   h += b
                                 np.maximum(0.0, h, out=h)

A new array of some size costs more than the arithmetic on it: it pushes others out of the cache.
What matters is that nothing reads an array after it was overwritten.  A variable is overwritten
only if this printer made its array (`is_fresh`), and no value that is yet to be read is written in
terms of it or of a view of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from nnc.emit import LOOPS, UNARY, Expr, Printer, reads, sources
from nnc.emit.variables import variables_in
from nnc.ir.graph import Graph, Node, Value
from nnc_numpy import runtime
from nnc_numpy.fresh import is_fresh, is_new
from nnc_numpy.masks import is_zero, kept_branch
from nnc_numpy.sizes import elements

#: elements from which an array is worth a statement of its own
LARGE = 1 << 8

#: op -> its operator
OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
#: op -> its function, which can write into an array that there is
FUNCTIONS = {
    "add": "np.add", "sub": "np.subtract", "mul": "np.multiply", "div": "np.divide",
    "maximum": "np.maximum", "minimum": "np.minimum", "neg": "np.negative", "abs": "np.abs",
    "exp": "np.exp", "expm1": "np.expm1", "log": "np.log", "log1p": "np.log1p", "sqrt": "np.sqrt",
    "sin": "np.sin", "cos": "np.cos", "tanh": "np.tanh",
}  # fmt: skip

Step = tuple[Node, int]  # an op, and which of its operands its result replaces


class InPlacePrinter(Printer):
    """Prints the nodes of a step; see above."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.left: Counter[Value] = Counter()  # reads that are still to come
        self.owned: set[str] = set()  # variables whose arrays nothing else has
        self.roots: dict[str, frozenset[str]] = {}  # variable -> those whose arrays it may be in
        self.holders: defaultdict[str, set[Value]] = defaultdict(set)  # root -> values in its terms
        self.blocks: dict[tuple[int, int], Expr] = {}  # (graph, node) -> its matrix in blocks
        self.current: Node | None = None
        self.large = LARGE

    def inside(self, graph: Graph, deeper: int = 0) -> Printer:
        inner = super().inside(graph, deeper)
        assert isinstance(inner, InPlacePrinter)
        inner.blocks = self.blocks
        return inner

    def expression(self, node: Node) -> Expr:
        blocks = self.blocks.get((id(self.graph), node.id))
        if blocks is None:
            return super().expression(node)
        helper = self.helper(runtime.times_blocks)
        return self.dialect.call(helper, self.read(node.operands[0]), blocks)

    def count(self, nodes: Sequence[Node], targets: Iterable[Value]) -> None:
        super().count(nodes, targets)
        self.left = Counter(self.uses)

    def print_node(self, node: Node) -> None:
        self.current = node
        super().print_node(node)
        self.current = None
        if node.op in LOOPS:  # may hand on what it was given
            for value in node.operands:
                self.owned -= self.roots_in(self.exprs[value].text)
        self.left.subtract(sources(self.graph, node))
        for index in range(len(node.types)):
            self.hold(Value(node.id, index))

    def unpack(self, node: Node, expr: Expr) -> None:
        super().unpack(node, expr)
        for index, type in enumerate(node.types):
            if type.rank and self.uses[Value(node.id, index)]:
                name = self.exprs[Value(node.id, index)].text
                self.keep(name, node, self.roots_in(expr.text))

    def bind(self, value: Value, expr: Expr) -> None:
        super().bind(value, expr)
        self.hold(value)

    def stays_inside(self, node: Node, expr: Expr) -> bool:
        """What can work in place is not written inside its reader."""
        if not super().stays_inside(node, expr):
            return False
        return expr.size == 0 or not self.is_large(node) or not self.chain(node, expr.text)

    def assign(self, value: Value, expr: Expr, wish: str = "") -> Expr:
        node = self.graph.producer(value)
        chain = self.chain(node, expr.text) if self.is_large(node) else []
        if not chain or value in self.takers:
            roots = self.roots_in(expr.text)
            result = super().assign(value, expr, wish)
            self.keep(result.text, node, roots)
        else:
            result = self.assign_in_place(value, chain, wish)
        self.hold(value)
        return result

    # ------------------------------------------------------------ who has which array
    def keep(self, name: str, node: Node, roots: frozenset[str]) -> None:
        """Note whose array the variable `name` is in, the result of `node`."""
        self.roots[name] = frozenset({name}) if is_new(self.graph, node) else roots
        if is_fresh(self.graph, node):
            self.owned.add(name)
        else:
            self.owned.discard(name)

    def hold(self, value: Value) -> None:
        if value in self.exprs:
            for root in self.roots_in(self.exprs[value].text):
                self.holders[root].add(value)

    def roots_in(self, text: str) -> frozenset[str]:
        """The variables whose arrays an expression may read."""
        own = (self.roots.get(word, frozenset({word})) for word in variables_in(text))
        return frozenset().union(*own)

    def is_free(self, name: str, node: Node) -> bool:
        """Whether nothing but the expression of `node` reads the array of `name` from now on."""
        if name not in self.owned:
            return False
        own: Counter[Value] = Counter()
        if node is self.current:
            own.update(sources(self.graph, node))
        result = Value(node.id)
        return all(
            self.left[value] <= own[value] or value == result for value in self.holders[name]
        )

    # ------------------------------------------------------------ chains
    def is_large(self, node: Node) -> bool:
        """Whether `node` computes an array of floats that is worth a statement."""
        if len(node.types) != 1 or not node.type.is_float or not node.type.rank:
            return False
        if node.op not in FUNCTIONS and kept_branch(self.graph, node) is None:
            return False
        return self.large == 0 or (elements(node.type.shape) or 0) >= self.large

    def chain(self, root: Node, text: str) -> list[Step]:
        """The ops of `root`'s expression, `text`, that can work in one array, the first one first.

        That array is the operand of the first one, which is a variable that dies or a new result.
        """
        steps: list[Step] = []
        node = root
        while True:
            place = self.replaced(node, root, text)
            if place is None:
                return steps
            steps.insert(0, (node, place))
            operand = reads(self.graph, node)[place].value
            node = self.graph.producer(operand)
            if self.exprs[operand].is_name or not self.is_large(node):
                return steps

    def replaced(self, node: Node, root: Node, text: str) -> int | None:
        """Which operand of `node` its result can replace, inside the expression of `root`."""
        found = reads(self.graph, node)
        branch = kept_branch(self.graph, node)
        dying = None
        for place, read in enumerate(found):
            expr = self.exprs[read.value]
            if read.axes is not None or self.graph.type(read.value) != node.type or expr.weak:
                continue
            if branch is not None and place != branch:
                continue
            if not expr.is_name and is_fresh(self.graph, self.graph.producer(read.value)):
                return place
            if expr.is_name and dying is None and self.is_free(expr.text, root):
                here = sum(self.mentions(expr.text, self.exprs[r.value].text) for r in found)
                if here == self.mentions(expr.text, text):
                    dying = place
        return dying

    def mentions(self, name: str, text: str) -> int:
        return sum(name in self.roots.get(word, (word,)) for word in variables_in(text))

    def assign_in_place(self, value: Value, chain: list[Step], wish: str) -> Expr:
        node = self.graph.producer(value)
        first, place = chain[0]
        start = reads(self.graph, first)[place].value
        expr = self.exprs[start]
        self.place(node)
        if expr.is_name:
            name = expr.text
        else:
            name = self._name(node, wish)
            self.body.add(self.depth, f"{name} = {expr.text}")
            self.keep(name, self.graph.producer(start), frozenset())
        for step, place in chain:
            self.body.add(self.depth, self.in_place(step, place, name))
        self.exprs[value] = Expr(name)
        return self.exprs[value]

    def in_place(self, node: Node, place: int, name: str) -> str:
        """The statement that puts the result of `node` into `name`, its operand at `place`."""
        operands = [self.operand(read, node) for read in reads(self.graph, node)]
        texts = [name if i == place else expr.text for i, expr in enumerate(operands)]
        if node.op == "where":
            condition = texts[0]
            if not is_zero(self.graph, node.operands[1]):
                condition = f"~{operands[0].at(UNARY)}"
            return f"{self.helper(runtime.zeroed)}({name}, {condition}, out={name})"
        symbol = OPERATORS.get(node.op)
        if symbol and place == 1 and node.op in ("add", "mul"):
            texts.reverse()
            place = 0
        if symbol and place == 0:
            return f"{name} {symbol}= {texts[1]}"
        if node.op in ("maximum", "minimum") and place == 1:  # NumPy looks faster at arrays first
            texts.reverse()
        return f"{FUNCTIONS[node.op]}({', '.join(texts)}, out={name})"
