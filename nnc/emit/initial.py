"""`init(seed)`: the initial value of every state entry, equal initializers as one function.

Each entry's graph is printed by itself; texts that differ in literals alone are one function whose
parameters are those literals.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from nnc.emit.dialect import Dialect, Helper
from nnc.emit.expressions import Expr
from nnc.emit.function import Body, Printer
from nnc.emit.layout import INDENT, statement, string
from nnc.emit.names import Names
from nnc.ir.dims import Dim
from nnc.ir.graph import Graph, Value
from nnc.ir.order import needed
from nnc.ir.program import StateEntry

#: op -> the kind of initializer that it is the mark of, the most special first
KINDS = {"orthogonal": "orthogonal", "erfinv": "truncated_normal", "log": "normal"}
KINDS |= {"random_bits": "uniform"}


@dataclass(frozen=True)
class Draw:
    """One printed initializer: statements and the expression of the value."""

    entry: StateEntry
    statements: tuple[str, ...]
    result: str

    def of(self, entry: StateEntry) -> Draw:
        """The same for another entry with the same initializer."""
        return self if entry is self.entry else replace(self, entry=entry)

    @cached_property
    def text(self) -> str:
        return "\n".join([*self.statements, f"return {self.result}"])

    @cached_property
    def literals(self) -> list[Literal]:
        return literals(self.text)

    @cached_property
    def skeleton(self) -> str:
        """The text with its literals left out; a shape of any rank is one literal."""
        return self.with_literals(["\0"] * len(self.literals))

    def with_literals(self, replacements: Sequence[str]) -> str:
        parts, end = [], 0
        for literal, replacement in zip(self.literals, replacements, strict=True):
            parts += [self.text[end : literal.start], replacement]
            end = literal.end
        return "".join([*parts, self.text[end:]])


@dataclass(frozen=True)
class Literal:
    """A literal of a text: where it stands, and its own text."""

    start: int
    end: int
    text: str


def init_functions(
    entries: Sequence[StateEntry], dialect: Dialect, helper: Helper, names: Names
) -> list[str]:
    """The functions that initializers share, then `init`.

    They are NumPy's in every file, so that all backends start from the same bits; what `init`
    returns has gone through `from_numpy` where the file has one.
    """
    draws = print_draws(entries, dialect.host, helper, dialect.taken)
    groups: dict[str, list[Draw]] = {}
    for draw in draws:
        groups.setdefault(draw.skeleton, []).append(draw)
    functions: list[str] = []
    values: dict[str, str] = {}
    for group in groups.values():
        if not group[0].statements and "seed" not in group[0].result:
            values |= {draw.entry.path: draw.result for draw in group}
        else:
            name = names.new(initializer_name(group[0].entry.init))
            function, calls = shared_function(name, group)
            functions.append(function)
            values |= calls
    return [*functions, init_function(entries, values, dialect)]


def init_function(entries: Sequence[StateEntry], values: dict[str, str], dialect: Dialect) -> str:
    """`init` itself; the moments of optimizers, all zero as a rule, are made in a loop."""
    moments = [entry for entry in entries if entry.kind == "optimizer"]
    dtypes = {entry.type.dtype for entry in moments}
    zeros = dialect.host.filled("0", "", "f32").partition("(")[0]
    looped = len(dtypes) == 1 and all(values[e.path].startswith(f"{zeros}(") for e in moments)
    listed = [entry for entry in entries if not looped or entry.kind != "optimizer"]
    pairs = ", ".join(f"{string(entry.path)}: {values[entry.path]}" for entry in listed)
    lines = ["def init(seed):", f'{INDENT}"""The state at the start: arrays by path."""']
    if not looped:
        return "\n".join([*lines, *statement(f"return {converted(f'{{{pairs}}}', dialect)}", 1)])
    lines += statement(f"state = {{{pairs}}}", 1)
    lines += [
        '    for path, (_, shape, kind) in PROGRAM["state"].items():',
        '        if kind == "optimizer":',
        f"            state[path] = {dialect.host.filled('0', 'shape', dtypes.pop())}",
        f"    return {converted('state', dialect)}",
    ]
    return "\n".join(lines)


def converted(state: str, dialect: Dialect) -> str:
    """A state of NumPy arrays as `init` returns it."""
    return f"from_numpy({state})" if dialect.converts else state


def initializer_name(graph: Graph) -> str:
    """What the function of an initializer is called, by the ops that tell it from others."""
    ops = ops_in(graph)
    return next((name for op, name in KINDS.items() if op in ops), "draw")


def ops_in(graph: Graph) -> set[str]:
    """The ops of a graph and of the bodies in it."""
    inner = (ops_in(node.attrs["body"]) for node in graph if "body" in node.attrs)
    return {node.op for node in graph}.union(*inner)


def print_draws(
    entries: Sequence[StateEntry], dialect: Dialect, helper: Helper, taken: frozenset[str]
) -> list[Draw]:
    """What each entry begins as; a graph that several share is printed once."""
    printed: dict[int, Draw] = {}
    for entry in entries:
        if id(entry.init) not in printed:
            printed[id(entry.init)] = print_draw(entry, dialect, helper, taken)
    return [printed[id(entry.init)].of(entry) for entry in entries]


def print_draw(entry: StateEntry, dialect: Dialect, helper: Helper, taken: frozenset[str]) -> Draw:
    graph: Graph = entry.init
    (value,) = graph.outputs.values()
    printer = Printer(graph, dialect, Names({*taken, "seed"}), helper, Body())
    printer.commented = False
    for id in graph.inputs:
        printer.bind(Value(id), Expr("seed", weak="u64"))
    nodes = needed(graph, [value])
    printer.count(nodes, [value])
    printer.print(nodes)
    lines = tuple(INDENT * (depth - printer.depth) + text for depth, text in printer.body.lines)
    return Draw(entry, lines, printer.explicit(value))


# ---------------------------------------------------------------- texts that differ in literals
def literals(text: str) -> list[Literal]:
    """The largest literals of `text` in order: numbers, strings and tuples of them."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    found: list[Literal] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.expr) and _is_literal(node):
            assert node.end_lineno is not None
            assert node.end_col_offset is not None
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            found.append(Literal(start, end, text[start:end]))
        else:
            for child in ast.iter_child_nodes(node):
                visit(child)

    visit(ast.parse(f"{text}"))
    return sorted(found, key=lambda literal: literal.start)


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return bool(node.elts) and all(map(_is_literal, node.elts))
    if isinstance(node, ast.UnaryOp):
        return _is_literal(node.operand)
    return isinstance(node, ast.Constant)


def shared_function(name: str, group: list[Draw]) -> tuple[str, dict[str, str]]:
    """A function for a group of draws, and the call that each entry makes of it."""
    columns = list(zip(*([x.text for x in draw.literals] for draw in group), strict=True))
    parameters: dict[tuple[str, ...], str] = {}
    counts: dict[str, int] = {}
    sizes = tuple(str(_count(draw.entry.type.shape)) for draw in group)
    shapes = next((c for c in columns if c[0].startswith("(") and _prods(c) == sizes), None)
    replacements: list[str] = []
    for column in columns:
        if len(set(column)) == 1:
            replacements.append(column[0])
        elif column == sizes and shapes is not None:
            replacements.append("math.prod(shape)")
        else:
            if column not in parameters:
                wish = _parameter(column[0])
                counts[wish] = counts.get(wish, 0) + 1
                parameters[column] = wish if counts[wish] == 1 else f"{wish}_{counts[wish]}"
            replacements.append(parameters[column])
    lines = [INDENT + line for line in group[0].with_literals(replacements).split("\n")]
    head = f"def {name}({', '.join(['seed', *parameters.values()])}):"
    doc = f'{INDENT}"""The initial value of a state entry."""'
    calls = {
        draw.entry.path: f"{name}({', '.join(['seed', *(c[i] for c in parameters)])})"
        for i, draw in enumerate(group)
    }
    return "\n".join([head, doc, *lines]), calls


def _parameter(text: str) -> str:
    if text.startswith("("):
        return "shape"
    if text.startswith(("'", '"')):
        return "path"
    return "size" if text.isdigit() else "value"


def _count(shape: tuple[Dim, ...]) -> int:
    return prod(dim for dim in shape if isinstance(dim, int))


def _prods(column: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(prod(ast.literal_eval(text))) for text in column)
