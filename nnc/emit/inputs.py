"""How a function's graph inputs are written: reads of its dictionaries, sizes, scalars."""

from __future__ import annotations

import keyword
from collections.abc import Collection, Iterable

from nnc.emit.dialect import Dialect
from nnc.emit.expressions import Expr, is_symbol, size_name
from nnc.emit.function import Printer
from nnc.emit.layout import string
from nnc.emit.names import identifier, shared_prefix
from nnc.emit.variables import variables_in
from nnc.ir.dims import Poly, symbols
from nnc.ir.graph import Graph, Node, Value

#: kind of input -> the dictionary that holds it
DICTIONARIES = {
    "state": "state",
    "batch": "batch",
    "scalar": "scalars",
    "accumulator": "accumulators",
}


def bind_inputs(
    printer: Printer, graph: Graph, used: set[int], keywords: Collection[str] = ()
) -> None:
    """Give each used input a variable of its own; `keywords` are scalars that are parameters."""
    nodes = [graph.node(id) for id in graph.inputs]
    wishes = wishes_for(nodes, printer.names.prefix)
    for kind in ("batch", "accumulator", "argument", "state", "scalar"):
        for node in nodes:
            if node.attrs["kind"] == kind and node.id in used:
                bind_input(printer, node, wishes[node.id], keywords)


def wishes_for(nodes: Iterable[Node], prefix: str) -> dict[int, str]:
    """The wished name of each input: of weights without `prefix`, of fields without the source."""
    nodes = list(nodes)
    names = {node.id: _own_name(node.attrs["name"]) for node in nodes}
    batch = [node.attrs["name"] for node in nodes if node.attrs["kind"] == "batch"]
    source = shared_prefix(batch)
    return {
        id: identifier(name.removeprefix(prefix).removeprefix(source)) for id, name in names.items()
    }


def _own_name(name: str) -> str:
    """Of loss scales the last part of the path alone, since a step has one."""
    return name.rsplit("/", 1)[-1] if name.startswith("@scale/") else name


def bind_input(printer: Printer, node: Node, wish: str, keywords: Collection[str]) -> None:
    kind, name = node.attrs["kind"], node.attrs["name"]
    value = Value(node.id)
    if kind == "argument":
        printer.bind(value, Expr(argument_name(name, printer.dialect)))
        return
    if kind == "scalar" and name in keywords:
        parameter = argument_name(name, printer.dialect)
        if printer.dialect.scalar(parameter, node.type.dtype).text == parameter:
            printer.bind(value, printer.dialect.scalar(parameter, node.type.dtype))
            return
        source = parameter
    else:
        source = f"{DICTIONARIES[kind]}[{string(name)}]"
    variable = printer.names.new(wish)
    is_scalar = kind == "scalar"
    expr = printer.dialect.scalar(source, node.type.dtype) if is_scalar else Expr(source)
    printer.body.add(printer.depth, f"{variable} = {expr.text}")
    printer.bind(value, Expr(variable, weak=expr.weak))


def argument_name(name: str, dialect: Dialect) -> str:
    """The parameter of `forward` for the argument `name` of a model."""
    word = identifier(name)
    is_taken = word == "state" or keyword.iskeyword(word) or word in dialect.taken
    return f"{word}_" if is_taken else word


def sizes_in(graph: Graph) -> set[str]:
    """The names of sizes that the types of `graph` mention."""
    names: set[str] = set()
    for id in graph.nx:
        for type in graph.node(id).types:
            for dim in type.shape:
                names |= symbols(dim) if isinstance(dim, Poly) else set()
    return names


def bind_sizes(printer: Printer, line: int) -> None:
    """`n = x.shape[0]` at `line` for each symbolic size that the lines below it use."""
    graph = printer.graph
    used = {name for _, text in printer.body.lines[line:] for name in variables_in(text)}
    for id in graph.inputs:
        expr = printer.exprs.get(Value(id))
        for axis, dim in enumerate(graph.node(id).type.shape):
            name = size_name(str(dim))
            if expr is not None and is_symbol(dim) and name in used:
                used.remove(name)
                size = f"{name} = {expr.text}.shape[{axis}]"
                printer.body.lines.insert(line, (printer.depth, size))
