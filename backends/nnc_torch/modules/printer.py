"""Prints a body as the statements of a module's `forward`, in the words of the program.

Calls of instances are calls of modules, each a statement of its own.  What a variable held is
forgotten where nothing reads it again, so that a chain of layers reads `x = self.layer(x)`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nnc.emit import Body, Dialect, Expr, Helper, Names, Printer, identifier, reads
from nnc.emit.layout import string
from nnc.emit.variables import variables_in
from nnc.ir.graph import Graph, Node, Origin, Value
from nnc_torch.host import UNSIGNED
from nnc_torch.modules.tree import RESERVED, Branch, is_below, is_module_call, is_weight, outside


@dataclass(frozen=True)
class Weight(Expr):
    """A weight where it lies in the tree of modules."""

    path: str = ""


@dataclass(frozen=True)
class Scope:
    """The module whose method is printed: how it refers to what lies below it, and beside it."""

    root: Branch
    path: str
    arguments: dict[str, str]  # path of what does not lie below -> the argument that holds it
    used_at: Origin | None  # where the program calls it: no news in a comment

    def reference(self, path: str) -> str:
        """`self.conv_norm_1[0].conv_0.w`."""
        if not is_below(path, self.path):
            return self.arguments[path]
        branch, text = self.root.grow(self.path), "self"
        for name in path.removeprefix(self.path).strip(".").split("."):
            if branch.is_list:
                text += f"[{name}]"
            elif branch.is_numbered:
                text += f"[{string(name)}]"
            elif name in RESERVED or not name.isidentifier():
                text += f"{registry(branch, name)}[{string(name)}]"
            else:
                text += f".{name}"
            branch = branch.branches.get(name, branch)
        return text


def registry(branch: Branch, name: str) -> str:
    """The dictionary of a module that holds what cannot be its attribute."""
    if name in branch.branches:
        return "._modules"
    return "._parameters" if branch.weights[name].kind == "param" else "._buffers"


class Exprs(dict[Value, Expr]):
    """Expressions, which of them mention a variable, and the paths of those that are weights."""

    def __init__(self) -> None:
        super().__init__()
        self.mentions: defaultdict[str, set[Value]] = defaultdict(set)
        self.paths: dict[Value, str] = {}

    def __setitem__(self, value: Value, expr: Expr) -> None:
        if value in self:
            for word in variables_in(self[value].text):
                self.mentions[word].discard(value)
            self.paths.pop(value, None)
        super().__setitem__(value, expr)
        for word in variables_in(expr.text):
            self.mentions[word].add(value)
        if isinstance(expr, Weight):
            self.paths[value] = expr.path


class ModulePrinter(Printer):
    """Prints a body in the method of a module."""

    def __init__(
        self,
        graph: Graph,
        dialect: Dialect,
        names: Names,
        helper: Helper,
        body: Body,
        depth: int,
        scope: Scope,
    ):
        super().__init__(graph, dialect, names, helper, body, depth)
        self.exprs: Exprs = Exprs()
        self.scope = scope
        self.readers: defaultdict[Value, set[int]] = defaultdict(set)
        self.targets: set[Value] = set()
        self.done: set[int] = set()
        self.is_top = False

    def inside(self, graph: Graph, deeper: int = 0) -> ModulePrinter:
        depth = self.depth + deeper
        return ModulePrinter(
            graph, self.dialect, self.names, self.helper, self.body, depth, self.scope
        )

    def count(self, nodes: Sequence[Node], targets: Iterable[Value]) -> None:
        targets = list(targets)
        super().count(nodes, targets)
        self.targets = set(targets)
        for node in nodes:
            for read in reads(self.graph, node):
                self.readers[read.value].add(node.id)

    # ------------------------------------------------------------ calls
    def print_node(self, node: Node) -> None:
        if is_module_call(node, self.exprs.paths):
            self.call_module(node)
        else:
            super().print_node(node)
        self.done.add(node.id)

    def call_module(self, node: Node) -> None:
        body: Graph = node.attrs["body"]
        arguments = [
            self.argument(value)
            for id, value in zip(body.inputs, node.operands, strict=True)
            if not is_weight(body.node(id))
        ]
        arguments += map(self.scope.reference, outside(body, body.scope))
        method = self.scope.root.grow(body.scope).method(body)
        target = self.scope.reference(body.scope)
        target += "" if method == "forward" else f".{method}"
        made = Expr(f"{target}({', '.join(arguments)})", size=1)
        if len(node.types) > 1:
            self.unpack(node, made)
        elif self.uses[Value(node.id)] == 1 and Value(node.id) in self.targets and not node.name:
            self.bind(Value(node.id), made)
        else:
            value = Value(node.id)
            if not node.name and not self.freed(value):
                self.reuse("h", value)
            self.assign(value, made, "" if node.name else "h")

    def argument(self, value: Value) -> str:
        expr = self.read(value)
        if not expr.is_simple and expr.size:
            expr = self.variable(value)
        return expr.text if expr.weak in UNSIGNED else self.dialect.strong(expr).text

    @staticmethod
    def instance_name(node: Node) -> str:
        scope: str = node.attrs["body"].scope
        return identifier(next(n for n in reversed(scope.split(".")) if not n.isdigit()))

    def unpack(self, node: Node, expr: Expr) -> None:
        if node.op != "call":
            super().unpack(node, expr)
            return
        self.place(node)
        targets = []
        for index in range(len(node.types)):
            value = Value(node.id, index)
            name = self.takers.get(value, "") if self.uses[value] else "_"
            targets.append(name or self.names.new(f"{self.instance_name(node)}_{index}"))
            self.exprs[value] = Expr(targets[-1])
        self.body.add(self.depth, f"{', '.join(targets)} = {expr.text}")

    def take_over(self, old: Value, new: Value, nodes: Sequence[Node]) -> None:
        """A result of a call takes the variable of a carry that the call alone reads."""
        node = self.graph.producer(new)
        if len(node.types) == 1 or node not in nodes:
            super().take_over(old, new, nodes)
            return
        readers = [n for n in nodes for read in reads(self.graph, n) if read.value == old]
        if readers == [node] and old not in self.targets:
            self.takers[new] = self.exprs[old].text

    # ------------------------------------------------------------ variables
    def assign(self, value: Value, expr: Expr, wish: str = "") -> Expr:
        node = self.graph.producer(value)
        if value not in self.takers and not self.is_named(node):
            name = self.freed(value)
            if name:
                self.takers[value] = name
        return super().assign(value, expr, wish)

    def freed(self, value: Value) -> str:
        """The variable that `value` is made of first of all, where nothing else reads it."""
        node = self.graph.producer(value)
        if node.op == "attention":  # no more of its queries than of its keys and values
            return ""
        while node.operands:
            source = self.main_operand(node)
            known = self.exprs.get(source, Expr(""))
            if known.is_name:
                is_free = self.is_own_array(source) and self.is_last(known.text, value)
                return known.text if is_free else ""
            node = self.graph.producer(source)
        return ""

    def main_operand(self, node: Node) -> Value:
        """The first operand that is no constant and no condition."""
        operands = [read.value for read in reads(self.graph, node)][node.op == "where" :]
        values = (v for v in operands if self.graph.producer(v).op not in ("const", "broadcast"))
        return next(values, operands[0])

    def reuse(self, name: str, value: Value) -> None:
        """Let `value` have the variable `name` if an array that nothing reads any more has it."""
        named = (v for v in self.exprs.mentions[name] if self.exprs[v].text == name)
        if any(map(self.is_own_array, named)) and self.is_last(name, value):
            self.takers[value] = name

    def is_own_array(self, value: Value) -> bool:
        """Whether `value` is a variable of this method itself, not of what is around a loop."""
        expr, type = self.exprs[value], self.graph.type(value)
        is_input = self.graph.producer(value).op == "input"
        is_array = type.is_float and type.rank > 0
        return is_array and not isinstance(expr, Weight) and (self.is_top or not is_input)

    def is_last(self, name: str, new: Value) -> bool:
        """Whether nothing but the statement for `new` still reads the variable `name`."""
        return not any(
            value in self.targets or self.readers[value] - self.done - {new.node}
            for value in self.exprs.mentions[name]
            if value != new
        )

    # ------------------------------------------------------------ places
    def place(self, node: Node) -> None:
        """A comment with the line, where it is another than that of the lines before."""
        origin = own_place(node, self.scope.used_at)
        if origin is None:
            return
        place = f"{origin.file}:{origin.line}"
        if place != self.body.place:
            self.body.place = place
            self.body.comment(self.depth, place)


def own_place(node: Node, used_at: Origin | None) -> Origin | None:
    """The place of `node` in the block that it stands in."""
    if not node.origin:
        return None
    first = node.origin[0]
    is_call = used_at is not None and first[:3] == used_at[:3]
    return node.origin[1] if is_call and len(node.origin) > 1 else first
