"""The emitted file: docstring, imports, PROGRAM, helpers, and the functions of the contract."""

from __future__ import annotations

import re
import sys
from typing import Any

from nnc.emit.dialect import Dialect
from nnc.emit.functions import (
    Context,
    evaluation_functions,
    forward_function,
    scalars_function,
    step_functions,
    typed_scalars,
)
from nnc.emit.initial import init_functions
from nnc.emit.inputs import argument_name
from nnc.emit.layout import assignment
from nnc.emit.names import Names, identifier, shared_prefix
from nnc.ir.dims import Dim
from nnc.ir.graph import Graph
from nnc.ir.program import Forward, Step, Training
from nnc.ir.types import TensorType
from nnc.source import Sources

#: prefix -> import of the modules that every file may use
COMMON = {"functools": "import functools", "math": "import math"}
#: what functions for a step are called, beside the step itself
STEP_PARTS = ("{}_scalars", "{}_drawn", "{}_gradients", "{}_update", "run_{}")


def module_text(training: Training, dialect: Dialect) -> str:
    """The file for a `training` that is legal in `dialect`."""
    sources = Sources(given=frozenset({*dialect.constants, "PROGRAM"}))
    names = Names({*dialect.taken, "init", "PROGRAM"})
    context = Context(dialect, sources.add, shared_prefix(training.state))
    steps = name_steps(training, names)
    forwards = name_forwards(training)
    for function in dialect.functions(training):
        sources.add(function)
    functions = init_functions(list(training.state.values()), dialect, sources.add, names)
    written: set[str] = set()
    for step, name in steps:
        if name not in written:
            written.add(name)
            typed = typed_scalars(context, step.graph)
            functions.append(scalars_function(step.scalars, f"{name}_scalars", typed))
            functions += step_functions(context, step, name)
            functions += filter(None, [dialect.runner(step, name)])
    functions += evaluation_functions(context, training.evaluations)
    for forward in training.forwards:
        name = forwards[forward.name]
        special = dialect.forward(training, forward, name)
        functions.append(special or forward_function(context, forward, name))
    if steps:
        functions += dialect.ending(training, sources.definitions.keys())
    functions = dialect.classes(training, sources.add) + functions
    program = assignment("PROGRAM", describe(training, steps, forwards, dialect))
    start = "\n".join(f"{sources.add(function)}()" for function in dialect.starts(training))
    body = [*sources.definitions.values(), *filter(None, [start]), *functions]
    imports = import_lines(sources.imports, "\n".join(body), dialect)
    constants = [f"{name} = {value}" for name, value in dialect.settings(training).items()]
    parts = [imports, constants, program]
    head = "\n\n".join("\n".join(part) for part in [dialect.docstring(training), *parts] if part)
    return "\n\n\n".join([head, *body]) + "\n"


def import_lines(imports: set[str], body: str, dialect: Dialect) -> list[str]:
    """Sorted imports, the standard library's first."""
    known = {**COMMON, **dialect.host.imports, **dialect.imports}
    lines = imports | {line for prefix, line in known.items() if is_used(prefix, body)}
    standard = sorted(filter(_is_standard, lines), key=_import_order)
    others = sorted(lines - set(standard), key=_import_order)
    return [*standard, *([""] if standard and others else []), *others]


def is_used(prefix: str, body: str) -> bool:
    """Whether `body` reads something of the module that it calls `prefix`."""
    return re.search(rf"(?<![\w.]){prefix}\.", body) is not None


def _is_standard(line: str) -> bool:
    return line.split()[1].split(".")[0] in sys.stdlib_module_names


def _import_order(line: str) -> tuple[bool, str]:
    return line.startswith("from "), line


def name_steps(training: Training, names: Names) -> list[tuple[Step, str]]:
    """A function's name for each step; steps that phases share have one function."""
    named: dict[int, str] = {}
    pairs = []
    for phase in training.phases:
        for step in phase.steps:
            if id(step.graph) not in named:
                named[id(step.graph)] = names.family(identifier(step.name), STEP_PARTS)
            pairs.append((step, named[id(step.graph)]))
    return pairs


def name_forwards(training: Training) -> dict[str, str]:
    if len(training.forwards) == 1:
        return {training.forwards[0].name: "forward"}
    return {f.name: f"forward_{identifier(f.name)}" for f in training.forwards}


# ---------------------------------------------------------------- PROGRAM
def describe(
    training: Training, steps: list[tuple[Step, str]], forwards: dict[str, str], dialect: Dialect
) -> dict[str, Any]:
    """What the training loop reads of the file, as plain data."""
    functions = iter(name for _, name in steps)
    return {
        "name": training.name,
        "backend": dialect.name,
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
        "forwards": [_forward(f, forwards[f.name], dialect) for f in training.forwards],
    }


def _step(step: Step, function: str) -> dict[str, Any]:
    return {"function": function, "scalars": f"{function}_scalars", "times": step.times}


def _forward(forward: Forward, function: str, dialect: Dialect) -> dict[str, Any]:
    inputs = (forward.graph.node(id) for id in forward.graph.inputs)
    arguments = {
        argument_name(node.attrs["name"], dialect): _type(node.type)
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
