"""The functions of an emitted file: steps, evaluations and forwards, each from its graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nnc.backend import python_text
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.host import HostExpr
from nnc.ir.program import Evaluation, Forward, Step
from nnc_numpy.expressions import size_name, strong
from nnc_numpy.function import Body, Helper, Printer, needed
from nnc_numpy.inputs import argument_name, bind_inputs, bind_sizes, sizes_in
from nnc_numpy.layout import INDENT, statement, string
from nnc_numpy.names import Names
from nnc_numpy.sections import sections
from nnc_numpy.updates import print_loops, shared_updates


@dataclass(frozen=True)
class Context:
    """What the functions of one file share: the names of its helpers, and how to get one."""

    helper: Helper
    taken: frozenset[str]


def start(
    context: Context, graph: Graph, targets: Iterable[Value], parameters: Iterable[str] = ()
) -> tuple[Printer, list[Node]]:
    """A printer whose inputs are bound, and the nodes it has to print."""
    targets = list(targets)
    nodes = needed(graph, targets)
    names = Names({*context.taken, *parameters, *map(size_name, sizes_in(graph))})
    printer = Printer(graph, names, context.helper, Body())
    bind_inputs(printer, graph, {node.id for node in nodes})
    printer.count(nodes, targets)
    return printer, nodes


def entries(printer: Printer, outputs: dict[str, Value]) -> str:
    """Outputs as the text of a dictionary, under the names that callers see."""
    pairs = (
        f"{string(name)}: {strong(printer.read(value)).text}" for name, value in outputs.items()
    )
    return "{" + ", ".join(pairs) + "}"


def definition(head: str, doc: str, body: Body) -> str:
    """A function with a docstring that fits its line."""
    lines = statement(f"def {head}:", 0)
    return "\n".join([*lines, f'{INDENT}"""{doc}"""', *body.text()])


# ---------------------------------------------------------------- steps
def step_function(context: Context, step: Step, name: str) -> str:
    """`name(state, batch, scalars) -> state, out`."""
    graph = step.graph
    results = {name[1:]: v for name, v in graph.outputs.items() if is_result(name)}
    updates = {path: v for path, v in graph.outputs.items() if not is_result(path)}
    loops = shared_updates(graph, updates)
    looped = {path for loop in loops for path in loop.paths}
    straight = {path: v for path, v in updates.items() if path not in looped}
    holes = [hole for loop in loops for member in loop.members for hole in member.holes]
    shared = [value for loop in loops for value in loop.shared]
    targets = [*results.values(), *holes, *straight.values(), *shared]
    printer, nodes = start(context, graph, targets)
    for title, members in sections(graph, nodes, results.values()):
        printer.body.section(printer.depth, title)
        printer.print(members)
    print_loops(printer, loops)
    for path, value in straight.items():
        printer.body.add(1, f"state[{string(path)}] = {strong(printer.read(value)).text}")
    printer.body.add(1, f"return state, {entries(printer, results)}")
    doc = f"One step of `{step.name}`; `state` is consumed."
    return definition(f"{name}(state, batch, scalars)", doc, printer.body)


def is_result(output: str) -> bool:
    """Whether an output of a step is a result for the caller rather than new state."""
    return output == "@loss" or output.startswith("@metrics/")


def scalars_function(scalars: dict[str, HostExpr], name: str) -> str:
    """`name(step, updates, seed, draw)`: the numbers of a step, in float64 on the host."""
    pairs = (f"{string(key)}: {python_text(expr)}" for key, expr in scalars.items())
    body = Body([(1, "return {" + ", ".join(pairs) + "}")])
    doc = "Numbers of one step that the host computes, in float64."
    return definition(f"{name}(step, updates, seed, draw)", doc, body)


# ---------------------------------------------------------------- evaluations
def evaluation_functions(context: Context, evaluation: Evaluation) -> list[str]:
    name = f"evaluate_{evaluation.name}"
    batch = plain_function(
        context,
        evaluation.batch,
        f"{name}_batch(state, batch, scalars)",
        f"What one batch adds to the loss and metrics of `{evaluation.name}`.",
        dict,
    )
    finish = plain_function(
        context,
        evaluation.finish,
        f"{name}_finish(state, accumulators, scalars, count)",
        f"Loss and metrics of `{evaluation.name}` over `count` samples.",
        lambda outputs: {n.removeprefix("@"): v for n, v in outputs.items()},
    )
    return [batch, finish]


def plain_function(
    context: Context,
    graph: Graph,
    head: str,
    doc: str,
    rename: Callable[[dict[str, Value]], dict[str, Value]],
) -> str:
    """A function that returns a dictionary of the graph's outputs."""
    printer, nodes = start(context, graph, graph.outputs.values(), ["count"])
    line = len(printer.body.lines)
    printer.print(nodes)
    printer.body.add(1, f"return {entries(printer, rename(graph.outputs))}")
    bind_sizes(printer, line)
    return definition(head, doc, printer.body)


# ---------------------------------------------------------------- inference
def forward_function(context: Context, forward: Forward, name: str) -> str:
    """`name(state, x, ...)`: an array, or a dictionary for a record."""
    graph = forward.graph
    arguments = [
        argument_name(graph.node(id).attrs["name"])
        for id in graph.inputs
        if graph.node(id).attrs["kind"] == "argument"
    ]
    printer, nodes = start(context, graph, graph.outputs.values(), arguments)
    line = len(printer.body.lines)
    printer.print(nodes)
    if list(graph.outputs) == ["output"]:
        result = strong(printer.read(graph.outputs["output"])).text
    else:
        result = entries(printer, graph.outputs)
    printer.body.add(1, f"return {result}")
    bind_sizes(printer, line)
    doc = f"`{forward.name}` of its arguments, as in evaluation."
    return definition(f"{name}({', '.join(['state', *arguments])})", doc, printer.body)
