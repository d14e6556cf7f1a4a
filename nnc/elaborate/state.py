"""Weights and buffers: their paths, types and initial values."""

from __future__ import annotations

from typing import Any

from nnc.elaborate.context import Context
from nnc.elaborate.layers import element, in_rounds
from nnc.elaborate.scope import Scope
from nnc.elaborate.types import declared_type
from nnc.elaborate.values import (
    Builtin,
    Deferred,
    Host,
    Poison,
    Poisoned,
    TensorValue,
    describe,
    is_number,
)
from nnc.elaborate.world import MAX_PARAMETERS, MAX_WEIGHTS
from nnc.ir.builder import Tensor
from nnc.ir.dims import Poly, symbols
from nnc.ir.graph import Graph
from nnc.ir.program import StateEntry
from nnc.ir.types import SHORT_FLOATS, TensorType
from nnc.language import tree
from nnc.language.diagnostics import Label, NncError, error
from nnc.language.tree import Span
from nnc.passes.common import computation


def declare_state(cx: Context, decl: tree.Decl, scope: Scope) -> None:
    """Introduce a `param` or `buffer` in `scope`.

    A `param` comes into being where the body first reads it: one that only an untaken branch reads
    does not exist (semantics 6).
    """
    type, names = declared_type(cx, decl.type, scope)
    if decl.value is None:
        raise error(
            "E0240",
            f"`{decl.name}` has no initial value",
            decl.span,
            help="write `= zeros()`, `= glorot_uniform()` ...",
        )
    path = cx.buffer_path(decl.name)
    given = next((g[path] for g in reversed(cx.overrides) if path in g), None)
    if given is not None:
        given = _as_constant(given) if cx.frozen else given
        scope.define(decl.name, _of_round(cx, given, names), decl.span)
        return
    here = {"path": cx.path, "state_kind": cx.state_kind, "frozen": cx.frozen}
    here["stacks"] = cx.stacks

    def read() -> TensorValue:
        with cx.assigned(**here):
            value = _root_value(cx, decl, path, type, names, scope)
            value = _as_constant(value) if cx.frozen and decl.kind == "param" else value
            return _of_round(cx, value, names)

    if decl.kind == "buffer":
        now = cx.buffers.setdefault(path, read())
        cx.buffers[path] = _of_round(cx, now, names)
        scope.define(decl.name, cx.buffers[path], decl.span)
    else:
        scope.define_lazy(decl.name, read, decl.span)


def _of_round(cx: Context, value: TensorValue, names: Any) -> TensorValue:
    """What the round at hand has of `value`, where that is a stack of layers."""
    if not cx.stacks:
        return value
    return TensorValue(element(cx, value.tensor, cx.stacks), names)


def _root_value(
    cx: Context, decl: tree.Decl, path: str, type: TensorType, names: Any, scope: Scope
) -> TensorValue:
    """The input of the graph that holds the entry at `path`; its first use makes the entry."""
    if path not in cx.world.state:
        _first_declaration(cx, decl, path, type, names, scope)
    entry, type = cx.world.state[path], _stacked(cx, type)
    if entry.type != type and any(isinstance(dim, Poly) for dim in type.shape):
        raise _open_size(decl, type)
    elif entry.type != type:
        raise error(
            "E0241",
            f"`{path}` is {entry.type} for its first use and {type} here: one set of weights "
            "has one shape",
            cx.user_span(cx.calls[-1][1] if cx.calls else decl.span),
            Label(cx.world.declared[path], "first used here"),
            help="give each its own instance if they should not share weights",
        )
    with cx.at(decl.span):
        root = cx.root_input(path, type, "state")
    return TensorValue(root, cx.world.names[path])


def _stacked(cx: Context, type: TensorType) -> TensorType:
    """The type of an entry that holds a value of `type` for each layer."""
    return type.with_shape((*(each.count for each in cx.stacks), *type.shape))


def _as_constant(value: TensorValue) -> TensorValue:
    """For a frozen instance: no gradient reaches its weights."""
    return value.with_tensor(value.tensor.emit("stop_gradient"))


def _first_declaration(
    cx: Context, decl: tree.Decl, path: str, type: TensorType, names: Any, scope: Scope
) -> None:
    if any(symbols(dim) - cx.world.open_sizes for dim in type.shape):
        raise _open_size(decl, type)
    kind = cx.state_kind or decl.kind
    known = not any(map(symbols, type.shape))  # else it stands for sizes, and makes no numbers
    init = _initial(cx, decl.value, path, type, scope) if known else Graph(f"init {path}")
    layers = tuple(each.count for each in cx.stacks)
    type = _stacked(cx, type)
    cx.world.state[path] = StateEntry(path, type, kind, init, cx.origin(decl.span)[0], layers)
    cx.world.names[path] = (*(None for _ in layers), *names)
    cx.world.layers[path] = cx.stacks
    cx.world.declared[path] = cx.user_span(cx.calls[-1][1] if cx.calls else decl.span)
    cx.world.weights += kind != "optimizer"
    if cx.world.weights > MAX_WEIGHTS:
        cx.world.exhausted = True
        raise error("E0273", f"more than {MAX_WEIGHTS:,} weights", cx.user_span(decl.span))
    cx.world.parameters += type.size if kind == "param" and isinstance(type.size, int) else 0
    if cx.world.parameters > MAX_PARAMETERS:
        raise error(
            "E0273",
            f"more than {MAX_PARAMETERS:,} parameters",
            cx.user_span(decl.span),
            help=f"`{decl.name}` alone has {type.size:,}",
        )


def _initial(cx: Context, expr: Any, path: str, type: TensorType, scope: Scope) -> Graph:
    """`initial_value`, as one graph for all entries where it is the same."""
    known = cx.world.initial
    named = _named_alone(expr, scope), _stacked(cx, type)
    if named in known:
        return known[named]
    made = initial_value(cx, expr, path, type, scope)
    init = known.setdefault(computation(made), made)
    if named[0] and not init.inputs:  # nothing is drawn, so the path makes no difference
        known[named] = init
    return init


def _named_alone(expr: Any, scope: Scope) -> str:
    """The name of the builtin that an initial value is: `zeros()`; "" for all that says more."""
    binding = scope.find(expr.id) if isinstance(expr, tree.Name) else None
    if binding is not None and isinstance(binding.value, Deferred):
        return _named_alone(binding.value.expr, binding.value.scope)
    if (
        not isinstance(expr, tree.Call)
        or expr.arguments
        or not isinstance(expr.function, tree.Name)
    ):
        return ""
    called = scope.find(expr.function.id)
    return called.value.name if called and isinstance(called.value, Builtin) else ""


def _open_size(decl: tree.Decl, type: TensorType) -> NncError:
    return error(
        "E0242",
        f"the size of `{decl.name}`, {type}, depends on the batch",
        decl.span,
        help="weights have sizes that are known before training",
    )


def _given(expr: tree.Expr, scope: Scope) -> Span:
    """Where an initial value is written: a parameter of type `initializer` stands for another."""
    binding = scope.find(expr.id) if isinstance(expr, tree.Name) else None
    if binding is not None and isinstance(binding.value, Deferred):
        return binding.value.expr.span
    return expr.span


def initial_value(cx: Context, expr: Any, path: str, type: TensorType, scope: Scope) -> Graph:
    """The graph seed -> initial value.  Its draws come from the stream `init/PATH`.

    The value of a short float is computed in f32 and rounded once.
    """
    graph = Graph(f"init {path}")
    inner = Context(cx.world, graph, training=False)
    inner.expected = type.with_dtype("f32") if type.dtype in SHORT_FLOATS else type
    inner.path, inner.stacks = path, cx.stacks
    inner.calls = list(cx.calls)
    inner.initializing = True

    def value() -> Tensor:
        return _initial_value(inner, expr, path, type, scope)

    graph.outputs["value"] = in_rounds(inner, cx.stacks, expr.span, value).value
    return graph


def _initial_value(inner: Context, expr: Any, path: str, type: TensorType, scope: Scope) -> Tensor:
    from nnc.elaborate.arithmetic import as_tensor

    assert inner.expected is not None
    with inner.at(expr.span):
        value = inner.eval(expr, scope)
        if isinstance(value, Poison):
            raise Poisoned
        place = _given(expr, scope)
        if not isinstance(value, (TensorValue, Host)) and not is_number(value):
            raise error(
                "E0311",
                f"an initial value is a tensor or a number; this is {describe(value)}",
                place,
                help="such as `zeros()`, `glorot_uniform()` or `0.1`",
            )
        result = as_tensor(inner, value, inner.expected.dtype, place)
        if result.dtype == inner.expected.dtype:
            result = result.with_tensor(result.tensor.cast(type.dtype))
    if result.type != type:
        if result.rank == 0:
            result = TensorValue(result.tensor.expand(type.shape), (None,) * type.rank)
        else:
            raise error(
                "E0301", f"`{path}` is {type}; its initial value is {describe(result)}", expr.span
            )
    return result.tensor
