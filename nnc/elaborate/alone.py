"""Checking a definition that nothing uses, on stand-ins for its arguments.

Types are monomorphic: a block is checked where it is called, with concrete sizes (semantics 3).
One that nothing calls is tried with symbolic sizes first and then with a few samples.  It is right
if one of them goes through; else an error counts only if no sample avoids it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from nnc.elaborate.calls import call_function
from nnc.elaborate.context import Context
from nnc.elaborate.instances import apply, static_call
from nnc.elaborate.module import Module
from nnc.elaborate.places import Naming
from nnc.elaborate.scope import Scope
from nnc.elaborate.types import check_dtype, dim_value
from nnc.elaborate.values import (
    BlockValue,
    Function,
    Poisoned,
    Provenance,
    TensorValue,
    TupleValue,
)
from nnc.elaborate.world import World
from nnc.ir.dims import Dim, symbol
from nnc.ir.graph import Graph
from nnc.ir.types import DTYPES, TensorType
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic, NncError
from nnc.language.tree import Span
from nnc.language.walk import walk

BATCH = "N"


@dataclass(frozen=True)
class Sample:
    """Stand-ins: `size` of a named dim (0: a symbol of its name), an `int`, a `bool`, and what
    `...` stands for after the sample axis (which weights, the inputs of an optimizer, lack)."""

    size: int
    whole: int
    flag: bool
    rest: tuple[int, ...]
    batched: bool = True

    def dim(self, name: str) -> Dim:
        return symbol(name) if name == BATCH or not self.size else self.size

    def int_named(self, name: str) -> Dim:
        return self.whole if self.whole else symbol(name)


_SYMBOLIC = Sample(0, 0, True, (32,))
_SAMPLES = (
    Sample(64, 2, True, ()),
    Sample(64, 4, False, (64,)),
    Sample(16, 8, True, (64, 64)),
    Sample(64, 64, False, (64, 64, 64)),
    Sample(64, 3, True, (64, 64), batched=False),
)
_LIMITS = frozenset(("E0271", "E0272", "E0273", "E0274"))  # without an end for any sample
_Key = tuple[str, Span | None]


class _Unknown(Exception):
    """A parameter for which no stand-in is known: the definition cannot be checked."""


def check_alone(module: Module, item: tree.Fn | tree.Block, called: set[str]) -> list[Diagnostic]:
    """The errors of a definition that no choice of its arguments avoids."""
    try:
        symbolic = _errors(module, item, _SYMBOLIC, called)
        common: dict[_Key, Diagnostic] | None = None
        if not symbolic or all(code in _LIMITS for code, _ in symbolic):
            return list(symbolic.values())
        for sample in _SAMPLES:
            found = _errors(module, item, sample, called)
            common = found if common is None else {k: common[k] for k in common if k in found}
            if not common:
                return []
    except _Unknown:
        return []
    assert common is not None
    return [symbolic.get(key, fault) for key, fault in reversed(common.items())]


def _errors(
    module: Module, item: tree.Fn | tree.Block, sample: Sample, called: set[str]
) -> dict[_Key, Diagnostic]:
    names = {n.id for n in walk(item) if isinstance(n, tree.Name)} | {
        p.name for p in walk(item) if isinstance(p, tree.Parameter)
    }
    world = World(
        module.data,
        steps=1000,
        epochs=10,
        steps_per_epoch=100,
        open_sizes=frozenset(names - {BATCH}),
    )
    cx = Context(world, Graph(item.name), training=True, batch=symbol(BATCH))
    cx.naming = Naming("", {})
    try:
        run = _run_block if isinstance(item, tree.Block) else _run_function
        run(cx, module, item, sample)
    except NncError as failure:
        return {(d.code, d.span): d for d in reversed(failure.diagnostics)}  # the first of equals
    except Poisoned:
        return {}
    finally:
        called |= world.called
    return {}


def _run_block(cx: Context, module: Module, block: Any, sample: Sample) -> None:
    place = block.name_span or block.span
    static = list(_arguments(cx, block.static, Scope(module.scope), sample))
    template = static_call(cx, BlockValue(block, module.scope), static, place)
    template.place = (block.name, block.name)
    scope = Scope(module.scope)
    scope.bindings.update(template.static)
    if block.inputs is not None:
        apply(cx, template, list(_arguments(cx, block.inputs, scope, sample)), place)


def _run_function(cx: Context, module: Module, fn: Any, sample: Sample) -> None:
    args = list(_arguments(cx, fn.parameters, Scope(module.scope), sample))
    call_function(cx, Function(fn, module.scope), args, fn.name_span or fn.span)


# ---------------------------------------------------------------- stand-ins
def _arguments(
    cx: Context, parameters: tuple[tree.Parameter, ...], scope: Scope, sample: Sample
) -> Iterator[tuple[str, Any, Span]]:
    """A value for each parameter that has no default."""
    for parameter in parameters:
        if parameter.default is None:
            value = _value(cx, parameter, parameter.type, scope, sample)
            yield parameter.name, value, parameter.span


def _value(
    cx: Context, parameter: tree.Parameter, declared: tree.TypeExpr, scope: Scope, sample: Sample
) -> Any:
    if isinstance(declared, tree.RecordTypeExpr):
        return TupleValue(
            tuple((f.name, _value(cx, f, f.type, scope, sample)) for f in declared.fields)
        )
    if declared.dims:
        check_dtype(declared)
        made = Provenance(parameter.span, f"`{parameter.name}`")
        return replace(_tensor(cx, declared, scope, sample), made=made)
    if declared.dtype == "bool":
        return sample.flag
    if declared.dtype == "int" or declared.dtype in DTYPES:
        return 0.5 if declared.dtype[0] in "fb" else sample.int_named(parameter.name)
    raise _Unknown


def _tensor(
    cx: Context, declared: tree.TensorTypeExpr, scope: Scope, sample: Sample
) -> TensorValue:
    shape: list[Dim] = []
    names: list[str | None] = []
    for item in declared.dims or ():
        expr = item.value
        if isinstance(expr, tree.Ellipsis_):
            alone = len(declared.dims or ()) == 1
            lead = [BATCH] if sample.batched else []
            shape += [*map(symbol, lead), *(sample.rest if alone else sample.rest[1:])]
            names += lead + [None] * (len(shape) - len(names) - len(lead))
            continue
        if isinstance(expr, tree.Name) and scope.find(expr.id) is None:
            size = sample.dim(expr.id if expr.id != "_" else "K")
            if expr.id != "_":
                scope.define(expr.id, size, expr.span)
            label: str | None = item.name or (expr.id if expr.id != "_" else None)
        else:
            size = dim_value(cx, expr, scope)
            label = item.name or (expr.id if isinstance(expr, tree.Name) else None)
        if item.name and scope.find(item.name) is None:
            scope.define(item.name, size, item.span)
        shape.append(size)
        names.append(label)
    type = TensorType(declared.dtype, tuple(shape))
    return TensorValue(cx.builder.input(f"x{len(cx.root.graph)}", type, "argument"), tuple(names))
