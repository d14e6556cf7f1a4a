"""Blocks and their instances: the static call, the weights' place, the application."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from nnc.elaborate.arguments import Args, bind_parameters
from nnc.elaborate.calls import INVOKE, invoke
from nnc.elaborate.context import Context
from nnc.elaborate.frames import Frame
from nnc.elaborate.layers import stacks_of
from nnc.elaborate.places import Naming, place_names
from nnc.elaborate.results import checked_result, made_here
from nnc.elaborate.scope import Scope
from nnc.elaborate.statements import run_body
from nnc.elaborate.values import (
    BlockValue,
    ListValue,
    Template,
    TensorValue,
    TupleValue,
    leaves,
)
from nnc.elaborate.world import Application
from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.language import tree
from nnc.language.diagnostics import Label, error
from nnc.language.tree import Span


def static_call(cx: Context, block: BlockValue, args: Args, span: Span) -> Template:
    """`Dense(10)`: the static parameters are bound, the weights belong to this place."""
    definition = block.definition
    if not cx.naming.owns:
        raise error(
            "E0221",
            f"a `fn` owns no weights, so it cannot make a `{block.name}`",
            span,
            help="make it a `block`, or take the instance as an argument",
        )
    for keyword, value, place in args:
        if not keyword and isinstance(value, TensorValue):
            raise error(
                "E0222",
                f"`{block.name}` takes its static parameters first",
                place,
                Label(definition_span(block), "a block has two parameter lists"),
                help=f"write `{block.name}(...)({place.text})` or `{place.text} |> "
                f"{block.name}(...)`; static values do not depend on tensors",
            )
    names = cx.naming.names.get(span.start, ("", ""))
    stacks = stacks_of(cx.naming.stacks, cx.iteration)
    template = Template(block, {}, cx.naming, names, span, cx.iteration, stacks=stacks)
    scope = Scope(block.scope, "static")
    with cx.calling(block.name, span):
        owner = f"`{block.name}`"
        bind_parameters(cx, definition.static, args, scope, owner, span, template)
    template.static.update(scope.bindings)
    return template


def apply(cx: Context, template: Template, args: Args, span: Span) -> Any:
    """An instance on its inputs; the first application makes its weights."""
    run = _apply_as_call if cx.structured else _apply_inline
    return run(cx, template, args, span)


def _apply_as_call(cx: Context, template: Template, args: Args, span: Span) -> Any:
    """The body as a graph of its own, called: the block structure that backends print."""
    definition = template.block.definition
    body = Graph(definition.name, scope=template.path)
    operands: list[Tensor] = []

    def enter(value: Any, name: str) -> Any:
        """`value` as the body sees it; each tensor in it becomes an operand."""
        if isinstance(value, (TupleValue, ListValue)):
            parts = enumerate(value.values)
            inner = [enter(part, f"{name}_{number}") for number, part in parts]
            if isinstance(value, ListValue):
                return ListValue(tuple(inner))
            return TupleValue(tuple(zip([n for n, _ in value.items], inner, strict=True)))
        if not isinstance(value, TensorValue):
            return value
        operands.append(value.tensor)
        return replace(value, tensor=cx.builder.input(name, value.type, "argument"))

    names = [p.name for p in definition.inputs or ()]
    cx.frames.append(Frame(Builder(body, cx.origin(span))))
    try:
        inner = [
            (keyword, enter(value, keyword or names[i] if i < len(names) else f"x{i}"), place)
            for i, (keyword, value, place) in enumerate(args)
        ]
        result = cx.localize(_apply_inline(cx, template, inner, span))
        made = [leaf for leaf in leaves(result) if isinstance(leaf, TensorValue)]
        for number, leaf in enumerate(made):
            body.outputs[str(number)] = leaf.tensor.value
        captured = list(cx.frames[-1].captures)
    finally:
        cx.frames.pop()
    captures = [Tensor(cx.builder, value) for value in captured]
    outside = dict(zip(map(id, made), _call(cx, span, body, operands + captures), strict=True))
    return mapped(result, lambda leaf: replace(leaf, tensor=outside[id(leaf)]))


def _call(cx: Context, span: Span, body: Graph, operands: list[Tensor]) -> Sequence[Tensor]:
    with cx.at(span):
        results: Sequence[Tensor] = cx.builder.emit("call", *operands, body=body)
    return results


def mapped(value: Any, change: Callable[[TensorValue], TensorValue]) -> Any:
    """`value` with every tensor in it changed, in order."""
    if isinstance(value, TupleValue):
        return value.map(lambda item: mapped(item, change))
    if isinstance(value, ListValue):
        return ListValue(tuple(mapped(item, change) for item in value.values))
    return change(value) if isinstance(value, TensorValue) else value


def _apply_inline(cx: Context, template: Template, args: Args, span: Span) -> Any:
    definition = template.block.definition
    scope = Scope(template.block.scope, "block")
    for parameter in definition.static:
        scope.bindings[parameter.name] = template.static[parameter.name]
    path, stacks = template.path, template.stacks
    naming = Naming(path, place_names(definition.body), stacks=stacks)
    owner = f"`{definition.name}`"
    with (
        cx.calling(definition.name, span),
        cx.assigned(path=path, naming=naming, iteration=(), stacks=stacks),
        cx.assigned(frozen=cx.frozen + template.frozen),
        _overridden(cx, template),
    ):
        if definition.inputs is None:
            body = run_body(cx, definition.body, scope, owner="block")
            given = [(key or ("x" if i == 0 else f"x{i}"), v) for i, (key, v, _) in enumerate(args)]
            _remember(cx, template, given, span)
            result = invoke(cx, body, args, span)
        else:
            bind_parameters(cx, definition.inputs, args, scope, owner, span, template)
            given = [(p.name, scope.bindings[p.name].value) for p in definition.inputs]
            _remember(cx, template, given, span)
            result = run_body(cx, definition.body, scope, owner="block")
        if definition.result is not None:
            what = f"the result of {owner}"
            result = checked_result(cx, definition.result, result, scope, definition, span, what)
    kept = [a for _, a, _ in args] if _keeps_shape(definition) else []
    return made_here(result, span, f"{definition.name}({_static_text(template)})", kept)


class _overridden:
    """Weights given by `with_weights` while an instance runs."""

    def __init__(self, cx: Context, template: Template):
        self.cx, self.template = cx, template

    def __enter__(self) -> None:
        if self.template.override:
            self.cx.overrides.append(self.template.override)

    def __exit__(self, *_: object) -> None:
        if self.template.override:
            self.cx.overrides.pop()


def _remember(
    cx: Context, template: Template, given: Sequence[tuple[str, Any]], span: Span
) -> None:
    """Note what an instance is applied to, for the graph of its inference."""
    if cx.state_path:
        return  # an optimizer
    path, first = template.path, cx.world.applications.get(template.path)
    if first is not None and cx.batch is None:
        _check_place(path, first, template)
        return
    given = [(name, value) for name, value in given if value is not None]
    if all(isinstance(value, TensorValue) for _, value in given):
        # What `with_weights` and `frozen` gave it belongs to this graph alone.
        own = replace(template, override={}, frozen=False)
        arguments = [(name, value.type, value.names) for name, value in given]
        cx.remember(path, Application(own, arguments, span))


def _check_place(path: str, first: Application, template: Template) -> None:
    own, other = template, first.template
    if (own.span, own.iteration) != (other.span, other.iteration):
        raise error(
            "E0223",
            f"two instances want the same place `{path}`",
            own.span,
            Label(other.span, "the other one"),
            help="name them with `let`",
        )


def _keeps_shape(definition: tree.Block) -> bool:
    """Whether a block declares its result as one of its inputs: `(x: f32[...]) -> f32[...]`."""
    result = definition.result
    return result is not None and any(p.type == result for p in definition.inputs or ())


def _static_text(template: Template) -> str:
    inside = template.span.text.partition("(")[2].rpartition(")")[0]
    return inside if len(inside) < 30 and "\n" not in inside else "..."


def static_form(block: BlockValue) -> str:
    """`Dense(out = ...)`: the static call with what it needs."""
    needed = [p.name for p in block.definition.static if p.default is None]
    return f"{block.name}({', '.join(f'{name} = ...' for name in needed)})"


def definition_span(block: BlockValue) -> Span:
    return block.definition.name_span or block.definition.span


INVOKE[BlockValue] = static_call
INVOKE[Template] = apply
