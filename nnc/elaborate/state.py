"""Weights and buffers: their paths, types and initial values."""

from __future__ import annotations

from typing import Any

from nnc.elaborate.context import MAX_PARAMETERS, Context
from nnc.elaborate.scope import Scope
from nnc.elaborate.types import declared_type
from nnc.elaborate.values import Poison, Poisoned, TensorValue, describe
from nnc.ir.dims import Poly
from nnc.ir.graph import Graph
from nnc.ir.program import StateEntry
from nnc.ir.types import TensorType
from nnc.language import tree
from nnc.language.diagnostics import Label, error


def declare_state(cx: Context, decl: tree.Decl, scope: Scope) -> TensorValue:
    """The current value of a `param` or `buffer`; its first declaration makes its state entry."""
    type, names = declared_type(cx, decl.type, scope)
    if decl.value is None:
        raise error(
            "E0240", f"`{decl.name}` has no initial value", decl.span,
            help="write `= zeros()`, `= glorot_uniform()` ...",
        )
    path = cx.world.buffer_path(cx, decl.name)
    for given in reversed(cx.overrides):
        if path in given:
            return cx.localize(given[path])
    entry = cx.world.state.get(path)
    if entry is None:
        _first_declaration(cx, decl, path, type, names, scope)
    elif entry.type != type:
        raise error(
            "E0241",
            f"`{path}` is {entry.type} for its first use and {type} here: one set of weights "
            "has one shape", cx.user_span(cx.calls[-1][1] if cx.calls else decl.span),
            Label(cx.world.declared[path], "first used here"),
            help="give each its own instance if they should not share weights",
        )
    if decl.kind == "buffer" and path in cx.buffers:
        return cx.localize(cx.buffers[path])
    with cx.at(decl.span):
        value = TensorValue(cx.input(path, type, "state"), names)
    if decl.kind == "buffer":
        cx.buffers[path] = value
    return value


def _first_declaration(
    cx: Context, decl: tree.Decl, path: str, type: TensorType, names: Any, scope: Scope
) -> None:
    if any(isinstance(dim, Poly) for dim in type.shape):
        raise error(
            "E0242", f"the size of `{decl.name}`, {type}, depends on the batch", decl.span,
            help="weights need sizes that are known before training",
        )
    kind = cx.state_kind or decl.kind
    init = initial_value(cx, decl.value, path, type, scope)
    cx.world.state[path] = StateEntry(path, type, kind, init, cx.origin(decl.span)[0])
    cx.world.names[path] = names
    cx.world.declared[path] = cx.user_span(cx.calls[-1][1] if cx.calls else decl.span)
    if cx.world.parameters > MAX_PARAMETERS:
        raise error(
            "E0014", f"more than {MAX_PARAMETERS:,} parameters", cx.user_span(decl.span)
        )


def initial_value(
    cx: Context, expr: Any, path: str, type: TensorType, scope: Scope
) -> Graph:
    """The graph seed -> initial value.  Its draws come from the stream `init/PATH`."""
    from nnc.elaborate.arithmetic import as_tensor

    graph = Graph(f"init {path}")
    inner = Context(cx.world, graph, training=False)
    inner.expected = type
    inner.path = path
    inner.calls = list(cx.calls)
    inner.initializing = True
    with inner.at(expr.span):
        value = inner.eval(expr, scope)
        if isinstance(value, Poison):
            raise Poisoned
        result = as_tensor(inner, value, type.dtype, expr.span)
    if result.type != type:
        if result.rank == 0:
            result = TensorValue(result.tensor.expand(type.shape), (None,) * type.rank)
        else:
            raise error(
                "E0301", f"`{path}` is {type}; its initial value is {describe(result)}", expr.span
            )
    graph.outputs["value"] = result.tensor.value
    return graph
