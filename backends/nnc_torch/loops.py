"""`scan` as a `for` loop over slices, whose results are stacked at its end.

Slices come from `unbind`, and stacks are made at once, because autograd would otherwise fill a
whole array for every step.  A loop that runs in reverse reads and stacks in reverse.
"""

from __future__ import annotations

from nnc.emit import LOOPS, Expr, Printer, Statement, dim_text, identifier, needed, recurrent
from nnc.emit.loops import Slices, carry_name, carry_on, is_only_scanned
from nnc.ir.graph import Graph, Node, Value
from nnc_torch import kernels, runtime
from nnc_torch.activations import print_le, print_mul, print_where
from nnc_torch.fused import (
    print_attention,
    print_attention_grad,
    print_batch_norm,
    print_batch_norm_grad,
    print_layer_norm,
    print_layer_norm_grad,
    print_module_attention,
)
from nnc_torch.host import UNSIGNED
from nnc_torch.spatial import print_max_pool, print_max_pool_grad, settle


def print_scan(printer: Printer, node: Node) -> None:
    attrs = node.attrs
    body: Graph = attrs["body"]
    carries, sequences = attrs["carries"], attrs["sequences"]
    inner = printer.inside(body, 1)
    printer.loops.append(inner)
    ports = [Value(id) for id in body.inputs]
    outputs = list(body.outputs.values())
    nodes = needed(body, outputs)
    inner.count(nodes, outputs)

    for port, value in zip(
        ports[1 + carries + sequences :], node.operands[carries + sequences :], strict=True
    ):
        expr = printer.read(value)
        inner.bind(port, expr if expr.is_simple or not expr.size else printer.variable(value))
    printer.place(node)
    names = [carry_name(printer, body, port) for port in ports[1 : 1 + carries]]
    for name, port, value in zip(names, ports[1:], node.operands, strict=False):
        text = printer.explicit(value)
        if text != name:
            printer.body.add(printer.depth, f"{name} = {text}")
        inner.bind(port, Expr(name))
    stacks = [stack_name(printer, node, i) for i in range(carries, len(node.types))]
    for stack in stacks:
        printer.body.add(printer.depth, f"{stack} = []")
    head = loop_head(printer, inner, node)
    printer.body.add(printer.depth, f"for {head}:")
    for port, value in zip(ports[1:], outputs[:carries], strict=False):
        inner.take_over(port, value, nodes)
    inner.print(nodes)
    for stack, value in zip(stacks, outputs[carries:], strict=True):
        inner.body.add(inner.depth, f"{stack}.append({inner.explicit(value)})")
    carry_on(inner, names, outputs[:carries])
    last = inner.body.lines[-1][1]
    if not last or (last.startswith("for ") and last.endswith(":")):
        inner.body.add(inner.depth, "pass")
    for index, name in enumerate(names):
        printer.bind(Value(node.id, index), Expr(name))
    for index, (stack, axis) in enumerate(zip(stacks, attrs["out_axes"], strict=True), carries):
        value = Value(node.id, index)
        if is_only_scanned(printer.graph, value, axis):
            printer.bind(value, Slices(stack, backwards=attrs["reverse"]))
        else:
            text = f"{stack}[::-1]" if attrs["reverse"] else stack
            printer.body.add(printer.depth, f"{stack} = torch.stack({text}, {axis})")
            printer.bind(value, Expr(stack))


def loop_head(printer: Printer, inner: Printer, node: Node) -> str:
    """`x_t in xs.unbind(1)`, with the count where the body reads it."""
    attrs, body = node.attrs, inner.graph
    carries, sequences = attrs["carries"], attrs["sequences"]
    counter = Value(body.inputs[0])
    ports = [Value(id) for id in body.inputs[1 + carries : 1 + carries + sequences]]
    names, texts = [], []
    for port, value, axis in zip(ports, node.operands[carries:], attrs["axes"], strict=False):
        if inner.uses[port]:
            name = printer.names.new(identifier(body.node(port.node).attrs["name"]))
            inner.bind(port, Expr(name))
            names.append(name)
            texts.append(slices(printer, value, axis, attrs["reverse"]))
    if inner.uses[counter] or not names:
        time = printer.names.time(printer.depth - 1)
        inner.bind(counter, Expr(time, weak="i32"))
        length = dim_text(attrs["length"])
        steps = f"range({length})"
        names.insert(0, time)
        texts.insert(0, f"reversed({steps})" if attrs["reverse"] else steps)
    if len(names) == 1:
        return f"{names[0]} in {texts[0]}"
    return f"{', '.join(names)} in zip({', '.join(texts)}, strict=True)"


def slices(printer: Printer, value: Value, axis: int, backwards: bool) -> str:
    """What a loop iterates over to get the slices of a sequence."""
    expr = printer.read(value)
    if isinstance(expr, Slices):
        return expr.text if expr.backwards == backwards else f"reversed({expr.text})"
    text = printer.variable(value).text
    if printer.graph.type(value).dtype not in UNSIGNED:
        text = f"{text}.unbind({axis})"
    elif axis:
        text = f"np.moveaxis({text}, {axis}, 0)"
    return f"{text}[::-1]" if backwards else text


def stack_name(printer: Printer, node: Node, index: int) -> str:
    """`hs` for a stack of the carry `h`, else from the name of the output."""
    outputs = node.attrs["body"].outputs
    names = list(outputs)
    carries = {outputs[name]: name for name in names[: node.attrs["carries"]]}
    name = carries.get(outputs[names[index]], names[index])
    return printer.names.new(identifier(f"{name.removeprefix('carry.')}s"))


def print_on_gradient(printer: Printer, node: Node) -> None:
    """The change of the gradient as a function, which keeps what its variables hold by now."""
    body: Graph = node.attrs["body"]
    name, cotangent = printer.names.new("change"), printer.names.new("dy")
    inner = printer.inside(body, 1)
    first, *ports = (Value(id) for id in body.inputs)
    inner.bind(first, Expr(cotangent))
    parameters = {cotangent: None}
    for port, value in zip(ports, node.operands[1:], strict=True):
        expr = printer.read(value)
        inner.bind(port, expr if expr.is_simple or not expr.size else printer.variable(value))
        if inner.read(port).is_name:
            parameters[f"{inner.read(port).text}={inner.read(port).text}"] = None
    outputs = list(body.outputs.values())
    nodes = needed(body, outputs)
    inner.count(nodes, outputs)
    if printer.body.lines:
        printer.body.add(0, "")
    printer.body.add(printer.depth, f"def {name}({', '.join(parameters)}):")
    inner.print(nodes)
    printer.body.add(inner.depth, f"return {inner.explicit(outputs[0])}")
    printer.body.add(0, "")
    function = printer.helper(runtime.on_gradient)
    x = printer.read(node.operands[0])
    settle(printer, node, printer.dialect.call(function, x, Expr(name)))


STATEMENTS: dict[str, Statement] = {
    **LOOPS,
    "scan": print_scan,
    "where": print_where,
    "le": print_le,
    "mul": print_mul,
    "max_pool": print_max_pool,
    "max_pool_grad": print_max_pool_grad,
    "layer_norm": print_layer_norm,
    "layer_norm_grad": print_layer_norm_grad,
    "batch_norm": print_batch_norm,
    "batch_norm_grad": print_batch_norm_grad,
    "attention": print_attention,
    "attention_grad": print_attention_grad,
    **recurrent(kernels.lstm, kernels.lstm_grad),
}
#: kernels that autograd does not go through: modules have them in parts
STEPS_ALONE = {"mul", "layer_norm_grad", "batch_norm", "batch_norm_grad", "attention_grad"} | {
    "lstm",
    "lstm_grad",
}
MODULE_STATEMENTS: dict[str, Statement] = {
    **{op: statement for op, statement in STATEMENTS.items() if op not in STEPS_ALONE},
    "attention": print_module_attention,
    "on_gradient": print_on_gradient,
}
