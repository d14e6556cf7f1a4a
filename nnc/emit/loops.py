"""`scan` as a `for` loop that fills stacks, and `call` as the statements of its body.

A carry keeps one variable: the new value takes the name of the old one as soon as nothing reads the
old one any more.  A stack that only loops read, slice by slice, is a Python list: nothing is copied
into it, and a loop that goes back through it takes each slice out, so that it is free after that.
"""

from __future__ import annotations

from dataclasses import dataclass

from nnc.emit.expressions import Expr, dim_text, shape_text
from nnc.emit.function import Printer
from nnc.emit.layout import WIDTH
from nnc.emit.names import identifier
from nnc.emit.variables import variables_in
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.order import needed


@dataclass(frozen=True)
class Slices(Expr):
    """A Python list of the slices of a stack, in their order or backwards."""

    backwards: bool = False


def print_scan(printer: Printer, node: Node) -> None:
    attrs = node.attrs
    body: Graph = attrs["body"]
    carries, sequences = attrs["carries"], attrs["sequences"]
    inner = printer.inside(body, 1)
    printer.loops.append(inner)
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
    given = node.operands[carries : carries + sequences]
    for port, value, axis in zip(sequence_ports, given, attrs["axes"], strict=True):
        is_last = attrs["reverse"] and len(list(printer.graph.users(value))) == 1
        bind_slice(inner, port, time, axis, is_last)
    for port, value in zip(ports[1:], outputs[:carries], strict=False):
        inner.take_over(port, value, nodes)
    inner.print(nodes)
    parts = [inner.explicit(value) for value in outputs[carries:]]
    for stack, axis, part in zip(stacks, attrs["out_axes"], parts, strict=True):
        is_list = isinstance(stack, Slices)
        place = f"{stack.text}[{', '.join([':'] * axis + [time])}]"
        line = f"{stack.text}.append({part})" if is_list else f"{place} = {part}"
        inner.body.add(inner.depth, line)
    carry_on(inner, names, outputs[:carries])
    if not inner.body.lines[-1][1] or inner.body.lines[-1][1].startswith("for "):
        inner.body.add(inner.depth, "pass")
    for index, expr in enumerate([*map(Expr, names), *stacks]):
        printer.bind(Value(node.id, index), expr)


def carry_name(printer: Printer, body: Graph, port: Value) -> str:
    return printer.names.new(identifier(body.node(port.node).attrs["name"]))


def make_stack(printer: Printer, node: Node, index: int) -> Expr:
    """An empty list or array for the stack that is result `index`."""
    body: Graph = node.attrs["body"]
    attrs, type = node.attrs, node.types[index]
    one = list(body.outputs)[index]
    name = printer.names.new(identifier(f"{one}es" if one.endswith("s") else f"{one}s"))
    axis = attrs["out_axes"][index - attrs["carries"]]
    if not attrs["reverse"] and is_only_scanned(printer.graph, Value(node.id, index), axis):
        printer.body.add(printer.depth, f"{name} = []")
        return Slices(name)
    empty = printer.dialect.filled("", shape_text(type.shape), type.dtype)
    printer.body.add(printer.depth, f"{name} = {empty}")
    return Expr(name)


def is_only_scanned(graph: Graph, value: Value, axis: int) -> bool:
    """Whether loops alone read a stack, and slice it again along the axis it was stacked on."""
    return value not in graph.outputs.values() and all(
        user.op == "scan"
        and user.attrs["carries"] <= key < user.attrs["carries"] + user.attrs["sequences"]
        and user.attrs["axes"][key - user.attrs["carries"]] == axis
        for user, key in graph.users(value)
    )


def bind_slice(inner: Printer, port: Value, time: str, axis: int, is_last: bool) -> None:
    """A step's slice of a sequence, which gets a variable where it is read more than once.

    What a loop backwards is the last to read, it takes out of its list.
    """
    sequence = inner.read(port)
    is_taken = isinstance(sequence, Slices) and is_last and inner.uses[port] > 0
    places = [time] if isinstance(sequence, Slices) else [":"] * axis + [time]
    text = f"{sequence.text}.pop()" if is_taken else f"{sequence.text}[{', '.join(places)}]"
    part = Expr(text, size=1)
    inner.bind(port, part)
    if is_taken:
        inner.taken.add(port)
    if is_taken or inner.uses[port] > 1:
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
    return any(name in variables_in(text) for other, text in texts.items() if other != name)


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
