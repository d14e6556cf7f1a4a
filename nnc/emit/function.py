"""Prints a graph as the statements of a function body.

What is read once and is short stands inside its reader's expression; all else gets a variable.
Broadcasts vanish where NumPy's rules do them: an elementwise op reads past them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from nnc.emit.dialect import Dialect, Helper, Site
from nnc.emit.expressions import Expr
from nnc.emit.layout import WIDTH, statement
from nnc.emit.names import Names
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.order import Read, reads, sources

LARGEST = 7  # operations in one expression
LONGEST = 88  # columns of one expression


@dataclass
class Body:
    """Lines of a function, each with its indentation; a comment is a line of its own."""

    lines: list[tuple[int, str]] = field(default_factory=list)
    place: str = ""
    title: str = ""
    pending: str = ""

    def add(self, depth: int, text: str) -> None:
        if self.pending:
            title, self.pending = self.pending, ""
            self.gap()
            if title != self.title:
                self.title = title
                self.lines.append((depth, f"# {title}"))
        self.lines.append((depth, text))

    def gap(self) -> None:
        """A blank line after the code so far, before comments on what comes next."""
        at = len(self.lines)
        while at and self.lines[at - 1][1].startswith("#"):
            at -= 1
        before = self.lines[at - 1][1] if at else ""
        if before and not before.endswith(":") and not self.pending:
            self.lines.insert(at, (0, ""))

    def comment(self, depth: int, text: str) -> None:
        self.add(depth, f"# {text}")

    def section(self, title: str) -> None:
        """What comes next stands under `title`, which is printed with its first line."""
        self.pending = title
        self.place = ""

    def text(self) -> list[str]:
        printed: list[str] = []
        for depth, line in self.lines:
            is_code = bool(line) and not line.startswith("#")
            printed += statement(line, depth) if is_code else ["    " * depth * bool(line) + line]
        return printed


class Printer:
    """Prints nodes of `graph` into `body`; `exprs` says how the values so far are written."""

    def __init__(
        self,
        graph: Graph,
        dialect: Dialect,
        names: Names,
        helper: Helper,
        body: Body,
        depth: int = 1,
    ):
        self.graph = graph
        self.dialect = dialect
        self.names = names
        self.helper = helper
        self.body = body
        self.depth = depth
        self.exprs: dict[Value, Expr] = {}
        self.uses: Counter[Value] = Counter()
        self.takers: dict[Value, str] = {}
        self.commented = True
        self.made: dict[Hashable, str] = {}  # what a statement made that others can use
        self.nameless: set[int] = set()  # nodes whose own name does not suit
        self.loops: list[Printer] = []  # those of the bodies of loops so far
        self.taken: set[Value] = set()  # slices that a loop took out of the list that had them

    def inside(self, graph: Graph, deeper: int = 0) -> Printer:
        """A printer of another graph at this place of the same function."""
        depth = self.depth + deeper
        inner = type(self)(graph, self.dialect, self.names, self.helper, self.body, depth)
        inner.commented = self.commented
        return inner

    # ------------------------------------------------------------ values
    def bind(self, value: Value, expr: Expr) -> None:
        self.exprs[value] = expr

    def read(self, value: Value) -> Expr:
        return self.exprs[value]

    def explicit(self, value: Value) -> str:
        """The text of a value that says its own element type."""
        return self.dialect.strong(self.read(value)).text

    def count(self, nodes: Sequence[Node], targets: Iterable[Value]) -> None:
        """Count readers; each occurrence among `targets` is one."""
        for node in nodes:
            self.uses.update(sources(self.graph, node))
        self.uses.update(targets)

    def variable(self, value: Value, wish: str = "") -> Expr:
        """The value under a name, which it gets if it has none."""
        expr = self.exprs[value]
        if expr.is_name:
            return expr
        return self.assign(value, expr, wish)

    def fitted(self, prefix: str, value: Value, depth: int) -> str:
        """`prefix` and the value, by a variable where its expression would not fit the line."""
        text = f"{prefix}{self.explicit(value)}"
        if len(text) + 4 * depth >= WIDTH and self.read(value).size:
            self.variable(value)
        return f"{prefix}{self.explicit(value)}"

    def assign(self, value: Value, expr: Expr, wish: str = "") -> Expr:
        node = self.graph.producer(value)
        name = self.takers.get(value) or self._name(node, wish)
        self.place(node)
        self.body.add(self.depth, f"{name} = {expr.text}")
        self.exprs[value] = Expr(name, weak=expr.weak)
        return self.exprs[value]

    def _name(self, node: Node, wish: str) -> str:
        if node.id in self.nameless:
            node = replace(node, name="")
        return self.names.new(wish) if wish else self.names.of(self.graph, node)

    def is_named(self, node: Node) -> bool:
        return bool(node.name) and node.id not in self.nameless

    def place(self, node: Node) -> None:
        """A comment with the source line, where it is another than that of the lines before."""
        if not node.origin or not self.commented:
            return
        origin = node.origin[0]
        place = f"{origin.file}:{origin.line} {origin.scope}".rstrip()
        if place != self.body.place:
            self.body.place = place
            self.body.comment(self.depth, place)

    def take_over(self, old: Value, new: Value, nodes: Sequence[Node]) -> None:
        """Let `new` have the variable of `old` if nothing can read `old` after it.

        That is so where all readers of `old` are `new` or stand inside its expression.
        """
        readers = {node.id: set(sources(self.graph, node)) for node in nodes}
        name = self.exprs[old].text
        if new.node not in readers or self.uses[new] < 2 or name in self.takers.values():
            return
        work = [id for id, values in readers.items() if old in values]
        if self.uses[old] != len(work):  # an output reads it too, or a node twice
            return
        while work:
            id = work.pop()
            if id == new.node:
                continue
            value = Value(id)
            if self.uses[value] != 1 or self.is_named(self.graph.node(id)):
                return
            work += [reader for reader, values in readers.items() if value in values]
            if not any(value in values for values in readers.values()):
                return
        self.takers[new] = name

    # ------------------------------------------------------------ nodes
    def print(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            if node.op != "input":
                self.print_node(node)

    def print_node(self, node: Node) -> None:
        if node.op in self.dialect.statements:
            self.dialect.statements[node.op](self, node)
        elif len(node.types) > 1:
            self.unpack(node, self.compose(node))
        else:
            value, expr = Value(node.id), self.compose(node)
            if self.stays_inside(node, expr):
                self.exprs[value] = expr
            else:
                self.assign(value, expr)

    def unpack(self, node: Node, expr: Expr) -> None:
        """Names for several results, `_` for those that nothing reads."""
        self.place(node)
        targets = []
        for index in range(len(node.types)):
            value = Value(node.id, index)
            name = self.names.of(self.graph, node, index) if self.uses[value] else "_"
            self.exprs[value] = Expr(name)
            targets.append(name)
        self.body.add(self.depth, f"{', '.join(targets)} = {expr.text}")

    def stays_inside(self, node: Node, expr: Expr) -> bool:
        """Whether `node` is written where it is read instead of getting a variable."""
        if expr.size == 0 or self.is_view(node) or self.is_filled(node):
            return True
        return (
            self.uses[Value(node.id)] == 1 and not node.name and Value(node.id) not in self.takers
        )

    def is_view(self, node: Node) -> bool:
        return node.op == "transpose" and self.read(node.operands[0]).is_name

    def is_filled(self, node: Node) -> bool:
        return node.op == "broadcast" and self.graph.producer(node.operands[0]).op == "const"

    def compose(self, node: Node) -> Expr:
        """The expression of `node`; parts of too large a one get variables first."""
        while True:
            expr = self.expression(node)
            room = min(LONGEST, WIDTH - 4 * self.depth - 24)
            if expr.fused or (len(expr.text) <= room and expr.size <= LARGEST):
                return expr
            parts = [value for value in sources(self.graph, node) if self.can_leave(value)]
            if not parts:
                return expr
            largest = max(parts, key=lambda value: len(self.exprs[value].text))
            self.assign(largest, self.exprs[largest])

    def can_leave(self, value: Value) -> bool:
        expr, node = self.exprs[value], self.graph.producer(value)
        return expr.size > 0 and not expr.is_name and not self.is_filled(node)

    def expression(self, node: Node) -> Expr:
        found = reads(self.graph, node)
        operands = [self.operand(read, node) for read in found]
        types = tuple(self.graph.type(value) for value in node.operands)
        site = Site(self.dialect, types, self.helper, tuple(read.axes for read in found))
        return self.dialect.emitters[node.op](site, node, *operands)

    def operand(self, read: Read, node: Node) -> Expr:
        """A value as NumPy's rules must see it to broadcast it along the result's other axes."""
        expr = self.read(read.value)
        if not read.axes:
            return expr
        missing = [a for a in range(read.axes[0], node.type.rank) if a not in read.axes]
        if not missing:
            return expr
        if expr.kept is not None and expr.kept[0] == tuple(missing):
            return replace(expr, text=expr.kept[1], kept=None)
        places = [":" if a in read.axes else "None" for a in range(read.axes[0], node.type.rank)]
        return self.dialect.subscript(expr, places)
