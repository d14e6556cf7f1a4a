"""`scan` as `lax.scan` over a function of its own, which reads captures from around it."""

from __future__ import annotations

from collections.abc import Sequence

from nnc.emit import WIDTH, Expr, Printer, dim_text, identifier, needed
from nnc.ir.graph import Graph, Node, Value


def print_scan(printer: Printer, node: Node) -> None:
    attrs = node.attrs
    body: Graph = attrs["body"]
    carries, sequences = attrs["carries"], attrs["sequences"]
    inner = printer.inside(body, 1)
    counter, *ports = (Value(id) for id in body.inputs)
    for port, value in zip(ports[carries:], node.operands[carries:], strict=True):
        expr = printer.read(value)
        inner.bind(port, expr if expr.is_simple else printer.variable(value))
    outputs = list(body.outputs.values())
    nodes = needed(body, outputs)
    inner.count(nodes, outputs)

    starts = [printer.explicit(value) for value in node.operands[:carries]]
    whole = [
        moved(inner.read(port).text, axis, 0)
        for port, axis in zip(ports[carries:], attrs["axes"], strict=False)
    ]
    old = [bind_port(inner, port) for port in ports[:carries]]
    parts = [bind_port(inner, port, "_t") for port in ports[carries : carries + sequences]]
    if inner.uses[counter]:
        parts.append(printer.names.new("t"))
        inner.bind(counter, Expr(parts[-1]))
        whole.append(f"jnp.arange({dim_text(attrs['length'])}, dtype=jnp.int32)")

    name = printer.names.new(function_name(node))
    printer.place(node)
    if printer.body.lines:
        printer.body.gap()
    else:
        printer.body.lines.append((0, ""))  # after the docstring
    begin(inner, f"def {name}", old, parts)
    for port, value in zip(ports[:carries], outputs, strict=False):
        inner.take_over(port, value, nodes)
    inner.print(nodes)
    end(inner, outputs[:carries], outputs[carries:])

    options = [] if whole else [f"length={dim_text(attrs['length'])}"]
    options += ["reverse=True"] if attrs["reverse"] else []
    arguments = ", ".join([name, grouped(starts, "None"), grouped(whole, "None"), *options])
    names = list(body.outputs)[carries:]
    wishes = [*old, *(printer.names.new(identifier(f"{output}s")) for output in names)]
    results = [Value(node.id, index) for index in range(len(wishes))]
    targets = [w if printer.uses[r] else "_" for w, r in zip(wishes, results, strict=True)]
    assign(printer, targets[:carries], targets[carries:], f"lax.scan({arguments})")
    for target, axis in zip(targets[carries:], attrs["out_axes"], strict=True):
        if target != "_" and axis:
            printer.body.add(printer.depth, f"{target} = {moved(target, 0, axis)}")
    for result, target in zip(results, targets, strict=True):
        printer.bind(result, Expr(target))


def assign(printer: Printer, carries: list[str], stacks: list[str], call: str) -> None:
    """`carries, stacks = call`, in several statements where one would not fit on its line."""
    groups = [carries, stacks]
    texts = [grouped(names, "_") if set(names) - {"_"} else "_" for names in groups]
    longest = WIDTH - 4 * printer.depth - len(" = lax.scan(")
    late: list[tuple[str, list[str]]] = []
    for index, wish in enumerate(("carry", "outputs")):
        if len(", ".join(texts)) > longest and len(groups[index]) > 1 and texts[index] != "_":
            texts[index] = printer.names.new(wish)
            late.append((texts[index], groups[index]))
    printer.body.add(printer.depth, f"{', '.join(texts)} = {call}")
    for name, parts in late:
        line = f"{', '.join(parts)} = {name}"
        if 4 * printer.depth + len(line) <= WIDTH:
            printer.body.add(printer.depth, line)
            continue
        for number, part in enumerate(parts):
            if part != "_":
                printer.body.add(printer.depth, f"{part} = {name}[{number}]")


def function_name(node: Node) -> str:
    """`rnn_0_step`, from the instance that the loop belongs to; `d_rnn_0_step` in its gradient."""
    scope = node.origin[0].scope.rpartition(".")[2] if node.origin else ""
    carries = list(node.attrs["body"].outputs)[: node.attrs["carries"]]
    gradient = "d_" if carries and all(name.startswith("d_") for name in carries) else ""
    return identifier(f"{gradient}{scope or 'scan'}_step")


def bind_port(inner: Printer, port: Value, suffix: str = "") -> str:
    """A name for an input of the body."""
    name = inner.names.new(identifier(inner.graph.node(port.node).attrs["name"]) + suffix)
    inner.bind(port, Expr(name))
    return name


def begin(inner: Printer, head: str, old: Sequence[str], parts: Sequence[str]) -> None:
    """The first lines of the function: a parameter is one name, or a tuple to unpack."""
    depth = inner.depth
    carry, slices = parameter(inner, old, "carry"), parameter(inner, parts, "inputs")
    inner.body.add(depth - 1, f"{head}({carry}, {slices}):")
    for tuple_name, names in ((carry, old), (slices, parts)):
        if len(names) > 1:
            inner.body.add(depth, f"{', '.join(names)} = {tuple_name}")


def parameter(inner: Printer, names: Sequence[str], wish: str) -> str:
    if len(names) > 1:
        return inner.names.new(wish)
    return names[0] if names else "_"


def end(inner: Printer, carries: Sequence[Value], stacks: Sequence[Value]) -> None:
    """The function's `return`, with variables first for what does not fit on its line."""
    room = WIDTH - 4 * inner.depth - len("return ")
    if len(returned(inner, carries, stacks)) > room:
        for value in (*carries, *stacks):
            if inner.read(value).size:
                inner.variable(value)
    if len(returned(inner, carries, stacks)) > room:
        names: list[str] = []
        for wish, values in (("carry", carries), ("outputs", stacks)):
            texts = [inner.explicit(value) for value in values]
            names.append(inner.names.new(wish))
            inner.body.add(inner.depth, f"{names[-1]} = {grouped(texts, 'None')}")
        inner.body.add(inner.depth, f"return {', '.join(names)}")
    else:
        inner.body.add(inner.depth, f"return {returned(inner, carries, stacks)}")
    inner.body.gap()


def returned(inner: Printer, carries: Sequence[Value], stacks: Sequence[Value]) -> str:
    left, right = ([inner.explicit(value) for value in values] for values in (carries, stacks))
    return f"{grouped(left, 'None')}, {grouped(right, 'None')}"


def grouped(texts: Sequence[str], nothing: str) -> str:
    """One text as it is, several as a tuple."""
    if not texts:
        return nothing
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


def moved(text: str, source: int, target: int) -> str:
    """An array with the axis `source` at `target` and the others in order."""
    if source == target:
        return text
    if source + target == 1:
        return f"{text}.swapaxes(0, 1)"
    return f"jnp.moveaxis({text}, {source}, {target})"
