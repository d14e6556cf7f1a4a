"""The emitted file: docstring, imports, PROGRAM, helpers, and the functions of the contract."""

from __future__ import annotations

from typing import Any

from nnc.backend import Sources
from nnc.ir.dims import Dim
from nnc.ir.graph import Graph
from nnc.ir.program import Forward, Step, Training
from nnc.ir.types import TensorType
from nnc_numpy.functions import (
    Context,
    evaluation_functions,
    forward_function,
    scalars_function,
    step_function,
)
from nnc_numpy.initial import init_functions
from nnc_numpy.inputs import argument_name
from nnc_numpy.layout import assignment
from nnc_numpy.names import Names, identifier, shared_prefix

#: modules of the standard library that emitted code may use
STANDARD = ("math",)


def module_text(training: Training, taken: frozenset[str]) -> str:
    """The file for a legal `training`; `taken` are names of helpers that it may need."""
    sources = Sources()
    names = Names({*taken, "init", "PROGRAM"})
    context = Context(sources.add, taken, shared_prefix(training.state))
    steps = name_steps(training, names)
    forwards = name_forwards(training)
    functions = init_functions(list(training.state.values()), sources.add, names, taken)
    written: set[str] = set()
    for step, name in steps:
        if name not in written:
            written.add(name)
            functions.append(scalars_function(step.scalars, f"{name}_scalars"))
            functions.append(step_function(context, step, name))
    functions += evaluation_functions(context, training.evaluations)
    for forward in training.forwards:
        functions.append(forward_function(context, forward, forwards[forward.name]))
    program = assignment("PROGRAM", describe(training, steps, forwards))
    body = [*sources.definitions.values(), *functions]
    imports = import_lines(sources.imports, "\n".join(body))
    head = "\n".join([docstring(training), "", *imports, *([""] if imports else []), *program])
    return "\n\n\n".join([head, *body]) + "\n"


def docstring(training: Training) -> str:
    origin = f" from {training.file}" if training.file else ""
    first = f'"""{training.name}{origin}: initial state, training steps, evaluation, inference.'
    return "\n".join([first, "", "Printed by nnc; needs NumPy 2 alone.", '"""'])


def import_lines(imports: set[str], body: str) -> list[str]:
    """Sorted imports, the standard library's first."""
    lines = imports | {f"import {module}" for module in STANDARD if f"{module}." in body}
    lines |= {"import numpy as np"} if "np." in body else set()
    numpy = sorted((line for line in lines if "numpy" in line), key=_import_order)
    standard = sorted(lines - set(numpy), key=_import_order)
    return [*standard, *([""] if standard and numpy else []), *numpy]


def _import_order(line: str) -> tuple[bool, str]:
    return line.startswith("from "), line


def name_steps(training: Training, names: Names) -> list[tuple[Step, str]]:
    """A function's name for each step; steps that phases share have one function."""
    named: dict[int, str] = {}
    pairs = []
    for phase in training.phases:
        for step in phase.steps:
            if id(step.graph) not in named:
                named[id(step.graph)] = names.new(identifier(step.name))
            pairs.append((step, named[id(step.graph)]))
    return pairs


def name_forwards(training: Training) -> dict[str, str]:
    if len(training.forwards) == 1:
        return {training.forwards[0].name: "forward"}
    return {f.name: f"forward_{identifier(f.name)}" for f in training.forwards}


# ---------------------------------------------------------------- PROGRAM
def describe(
    training: Training, steps: list[tuple[Step, str]], forwards: dict[str, str]
) -> dict[str, Any]:
    """What the training loop reads of the file, as plain data."""
    functions = iter(name for _, name in steps)
    return {
        "name": training.name,
        "backend": "numpy",
        "state": {p: [*_type(e.type), e.kind] for p, e in training.state.items()},
        "batches": _batches([step.graph for step, _ in steps]),
        "phases": [
            {
                "name": phase.name,
                "count": phase.count,
                "steps": [_step(step, next(functions)) for step in phase.steps],
            }
            for phase in training.phases
        ],
        "evaluations": [
            {
                "name": e.name,
                "source": e.source,
                "split": e.split,
                "batch": f"evaluate_{e.name}_batch",
                "finish": f"evaluate_{e.name}_finish",
                "merge": dict(e.merge),
            }
            for e in training.evaluations
        ],
        "forwards": [_forward(forward, forwards[forward.name]) for forward in training.forwards],
    }


def _step(step: Step, function: str) -> dict[str, Any]:
    return {"function": function, "scalars": f"{function}_scalars", "times": step.times}


def _forward(forward: Forward, function: str) -> dict[str, Any]:
    inputs = (forward.graph.node(id) for id in forward.graph.inputs)
    arguments = {
        argument_name(node.attrs["name"]): _type(node.type)
        for node in inputs
        if node.attrs["kind"] == "argument"
    }
    return {"name": forward.name, "function": function, "arguments": arguments}


def _batches(graphs: list[Graph]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for graph in graphs:
        for id in graph.inputs:
            node = graph.node(id)
            if node.attrs["kind"] == "batch":
                found[node.attrs["name"]] = _type(node.type)
    return found


def _type(type: TensorType) -> list[Any]:
    return [type.dtype, [_dim(dim) for dim in type.shape]]


def _dim(dim: Dim) -> int | str:
    return dim if isinstance(dim, int) else str(dim)
