"""`scan` as a `for` loop with preallocated stacks, and `call` as the statements of its body.

A carry keeps one variable: the new value takes the name of the old one as soon as nothing reads the
old one any more.
"""

from __future__ import annotations

import re

from nnc.emit.expressions import Expr, dim_text, shape_text
from nnc.emit.function import Printer
from nnc.emit.layout import WIDTH
from nnc.emit.names import identifier
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.order import needed


def print_scan(printer: Printer, node: Node) -> None:
    attrs = node.attrs
    body: Graph = attrs["body"]
    carries, sequences = attrs["carries"], attrs["sequences"]
    inner = printer.inside(body, 1)
    ports = [Value(id) for id in body.inputs]
    sequence_ports = ports[1 + carries : 1 + carries + sequences]

    for port, value in zip(ports[1 + carries :], node.operands[carries:], strict=True):
        expr = printer.read(value)
        inner.bind(port, expr if expr.is_simple else printer.variable(value))
    printer.place(node)
    names = [carry_name(printer, body, port) for port in ports[1 : 1 + carries]]
    for name, port, value in zip(names, ports[1:], node.operands, strict=False):
        printer.body.add(printer.depth, f"{name} = {printer.explicit(value)}")
        inner.bind(port, Expr(name))
    stacks = [make_stack(printer, node, i) for i in range(carries, len(node.types))]
    time = printer.names.time(printer.depth - 1)
    length = dim_text(attrs["length"])
    steps = f"reversed(range({length}))" if attrs["reverse"] else f"range({length})"
    printer.body.add(printer.depth, f"for {time} in {steps}:")
    inner.bind(ports[0], Expr(time, weak="i32"))

    outputs = list(body.outputs.values())
    nodes = needed(body, outputs)
    inner.count(nodes, outputs)
    for port, axis in zip(sequence_ports, attrs["axes"], strict=True):
        bind_slice(inner, port, time, axis)
    for port, value in zip(ports[1:], outputs[:carries], strict=False):
        inner.take_over(port, value, nodes)
    inner.print(nodes)
    stored = [
        f"{stack}[{', '.join([':'] * axis + [time])}] = {inner.explicit(value)}"
        for stack, axis, value in zip(stacks, attrs["out_axes"], outputs[carries:], strict=True)
    ]
    for line in stored:
        inner.body.add(inner.depth, line)
    carry_on(inner, names, outputs[:carries])
    if not inner.body.lines[-1][1] or inner.body.lines[-1][1].startswith("for "):
        inner.body.add(inner.depth, "pass")
    for index, name in enumerate(names + stacks):
        printer.bind(Value(node.id, index), Expr(name))


def carry_name(printer: Printer, body: Graph, port: Value) -> str:
    return printer.names.new(identifier(body.node(port.node).attrs["name"]))


def make_stack(printer: Printer, node: Node, index: int) -> str:
    """An empty array for the stack that is result `index`."""
    body: Graph = node.attrs["body"]
    type = node.types[index]
    output = list(body.outputs)[index]
    name = printer.names.new(identifier(f"{output}s"))
    empty = printer.dialect.filled("", shape_text(type.shape), type.dtype)
    printer.body.add(printer.depth, f"{name} = {empty}")
    return name


def bind_slice(inner: Printer, port: Value, time: str, axis: int) -> None:
    """A step's slice of a sequence; it gets a variable where it is read more than once."""
    sequence = inner.read(port)
    part = Expr(f"{sequence.text}[{', '.join([':'] * axis + [time])}]", size=1)
    inner.bind(port, part)
    if inner.uses[port] > 1:
        wish = identifier(inner.graph.node(port.node).attrs["name"])
        inner.assign(port, part, f"{wish}_{time}")


def carry_on(inner: Printer, names: list[str], values: list[Value]) -> None:
    """Let the carries' variables hold the new values: each as soon as no other needs the old one,
    the rest all at once."""
    texts = {n: inner.explicit(v) for n, v in zip(names, values, strict=True)}
    left = {name: text for name, text in texts.items() if name != text}
    while left:
        free = next((name for name in left if not _is_read(name, left)), None)
        if free is None:
            break
        inner.body.add(inner.depth, f"{free} = {left.pop(free)}")
    if left:
        sources = ", ".join(left.values())
        line = f"{', '.join(left)} = {sources}"
        if 4 * inner.depth + len(line) > WIDTH:
            line = f"{', '.join(left)} = ({sources})"
        inner.body.add(inner.depth, line)


def _is_read(name: str, texts: dict[str, str]) -> bool:
    """Whether the text for another name reads `name`."""
    return any(name in re.findall(r"\w+", text) for other, text in texts.items() if other != name)


def print_call(printer: Printer, node: Node) -> None:
    """The statements of the body, at the place of the call."""
    body: Graph = node.attrs["body"]
    inner = printer.inside(body)
    for id, value in zip(body.inputs, node.operands, strict=True):
        expr = printer.read(value)
        inner.bind(Value(id), expr if expr.is_simple else printer.variable(value))
    outputs = list(body.outputs.values())
    nodes = needed(body, outputs)
    inner.count(nodes, outputs)
    inner.print(nodes)
    for index, value in enumerate(outputs):
        result = inner.read(value)
        expr = result if result.is_simple else inner.variable(value)
        printer.bind(Value(node.id, index), expr)


#: for dialects whose loops are Python's
STATEMENTS = {"scan": print_scan, "call": print_call}
