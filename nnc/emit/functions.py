"""The functions of an emitted file: steps, evaluations and forwards, each from its graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from nnc.emit.dialect import Dialect, Helper
from nnc.emit.divided import divided
from nnc.emit.expressions import Expr, size_name
from nnc.emit.freeing import free_large, smallest_freed
from nnc.emit.function import Body, Printer
from nnc.emit.inputs import argument_name, bind_inputs, bind_sizes, sizes_in
from nnc.emit.layout import INDENT, WIDTH, statement, string
from nnc.emit.names import Names
from nnc.emit.scalars import COUNTERS, scalar_lines
from nnc.emit.updates import print_shared, shared_updates
from nnc.ir.dims import symbol
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.host import HostExpr
from nnc.ir.interpret import with_sizes
from nnc.ir.order import needed, sections
from nnc.ir.program import Evaluation, Forward, Step, is_result

#: what the size of a batch is called in graphs of evaluations; `finish` gets it as `count`
BATCH_SIZES = ("N",)


@dataclass(frozen=True)
class Context:
    """What the functions of one file share: their dialect, and how to get a helper."""

    dialect: Dialect
    helper: Helper
    prefix: str = ""  # of all weights' paths


def start(
    context: Context,
    graph: Graph,
    targets: Iterable[Value],
    parameters: Iterable[str] = (),
    keywords: Collection[str] = (),
    printing: type[Printer] = Printer,
    given: Collection[Value] = (),
) -> tuple[Printer, list[Node]]:
    """A printer whose inputs are bound, and the nodes it has to print where `given` is there."""
    targets = list(targets)
    nodes = needed(graph, targets, given)
    taken = {*context.dialect.taken, *parameters, *keywords, *map(size_name, sizes_in(graph))}
    names = Names(taken, context.prefix)
    printer = printing(graph, context.dialect, names, context.helper, Body())
    bind_inputs(printer, graph, {node.id for node in nodes}, keywords)
    printer.count(nodes, targets)
    return printer, nodes


def entries(printer: Printer, outputs: Mapping[str, Value]) -> str:
    """Outputs as the text of a dictionary, under the names that callers see."""
    pairs = (printer.fitted(f"{string(name)}: ", value, 2) for name, value in outputs.items())
    return "{" + ", ".join(pairs) + "}"


def definition(head: str, doc: str, body: Body, decorators: Iterable[str] = ()) -> str:
    """A function with a docstring that fits its line."""
    lines = [*decorators, *statement(f"def {head}:", 0)]
    return "\n".join([*lines, f'{INDENT}"""{doc}"""', *body.text()])


# ---------------------------------------------------------------- steps
def step_functions(context: Context, step: Step, name: str) -> list[str]:
    """What is called `name`, after what draws for it where the dialect has that apart."""
    drawn = context.dialect.drawn(step)
    draws = [drawn_function(context, step.graph, name, drawn)] if drawn else []
    return [*draws, *step_function(context, step, name, drawn)]


def drawn_function(context: Context, graph: Graph, name: str, drawn: Mapping[str, Value]) -> str:
    """`name_drawn(scalars)`: what the step draws, a dictionary."""
    printer, nodes = start(context, graph, drawn.values())
    printer.print(nodes)
    printer.body.add(1, f"return {entries(printer, drawn)}")
    return definition(f"{name}_drawn(scalars)", "What one step draws, by stream.", printer.body)


def step_function(context: Context, step: Step, name: str, drawn: Mapping[str, Value]) -> list[str]:
    """`name(state, batch, scalars) -> state, out`; with a fourth parameter for what is drawn
    before it, and after its two parts where it has these."""
    parameters = ["state", "batch", "scalars", *(["drawn"] if drawn else [])]
    given = ", ".join(parameters)
    taken = f"{given}=None" if drawn else given
    doc = f"One step on a batch of {batch_text(step.graph)}; `state` is consumed."
    if len(doc) > WIDTH - 10:
        doc = f"One step of `{name}`; `state` is consumed."
    decorators = context.dialect.decorators.get("step", ())
    printer, cut = print_step(context, step, name, drawn, parameters)
    body, update = printer.body, Body()
    parts = divided(body.lines, cut) if cut is not None else None
    if parts is not None:
        body.lines, update.lines = parts.gradients, parts.update
    if context.dialect.frees:
        free_large(printer, smallest_freed(step))
    if parts is None:
        return [definition(f"{name}({taken})", doc, body, decorators)]
    head, does = f"{name}_gradients({taken})", f"The results of `{name}` and its gradients."
    changes = f"{name}_update({', '.join(['state', 'scalars', *parts.given])})"
    call = f"{name}_update(state, scalars, *{name}_gradients({given}))"
    return [
        definition(head, does, body, decorators),
        definition(changes, f"The update of `{name}`, in place.", update, decorators),
        definition(f"{name}({taken})", doc, Body([(1, f"return {call}")])),
    ]


def print_step(
    context: Context,
    step: Step,
    name: str,
    drawn: Mapping[str, Value],
    parameters: Sequence[str],
) -> tuple[Printer, int | None]:
    """The body of a step, and the line where its updates begin if they are a function of their
    own."""
    graph = step.graph
    results = {name[1:]: v for name, v in graph.outputs.items() if is_result(name)}
    updates = {path: v for path, v in graph.outputs.items() if not is_result(path)}
    loops = shared_updates(graph, updates)
    looped = {path for loop in loops for path in loop.paths}
    straight = {path: v for path, v in updates.items() if path not in looped}
    holes = [hole for loop in loops for member in loop.members for hole in member.holes]
    shared = [value for loop in loops for value in loop.shared]
    targets = [*results.values(), *holes, *straight.values(), *shared]
    printing = context.dialect.step_printer()
    printer, nodes = start(
        context, graph, targets, parameters, printing=printing, given=drawn.values()
    )
    if drawn:
        printer.body.add(1, f"drawn = drawn or {name}_drawn(scalars)")
    for stream, value in drawn.items():
        printer.bind(value, Expr(f"drawn[{string(stream)}]"))
    for title, members in sections(graph, nodes):
        printer.body.section(title)
        printer.print(members)
    print_shared(printer, loops)
    cut = len(printer.body.lines)
    is_apart = bool(loops) and context.dialect.update(printer, loops)
    for path, value in straight.items():
        context.dialect.stored(printer, value)
        printer.body.add(1, printer.fitted(f"state[{string(path)}] = ", value, 1))
    printer.body.add(1, f"return state, {entries(printer, results)}")
    return printer, cut if is_apart else None


def batch_text(graph: Graph) -> str:
    """`digits.x f32[64, 64], digits.y i32[64]`."""
    nodes = [graph.node(id) for id in graph.inputs]
    fields = [f"{n.attrs['name']} {n.type}" for n in nodes if n.attrs["kind"] == "batch"]
    return ", ".join(fields) or "nothing"


def scalars_function(
    scalars: dict[str, HostExpr],
    name: str,
    typed: Callable[[str, str], str] = lambda scalar, text: text,
) -> str:
    """`name(step, updates, seed, draw)`: the numbers of a step, in float64 on the host."""
    doc = "Numbers of one step that the host computes, in float64."
    body = Body(scalar_lines(scalars, typed))
    return definition(f"{name}({', '.join(COUNTERS)})", doc, body)


def typed_scalars(context: Context, graph: Graph) -> Callable[[str, str], str]:
    """(scalar, text) -> the text as `STEP_scalars` returns it for `graph`."""
    nodes = [graph.node(id) for id in graph.inputs]
    types = {n.attrs["name"]: n.type.dtype for n in nodes if n.attrs["kind"] == "scalar"}

    def typed(scalar: str, text: str) -> str:
        return context.dialect.host_scalar(text, types[scalar]) if scalar in types else text

    return typed


# ---------------------------------------------------------------- evaluations
def evaluation_functions(context: Context, evaluations: Iterable[Evaluation]) -> list[str]:
    """Two functions for each evaluation; one that is like an earlier one is an alias of it."""
    written: dict[str, str] = {}
    parts: list[str] = []
    for evaluation in evaluations:
        finish = with_sizes(evaluation.finish, {size: symbol("count") for size in BATCH_SIZES})
        for part, graph, parameters in (
            ("batch", evaluation.batch, "(state, batch, scalars)"),
            ("finish", finish, "(state, accumulators, scalars, count)"),
        ):
            name = f"evaluate_{evaluation.name}_{part}"
            text = plain_function(context, graph, parameters, PURPOSES[part])
            like = written.setdefault(text, name)
            head = "\n".join([*context.dialect.decorators.get(part, ()), f"def {name}"])
            parts.append(f"{head}{text}" if like == name else f"{name} = {like}")
    return parts


PURPOSES = {
    "batch": "What one batch adds to the loss and metrics.",
    "finish": "Loss and metrics over `count` samples.",
}


def plain_function(context: Context, graph: Graph, parameters: str, doc: str) -> str:
    """A function, from its parameters on, that returns a dictionary of the graph's outputs."""
    printer, nodes = start(context, graph, graph.outputs.values(), ["count"])
    line = len(printer.body.lines)
    printer.print(nodes)
    outputs = {name.removeprefix("@"): value for name, value in graph.outputs.items()}
    printer.body.add(1, f"return {entries(printer, outputs)}")
    bind_sizes(printer, line)
    return definition(parameters, doc, printer.body).removeprefix("def ")


# ---------------------------------------------------------------- inference
def forward_function(context: Context, forward: Forward, name: str) -> str:
    """`name(state, x, ...)`: an array, or a dictionary for a record.

    What draws has the scalars that tell draws apart as keywords, 0 where they are not given.
    """
    graph = forward.graph
    used = {node.id for node in needed(graph, graph.outputs.values())}
    scalars = [
        graph.node(id).attrs["name"]
        for id in graph.inputs
        if graph.node(id).attrs["kind"] == "scalar" and id in used
    ]
    arguments = [
        argument_name(graph.node(id).attrs["name"], context.dialect)
        for id in graph.inputs
        if graph.node(id).attrs["kind"] == "argument"
    ]
    printer, nodes = start(context, graph, graph.outputs.values(), arguments, scalars)
    line = len(printer.body.lines)
    printer.print(nodes)
    if list(graph.outputs) == ["output"]:
        result = printer.explicit(graph.outputs["output"])
    else:
        result = entries(printer, graph.outputs)
    printer.body.add(1, f"return {result}")
    bind_sizes(printer, line)
    doc = f"`{forward.name}` of its arguments, as in evaluation."
    decorators = context.dialect.decorators.get("forward", ())
    parameters = [
        "state",
        *arguments,
        *(f"{argument_name(name, context.dialect)}=0" for name in scalars),
    ]
    if scalars:
        parameters.insert(-len(scalars), "*")
    return definition(f"{name}({', '.join(parameters)})", doc, printer.body, decorators)
