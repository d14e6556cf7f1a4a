"""How a function's graph inputs are written: reads of its dictionaries, sizes, scalars."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nnc.ir.dims import Poly, symbols
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.types import TensorType
from nnc_numpy.expressions import Expr, dtype_text, is_symbol, size_name
from nnc_numpy.function import Printer
from nnc_numpy.layout import string
from nnc_numpy.names import identifier, shared_prefix

#: kind of input -> the dictionary that holds it
DICTIONARIES = {
    "state": "state",
    "batch": "batch",
    "scalar": "scalars",
    "accumulator": "accumulators",
}


def bind_inputs(printer: Printer, graph: Graph, used: set[int]) -> None:
    """Give each used input a variable of its own."""
    nodes = [graph.node(id) for id in graph.inputs]
    wishes = wishes_for(nodes, printer.names.prefix)
    for kind in ("batch", "accumulator", "argument", "state", "scalar"):
        for node in nodes:
            if node.attrs["kind"] == kind and node.id in used:
                bind_input(printer, node, wishes[node.id])


def wishes_for(nodes: Iterable[Node], prefix: str) -> dict[int, str]:
    """The wished name of each input: of weights without `prefix`, of fields without the source."""
    nodes = list(nodes)
    names = {node.id: node.attrs["name"] for node in nodes}
    batch = [node.attrs["name"] for node in nodes if node.attrs["kind"] == "batch"]
    source = shared_prefix(batch)
    return {
        id: identifier(name.removeprefix(prefix).removeprefix(source)) for id, name in names.items()
    }


def bind_input(printer: Printer, node: Node, wish: str) -> None:
    kind, name = node.attrs["kind"], node.attrs["name"]
    value = Value(node.id)
    if kind == "argument":
        printer.bind(value, argument(node))
        return
    source = f"{DICTIONARIES[kind]}[{string(name)}]"
    variable = printer.names.new(wish)
    expr = Expr(source) if kind != "scalar" else scalar(source, node.type)
    printer.body.add(printer.depth, f"{variable} = {expr.text}")
    printer.bind(value, Expr(variable, weak=expr.weak))


def argument(node: Node) -> Expr:
    """A parameter of the function itself."""
    return Expr(argument_name(node.attrs["name"]))


def argument_name(name: str) -> str:
    word = identifier(name)
    return f"{word}_" if word in ("state", "np", "math") else word


def scalar(source: str, type: TensorType) -> Expr:
    """A number of the host in its element type; one that Python's own numbers hold stays one."""
    if type.dtype in ("f16", "f32"):
        return Expr(f"{dtype_text(type.dtype)}({source})")
    return Expr(source, weak=type.dtype)


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
    used = set(re.findall(r"\w+", "\n".join(text for _, text in printer.body.lines[line:])))
    for id in graph.inputs:
        expr = printer.exprs.get(Value(id))
        for axis, dim in enumerate(graph.node(id).type.shape):
            name = size_name(str(dim))
            if expr is not None and is_symbol(dim) and name in used:
                used.remove(name)
                size = f"{name} = {expr.text}.shape[{axis}]"
                printer.body.lines.insert(line, (printer.depth, size))
