"""Which op first gave an infinity or NaN: found by replaying steps from the last good state.

The emitted source is fast and says nothing about its intermediate values.  So the steps since the
last good state run again until one goes bad, and that one's graph is interpreted, keeping for each
value where it is finite.  From the bad output the search follows operands that are not finite, to
the first op all of whose operands still were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from nnc.ir.graph import Graph, Node, Value
from nnc.ir.interpret import interpret
from nnc.language.diagnostics import Diagnostic, Label, NncError
from nnc.train.checkpoint import State, copy_state
from nnc.train.counters import Counters
from nnc.train.failures import failing_node, failure, origin
from nnc.train.places import in_library, span_of
from nnc.train.runner import Runner


def is_finite(value: Any) -> bool:
    array = np.asarray(value)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def turned_bad(state: Mapping[str, Any], good: Mapping[str, Any]) -> str | None:
    """The first entry of `state` that is not finite although it was in `good`."""
    for path, value in state.items():
        if not is_finite(value) and is_finite(good[path]):
            return path
    return None


def diagnose(runner: Runner, good: State, start: Counters, end: int, program: str) -> NncError:
    """The error for a run that went bad between the good state at `start` and cycle `end`."""
    border = runner.plan.border
    state: Any = border.from_numpy(copy_state(good))
    counters = start.copy()
    while counters.step < end:
        for step, at in runner.cycle(counters):
            before = copy_state(border.to_numpy(state))
            batch_and_scalars = runner.inputs(step, at, counters)
            state, (out,) = runner.execute_all(state, [(step, at)], counters)
            loss = float(out.get("loss", 0.0))
            entry = turned_bad(border.to_numpy(state), before)
            if (math.isfinite(loss) or out.get("skipped", 0.0)) and entry is None:
                continue
            what = f"`{entry}` is not finite" if math.isfinite(loss) else f"the loss is {loss}"
            inputs = {**before, **_merged(batch_and_scalars)}
            try:
                node = first_bad_node(step.step.graph, inputs)
            except Exception as problem:  # frameworks fill in NaN where NumPy refuses
                place = origin(failing_node(step.step.graph, inputs))
                return failure(problem, place, f"the step `{step.name}`", program)
            return _error(what, counters.step, step.name, node, program)
        counters.step += 1
    return _error("a value is not finite", end, "", None, program)


def first_bad_node(graph: Graph, inputs: Mapping[str, Any]) -> Node | None:
    """The op in `graph` that made the infinity or NaN of an output out of finite operands."""
    finite: dict[Value, np.ndarray] = {}  # where a value is finite, for values that are not

    def keep(node: Node, results: tuple[np.ndarray, ...]) -> None:
        for index, result in enumerate(results):
            if not is_finite(result):
                finite[Value(node.id, index)] = np.isfinite(result)

    interpret(graph, inputs, keep=keep)
    for value in sorted(graph.outputs.items(), key=lambda item: item[0] != "@loss"):
        if value[1] in finite:
            return _cause(graph, value[1], finite)
    return None


def _cause(graph: Graph, value: Value, finite: Mapping[Value, np.ndarray]) -> Node:
    while True:
        node = graph.producer(value)
        bad = [operand for operand in node.operands if operand in finite]
        if node.op == "where":
            # An infinity in the branch that is never taken is harmless, and its maker innocent.
            bad.sort(key=lambda operand: bool((finite[operand] | finite[value]).all()))
        # A constant is what the program says, so the blame falls on what reads it.
        bad = [operand for operand in bad if not _is_constant(graph, operand)]
        if not bad:
            return node
        value = bad[0]


def _is_constant(graph: Graph, value: Value) -> bool:
    node = graph.producer(value)
    if node.op in ("broadcast", "reshape", "cast"):
        return _is_constant(graph, node.operands[0])
    return node.op == "const"


def _merged(batch_and_scalars: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    batch, scalars = batch_and_scalars
    return {**batch, **scalars}


def _error(what: str, step: int, section: str, node: Node | None, program: str) -> NncError:
    message = f"{what} at step {step}" + (f" ({section})" if section not in ("", "step") else "")
    if node is None:
        return NncError(Diagnostic("E0701", message, help=_HELP))
    if node.op == "input":
        message += f": the input `{node.attrs['name']}` was not finite already"
    else:
        op = f"`{node.op}`" + (f" (`{node.name}`)" if node.name else "")
        scope = next((f" in {o.scope}" for o in node.origin if o.scope), "")
        message += f": {op}{scope} was the first op to give a value that is not finite"
    # The user's own line comes first, the standard library's after it.
    origins = sorted(node.origin, key=in_library)
    spans = [span for o in origins if (span := span_of(o, program)) is not None]
    labels = tuple(Label(span, "inside this") for span in spans[1:])
    return NncError(Diagnostic("E0701", message, spans[0] if spans else None, labels, _HELP))


_HELP = (
    "a smaller learning rate, `clip_norm`, or a loss computed from logits keeps values finite; "
    "the last checkpoint is from before this step"
)
