"""Updates of many parameters in place, piece by piece.

An update reads and writes each element of several arrays a dozen times.  Done for a whole array at
once, every pass goes through memory; done for pieces that fit the cache, only the first does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from nnc.emit import Expr, Printer, reads, sources
from nnc.emit.layout import string
from nnc.emit.updates import (
    Loop,
    Member,
    open_loop,
    print_loop,
    settle_readers,
    state_entries,
    state_key,
    state_name,
)
from nnc.emit.variables import variables_in
from nnc.ir.dims import Dim
from nnc.ir.graph import Node, Value
from nnc_numpy import runtime
from nnc_numpy.fresh import is_fresh
from nnc_numpy.inplace import FUNCTIONS, OPERATORS, InPlacePrinter
from nnc_numpy.sizes import elements

#: calls of NumPy that take longer than to pack arrays
MANY = 24


def print_updates(printer: Printer, loops: Sequence[Loop]) -> None:
    settle_readers(printer, loops, "copy")
    for loop in loops:
        if all(shapes(printer, loop)):
            print_update(printer, loop)
        else:  # numbers, which NumPy gives as scalars: nothing can be written into them
            print_loop(printer, loop)


def print_update(printer: Printer, loop: Loop) -> None:
    first, body, depth = loop.members[0], printer.body, printer.depth
    table, holes, inner = open_loop(printer, loop)
    entries = dict(state_entries(first))
    templates = list(dict.fromkeys([*entries, *first.outputs]))
    names = {template: printer.names.new(state_name(template)) for template in templates}
    for template, value in entries.items():
        inner.bind(value, Expr(names[template]))
    variables = [*names.values(), *holes]
    if len(holes) == 1 and templates[0] == "{path}" and is_much(printer, loop):
        prefixes = [string(template.removesuffix("{path}")) for template in templates[1:]]
        arguments = ", ".join(["state", table, *prefixes])
        made = f"{printer.helper(runtime.updated)}({arguments})"
        body.add(depth, f"for {', '.join(variables)} in {made}:")
        if isinstance(inner, InPlacePrinter):
            inner.large = 0  # a piece is
    else:
        if isinstance(inner, InPlacePrinter) and are_free(printer, loop):
            inner.large = 0
            for hole in holes:
                inner.owned.add(hole)
                inner.roots[hole] = frozenset({hole})
        body.add(depth, f"for path, {target(holes)} in {table}.items():")
        for template, name in names.items():
            body.add(depth + 1, f"{name} = state[{state_key(template)}]")
    Storing(inner, first, names).print()
    body.place = ""


def is_much(printer: Printer, loop: Loop) -> bool:
    """Whether arrays are large, or many are updated by many operations."""
    calls = len(loop.members) * len(loop.members[0].nodes)
    return calls > MANY or not all(map(is_small, shapes(printer, loop)))


def target(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


def shapes(printer: Printer, loop: Loop) -> list[tuple[Dim, ...]]:
    """Those of the loop's parameters."""
    return [printer.graph.type(member.outputs["{path}"]).shape for member in loop.members]


def are_free(printer: Printer, loop: Loop) -> bool:
    """Whether the updates may change their gradients, which nothing else reads."""
    graph = printer.graph
    for member in loop.members:
        own = {node.id for node in member.nodes}
        for hole in member.holes:
            if not is_fresh(graph, graph.producer(hole)) or hole in graph.outputs.values():
                return False
            if any(user.id not in own for user, _ in graph.users(hole)):
                return False
    return True


def is_small(shape: tuple[Dim, ...]) -> bool:
    """Whether an array is one piece, so that there is nothing to cut."""
    count = elements(shape)
    return count is not None and count <= runtime.PIECE


@dataclass
class Storing:
    """Prints the nodes of one update; new values of the state go into the old ones' arrays."""

    printer: Printer
    member: Member
    names: dict[str, str]  # template -> the array's variable
    left: Counter[Value] = field(default_factory=Counter)  # readers that are still to come

    def print(self) -> None:
        nodes, outputs = self.member.nodes, self.member.outputs
        templates = {value: template for template, value in outputs.items()}
        for node in nodes:
            self.left.update(sources(self.printer.graph, node))
        stored: set[str] = set()
        for node in nodes:
            self.left.subtract(sources(self.printer.graph, node))
            template = templates.get(Value(node.id), "")
            if template and self.is_free(template):
                self.settle(self.names[template])
                self.store(node, self.names[template])
                stored.add(template)
            else:
                self.printer.print_node(node)
        self.copy({t: value for t, value in outputs.items() if t not in stored})

    def is_free(self, template: str) -> bool:
        """Whether nothing needs the old value any more."""
        old = self.member.state.get(template)
        return old is None or (self.left[old] == 0 and old not in self.member.outputs.values())

    def settle(self, name: str) -> None:
        """Compute what still reads the array `name` before it changes."""
        for value, expr in list(self.printer.exprs.items()):
            is_open = self.left[value] > 0 or value in self.member.outputs.values()
            if is_open and not expr.is_name and name in variables_in(expr.text):
                self.printer.variable(value)

    def store(self, node: Node, name: str) -> None:
        """`name` becomes the value of `node`, which may read it."""
        printer = self.printer
        operands = [printer.operand(read, node) for read in reads(printer.graph, node)]
        texts = [expr.text for expr in operands]
        body, depth, symbol = printer.body, printer.depth, OPERATORS.get(node.op)
        if symbol and texts[1] == name and node.op in ("add", "mul"):
            texts.reverse()
        if symbol and texts[0] == name:
            body.add(depth, f"{name} {symbol}= {texts[1]}")
        elif node.op in ("add", "sub") and (factor := self.scaled(node, operands[0], name)):
            body.add(depth, f"{name} *= {factor}")
            body.add(depth, f"{name} {symbol}= {texts[1]}")
        elif node.op in FUNCTIONS:
            body.add(depth, f"{FUNCTIONS[node.op]}({', '.join(texts)}, out={name})")
        else:
            body.add(depth, f"{name}[:] = {printer.compose(node).text}")
        printer.bind(Value(node.id), Expr(name))

    def scaled(self, node: Node, left: Expr, name: str) -> str:
        """The number `c`, where `node` is `c * name` plus or minus what does not read `name`."""
        factor = re.fullmatch(rf"(\S+) \* {name}|{name} \* (\S+)", left.text)
        right = self.printer.operand(reads(self.printer.graph, node)[1], node).text
        if factor is None or name in variables_in(right):
            return ""
        graph = self.printer.graph
        product = reads(graph, graph.producer(reads(graph, node)[0].value))
        has_number = any(not graph.type(read.value).rank for read in product)
        return (factor[1] or factor[2]) if has_number else ""

    def copy(self, outputs: dict[str, Value]) -> None:
        """Give the state what could not be stored when it was computed."""
        printer = self.printer
        for value in outputs.values():
            if printer.read(value).text in self.names.values():
                printer.bind(value, printer.dialect.method(printer.read(value), "copy"))
            printer.variable(value)
        for template, value in outputs.items():
            printer.body.add(
                printer.depth, f"{self.names[template]}[:] = {printer.read(value).text}"
            )
