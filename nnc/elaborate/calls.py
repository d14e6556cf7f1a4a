"""Calls: binding arguments, functions, blocks and their instances, stages and pipes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from nnc.elaborate.collected import evaluate_all
from nnc.elaborate.context import Application, Context, Frame, Naming
from nnc.elaborate.places import place_names
from nnc.elaborate.scope import Scope
from nnc.elaborate.statements import run_body
from nnc.elaborate.types import coerce
from nnc.elaborate.values import (
    AxisRef,
    BlockValue,
    Builtin,
    CALLABLE,
    Deferred,
    Function,
    Host,
    ListValue,
    Part,
    Partial,
    Poison,
    Poisoned,
    Provenance,
    Stage,
    Template,
    TensorValue,
    TupleValue,
    describe,
    is_number,
    leaves,
)
from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.types import DTYPES
from nnc.language import tree
from nnc.language.diagnostics import Label, NncError, error, suggest
from nnc.language.tree import Span
from nnc.language.walk import children

Args = Sequence[tuple[str, Any, Span]]  # (keyword or "", value, place)


def evaluate_arguments(
    cx: Context, items: Sequence[tree.Argument], scope: Scope, callee: Any
) -> Args:
    """The values of arguments; a name given as `axis` also stands for the axis of that label."""
    deferred = _initializers(callee)

    def value(position: int, item: tree.Argument) -> Any:
        if (item.name or position) in deferred:
            return Deferred(item.value, scope)
        return (_axis if item.name == "axis" else Context.eval)(cx, item.value, scope)

    values = evaluate_all(partial(value, *item) for item in enumerate(items))
    return [(i.name, v, i.span if i.name else i.value.span) for i, v in zip(items, values, strict=True)]


def _initializers(callee: Any) -> set[str | int]:
    """The static parameters of a block that take an initial value, by name and by position."""
    static = callee.definition.static if isinstance(callee, BlockValue) else ()
    places = [i for i, parameter in enumerate(static) if _is_initializer(parameter)]
    return {*places, *(static[i].name for i in places)}


def _is_initializer(parameter: tree.Parameter) -> bool:
    declared = parameter.type
    return isinstance(declared, tree.TensorTypeExpr) and declared.dtype == "initializer"


def _axis(cx: Context, expr: tree.Expr, scope: Scope) -> Any:
    if isinstance(expr, tree.Tuple) and not expr.is_group:
        return TupleValue(tuple(("", _axis(cx, item.value, scope)) for item in expr.items))
    if isinstance(expr, tree.List) and not any(isinstance(i.value, tree.For) for i in expr.items):
        return ListValue(tuple(_axis(cx, item.value, scope) for item in expr.items))
    if not isinstance(expr, tree.Name):
        return cx.eval(expr, scope)
    bound = scope.find(expr.id) is not None
    value = cx.eval(expr, scope) if bound else None
    if isinstance(value, AxisRef) or (bound and value is None):
        return value
    return AxisRef(expr.id, value, expr.span)


def call(cx: Context, callee: Any, args: Args, span: Span) -> Any:
    """`callee(args)` as an expression; a call that lacks only its first argument is a `Partial`."""
    if isinstance(callee, Poison) or any(isinstance(value, Poison) for _, value, _ in args):
        raise Poisoned
    if isinstance(callee, (Function, Builtin)) and _lacks_first(callee, args):
        return Partial(callee, tuple(args), span)
    return invoke(cx, callee, args, span)


def invoke(cx: Context, callee: Any, args: Args, span: Span) -> Any:
    """`callee(args)` with every argument there."""
    if isinstance(callee, Builtin):
        return _call_builtin(cx, callee, args, span)
    if isinstance(callee, Function):
        return call_function(cx, callee, args, span)
    if isinstance(callee, BlockValue):
        return static_call(cx, callee, args, span)
    if isinstance(callee, Template):
        return apply(cx, callee, args, span)
    if isinstance(callee, Stage):
        return _apply_stage(cx, callee, args, span)
    if isinstance(callee, Partial):
        return invoke(cx, callee.callee, [*args, *callee.arguments], span)
    raise error("E0210", f"{describe(callee)} cannot be called", span)


# ---------------------------------------------------------------- pipes
def pipe_into(cx: Context, value: Any, expr: tree.Expr, scope: Scope) -> Any:
    """`value |> expr` (semantics 1 and 2)."""
    if isinstance(value, Poison):
        raise Poisoned
    if isinstance(expr, (tree.If, tree.Repeat, tree.For)):
        return _control_stage(cx, value, expr, scope)
    if mentions_placeholder(expr):
        inner = Scope(scope, "stage")
        inner.define("_", value, expr.span)
        return cx.eval(expr, inner)
    first = ("", value, expr.span)
    if isinstance(expr, tree.Tuple) and expr.is_group:
        return pipe_into(cx, value, expr.items[0].value, scope)
    if isinstance(expr, tree.Call):
        callee = cx.eval(expr.function, scope)
        args = evaluate_arguments(cx, expr.arguments, scope, callee)
        if isinstance(callee, BlockValue):
            template = static_call(cx, callee, args, expr.span)
            return apply(cx, template, [first], expr.span)
        return invoke(cx, callee, [first, *args], expr.span)
    stage = cx.eval(expr, scope)
    if isinstance(stage, BlockValue):
        raise error(
            "E0220", f"`{stage.name}` is used without its static call", expr.span,
            Label(_definition_span(stage), "a block has two parameter lists"),
            help=f"write `{_static_form(stage)}`",
        )
    if not isinstance(stage, CALLABLE):
        raise error(
            "E0215", f"`|>` needs a stage on its right; this is {describe(stage)}", expr.span,
            help="a stage is a function, an instance, or a block's static call",
        )
    return invoke(cx, stage, [first], expr.span)


def check_stage(cx: Context, expr: tree.Expr, scope: Scope) -> None:
    """What can be said of a stage whose input has an error: its names and static arguments."""
    if isinstance(expr, tree.Name):
        cx.eval(expr, scope)
    elif isinstance(expr, tree.Call) and not mentions_placeholder(expr):
        callee = cx.eval(expr.function, scope)
        args = evaluate_arguments(cx, expr.arguments, scope, callee)
        if isinstance(callee, BlockValue):
            static_call(cx, callee, args, expr.span)


def mentions_placeholder(expr: Any) -> bool:
    """Whether `_` stands in `expr` for the value that enters it (not inside an inner stage)."""
    pending = [expr]
    while pending:
        node = pending.pop()
        if isinstance(node, tree.Name):
            if node.id == "_":
                return True
        elif isinstance(node, tree.Chain) and node.kind == "pipe":
            pending.append(node.first)
        elif isinstance(node, (tree.If, tree.Repeat, tree.For, tree.Scan)):
            head = {tree.If: "condition", tree.Repeat: "count"}.get(type(node), "sequence")
            pending.append(getattr(node, head))
        else:
            pending.extend(children(node))
    return False


def _control_stage(cx: Context, value: Any, expr: Any, scope: Scope) -> Any:
    from nnc.elaborate.expressions import branch, iterations

    if isinstance(expr, tree.If):
        taken = branch(cx, expr, scope)
        return value if taken is None else pipe_into(cx, value, taken, scope)
    for number, inner in iterations(cx, expr, scope):
        with cx.assigned(iteration=(*cx.iteration, number)):
            value = pipe_into(cx, value, expr.body, inner)
    return value


def stage_of(cx: Context, expr: tree.Expr, scope: Scope) -> Stage:
    """An expression kept to be applied later, with its place."""
    return Stage((Part(expr, scope, cx.naming, cx.iteration),))


def _apply_stage(cx: Context, stage: Stage, args: Args, span: Span) -> Any:
    if not args:
        raise error("E0212", "a stage needs its input", span)
    value = args[0][1]
    for number, part in enumerate(stage.parts):
        rest = args[1:] if number == 0 else []
        if isinstance(part, Part):
            with cx.assigned(naming=part.naming, iteration=part.iteration):
                value = pipe_into(cx, value, part.expr, part.scope)
        else:
            value = invoke(cx, part, [("", value, span), *rest], span)
    return value


# ---------------------------------------------------------------- functions
def call_function(cx: Context, function: Function, args: Args, span: Span) -> Any:
    definition = function.definition
    scope = Scope(function.scope, "fn")
    with cx.calling(definition.name, span), cx.assigned(
        naming=Naming("", {}, owns=False), iteration=()
    ):
        bind_parameters(cx, definition.parameters, args, scope, f"`{definition.name}`", span)
        value = run_body(cx, definition.body, scope, owner="fn")
        if definition.result is not None:
            what = f"the result of `{definition.name}`"
            value = _result(cx, definition.result, value, scope, definition, span, what)
    return _made_here(value, span, definition.name, [a for _, a, _ in args])


def bind_parameters(
    cx: Context, parameters: Sequence[tree.Parameter], args: Args, scope: Scope, owner: str,
    span: Span, template: Template | None = None,
) -> None:
    """Define every parameter in `scope`, converted to its declared type.

    An instance that a default makes belongs to the `template` whose parameter it is.
    """
    names = [p.name for p in parameters]
    bound = match_names(names, args, owner, span)
    for parameter in parameters:
        what = f"`{parameter.name}` of {owner}"
        if parameter.name in bound:
            value, place = bound[parameter.name]
        elif parameter.default is not None and _is_initializer(parameter):
            value, place = Deferred(parameter.default, scope), parameter.span
        elif parameter.default is not None:
            value, place = _default(cx, parameter, scope, template), parameter.span
        else:
            raise error(
                "E0212", f"{owner} needs `{parameter.name}`", span,
                Label(parameter.span, "declared here"),
            )
        if value is None and _is_none(parameter.default):
            scope.define(parameter.name, None, place)
            continue
        value = coerce(cx, parameter.type, value, scope, place, what)
        if isinstance(value, Host) and not owner.startswith("`_"):  # helpers have no better name
            cx.hint_scalar(value, parameter.name)
        scope.define(parameter.name, value, place)


def _default(
    cx: Context, parameter: tree.Parameter, scope: Scope, template: Template | None
) -> Any:
    assert parameter.default is not None
    if template is None:
        return cx.eval(parameter.default, scope)
    naming = Naming(template, place_names(parameter.default), parameter.name)
    with cx.assigned(naming=naming, iteration=()):
        value = cx.eval(parameter.default, scope)
    name_by_let(value, parameter.name, naming)
    return value


def match_names(
    names: Sequence[str], args: Args, owner: str, span: Span
) -> dict[str, tuple[Any, Span]]:
    """Positional and keyword arguments by parameter name; E0211, E0213, E0214."""
    bound: dict[str, tuple[Any, Span]] = {}
    position = 0
    for name, value, place in args:
        if not name:
            if position >= len(names):
                count = len(names)
                raise error(
                    "E0213", f"{owner} takes {count} argument{'s' * (count != 1)}", place,
                    help=f"its parameters are {', '.join(names)}" if names else "",
                )
            name = names[position]
            position += 1
        elif name not in names:
            raise error(
                "E0211", f"{owner} has no parameter `{name}`", _keyword(name, place),
                help=suggest(name, names) or f"its parameters are {', '.join(names) or 'none'}",
            )
        if name in bound:
            raise error(
                "E0214", f"`{name}` of {owner} is given twice", place,
                Label(bound[name][1], "first given here"),
            )
        bound[name] = (value, place)
    return bound


def _keyword(name: str, place: Span) -> Span:
    """The name in `name = value`."""
    if place.text.startswith(name):
        return Span(place.source, place.start, place.start + len(name))
    return place


def _lacks_first(callee: Function | Builtin, args: Args) -> bool:
    """Whether the arguments fit all parameters but the first, and not all of them."""
    if isinstance(callee, Function):
        names = [p.name for p in callee.definition.parameters]
        required = {p.name for p in callee.definition.parameters if p.default is None}
        if names and _wants_number(callee.definition.parameters[0].type):
            return False
        takes_tensor = bool(names) and _wants_tensor(callee.definition.parameters[0].type)
    else:
        names = [p.name for p in callee.parameters if p.kind is not p.VAR_KEYWORD]
        required = {p.name for p in callee.parameters if p.default is p.empty
                    and p.kind is not p.VAR_KEYWORD and p.kind is not p.VAR_POSITIONAL}
        takes_tensor = bool(names) and callee.parameters[0].annotation == "TensorValue"
        if any(p.kind is p.VAR_POSITIONAL for p in callee.parameters):
            return False
    if not names or names[0] not in required or any(k == names[0] for k, _, _ in args):
        return False
    positional = [value for keyword, value, _ in args if not keyword]
    keywords = {keyword for keyword, _, _ in args if keyword}
    given = set(names[: len(positional)]) | keywords
    shifted = set(names[1 : 1 + len(positional)]) | keywords
    fits_shifted = len(positional) < len(names) and not (required - {names[0]} - shifted)
    if required - given:
        return fits_shifted
    # `leaky_relu(0.2)`: it would bind, but a number where a tensor belongs is the next parameter.
    first = positional[0] if positional else None
    return takes_tensor and fits_shifted and (is_number(first) or isinstance(first, str))


def _wants_number(declared: tree.TypeExpr) -> bool:
    """Whether a parameter is one number, which no pipe brings: `ramp(0, 1)` lacks its last."""
    numbers = (*DTYPES, "int", "str")
    return isinstance(declared, tree.TensorTypeExpr) and (
        not declared.dims and declared.dtype in numbers
    )


def _wants_tensor(declared: tree.TypeExpr) -> bool:
    return isinstance(declared, tree.TensorTypeExpr) and bool(declared.dims)


def _call_builtin(cx: Context, builtin: Builtin, args: Args, span: Span) -> Any:
    owner = f"`{builtin.name}`"
    plain = [p for p in builtin.parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    rest = next((p for p in builtin.parameters if p.kind is p.VAR_POSITIONAL), None)
    extra = any(p.kind is p.VAR_KEYWORD for p in builtin.parameters)
    keyword_only = [p for p in builtin.parameters if p.kind is p.KEYWORD_ONLY]
    names = [p.name for p in plain + keyword_only]
    positional = [a for a in args if not a[0]]
    many = positional[len(plain) :] if rest is not None else []
    others = [a for a in args if a[0] and a[0] not in names] if extra else []
    fixed = [a for a in args if a not in many and a not in others]
    bound = match_names(names, fixed, owner, span)
    for parameter in plain + keyword_only:
        if parameter.name not in bound and parameter.default is parameter.empty:
            raise error("E0212", f"{owner} needs `{parameter.name}`", span)
    if extra and rest is None and len(positional) > len(plain):
        raise error("E0213", f"{owner} takes {len(plain)} positional arguments", positional[-1][2])
    site = Site(cx, span, builtin.name, {name: place for name, (_, place) in bound.items()})
    values = {name: value for name, (value, _) in bound.items()}
    head = [values.pop(p.name, p.default) for p in plain] if many else []
    tail = {name: value for name, value, _ in others}
    result = builtin.run(site, *head, *(value for _, value, _ in many), **values, **tail)
    return _made_here(result, span, builtin.name, [a for _, a, _ in args])


class Site:
    """Where a builtin was called: its context, its place, and the places of its arguments."""

    def __init__(self, cx: Context, span: Span, name: str, places: dict[str, Span]):
        self.cx = cx
        self.span = span
        self.name = name
        self.places = places

    def place(self, parameter: str) -> Span:
        return self.places.get(parameter, self.span)

    def emit(self, op: str, *operands: Any, **attrs: Any) -> Any:
        return self.cx.emit(self.span, op, *operands, **attrs)

    def wrong(self, code: str, message: str, parameter: str = "", help: str = "") -> NncError:
        span = self.place(parameter)
        user = self.cx.user_span(span)
        labels = [] if user is span else [Label(span, "in the library, here")]
        return error(code, message, user, *labels, help=help)


# ---------------------------------------------------------------- blocks
def static_call(
    cx: Context, block: BlockValue, args: Args, span: Span
) -> Template:
    """`Dense(10)`: the static parameters are bound, the weights belong to this place."""
    definition = block.definition
    if not cx.naming.owns:
        raise error(
            "E0221", f"a `fn` owns no weights, so it cannot make a `{block.name}`", span,
            help="make it a `block`, or take the instance as an argument",
        )
    for keyword, value, place in args:
        if not keyword and isinstance(value, TensorValue):
            raise error(
                "E0222", f"`{block.name}` takes its static parameters first", place,
                Label(_definition_span(block), "a block has two parameter lists"),
                help=f"write `{block.name}(...)({place.text})` or `{place.text} |> "
                f"{block.name}(...)`; static values do not depend on tensors",
            )
    names = cx.naming.names.get(span.start, ("", ""))
    template = Template(block, {}, cx.naming, names, span, cx.iteration)
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
    return _mapped(result, lambda leaf: replace(leaf, tensor=outside[id(leaf)]))


def _call(cx: Context, span: Span, body: Graph, operands: list[Tensor]) -> Sequence[Tensor]:
    with cx.at(span):
        results: Sequence[Tensor] = cx.builder.emit("call", *operands, body=body)
    return results


def _mapped(value: Any, change: Callable[[TensorValue], TensorValue]) -> Any:
    if isinstance(value, TupleValue):
        return value.map(lambda item: _mapped(item, change))
    if isinstance(value, ListValue):
        return ListValue(tuple(_mapped(item, change) for item in value.values))
    return change(value) if isinstance(value, TensorValue) else value


def _apply_inline(cx: Context, template: Template, args: Args, span: Span) -> Any:
    definition = template.block.definition
    scope = Scope(template.block.scope, "block")
    for parameter in definition.static:
        scope.bindings[parameter.name] = template.static[parameter.name]
    path = template.path
    naming = Naming(path, place_names(definition.body))
    owner = f"`{definition.name}`"
    with (
        cx.calling(definition.name, span),
        cx.assigned(path=path, naming=naming, iteration=(), frozen=cx.frozen + template.frozen),
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
            result = _result(cx, definition.result, result, scope, definition, span, what)
    kept = [a for _, a, _ in args] if _keeps_shape(definition) else []
    return _made_here(result, span, f"{definition.name}({_static_text(template)})", kept)


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
        cx.world.applications[path] = Application(own, arguments, span)


def _check_place(path: str, first: Application, template: Template) -> None:
    own, other = template, first.template
    if (own.span, own.iteration) != (other.span, other.iteration):
        raise error(
            "E0223", f"two instances want the same place `{path}`", own.span,
            Label(other.span, "the other one"), help="name them with `let`",
        )


def _result(
    cx: Context, declared: tree.TypeExpr, value: Any, scope: Scope, definition: Any, span: Span,
    what: str,
) -> Any:
    body = definition.body
    place = body[-1].span if isinstance(body, tuple) and body else getattr(body, "span", span)
    if isinstance(value, (int, float, Host)) and not isinstance(value, bool):
        return coerce(cx, declared, value, scope, place, what)
    _refuse_unbound(cx, declared, scope)
    return coerce(cx, declared, value, scope, place, what)


def _refuse_unbound(cx: Context, declared: tree.TypeExpr, scope: Scope) -> None:
    """A name in a result type must come from somewhere: it is not bound by what comes out."""
    types = [declared] if isinstance(declared, tree.TensorTypeExpr) else [
        f.type for f in declared.fields
    ]
    for one in types:
        for item in getattr(one, "dims", None) or ():
            if isinstance(item.value, tree.Name) and item.value.id != "_":
                binding = scope.find(item.value.id)
                if binding is None:
                    sizes = [n for n in scope.names() if len(n) < 20]
                    raise error(
                        "E0303", f"the dimension `{item.value.id}` comes from nowhere", item.span,
                        help=suggest(item.value.id, sizes) or "write `_` to have it inferred",
                    )


def _made_here(value: Any, span: Span, text: str, kept: Sequence[Any]) -> Any:
    """`value` with its origin for messages: what gave it its shape, which `relu` does not."""
    if isinstance(value, TensorValue):
        made = next((v.made for v in kept if isinstance(v, TensorValue) and v.shape == value.shape),
                    None)
        made = made or Provenance(span, text)
        return TensorValue(value.tensor, value.names, made)
    if isinstance(value, TupleValue):
        return value.map(lambda item: _made_here(item, span, text, ()))
    return value


def _keeps_shape(definition: tree.Block) -> bool:
    """Whether a block declares its result as one of its inputs: `(x: f32[...]) -> f32[...]`."""
    result = definition.result
    return result is not None and any(p.type == result for p in definition.inputs or ())


def _static_text(template: Template) -> str:
    inside = template.span.text.partition("(")[2].rpartition(")")[0]
    return inside if len(inside) < 30 and "\n" not in inside else "..."


def _static_form(block: BlockValue) -> str:
    """`Dense(out = ...)`: the static call with what it needs."""
    needed = [p.name for p in block.definition.static if p.default is None]
    return f"{block.name}({', '.join(f'{name} = ...' for name in needed)})"


def _definition_span(block: BlockValue) -> Span:
    return block.definition.name_span or block.definition.span


def _is_none(default: tree.Expr | None) -> bool:
    return isinstance(default, tree.Literal) and default.value is None


def name_by_let(
    value: Any, name: str, naming: Naming, at: tuple[int | str, ...] = ()
) -> None:
    """Give what a `let` holds its name.

    An instance becomes `name`; in a list or record `name.0`, `name.field`; a stage's parts `name.*`.
    `at` begins with the round of the loops around the `let`.
    """
    if isinstance(value, (TupleValue, ListValue)):
        fields = [n for n, _ in value.items] if isinstance(value, TupleValue) else []
        for number, item in enumerate(value.values):
            field = fields[number] if fields and fields[number] else number
            name_by_let(item, name, naming, (*at, field))
    elif isinstance(value, Template) and value.naming is naming:
        value.naming = Naming(naming.prefix, {})
        value.place, value.iteration = (name, name), at
    elif isinstance(value, Stage) and any(_belongs(part, naming) for part in value.parts):
        naming.active = True


def as_layer(cx: Context, let: tree.Let, scope: Scope) -> Template:
    """Layers composed with no tensor on the left are a layer: one instance with its name."""
    (name,) = let.names
    block = tree.Block("block", name.id, (), None, None, let.value, "", let.value.span, name.span)
    return Template(BlockValue(block, scope), {}, cx.naming, ("", ""), let.value.span)


def _belongs(part: Any, naming: Naming) -> bool:
    return getattr(part, "naming", None) is naming

