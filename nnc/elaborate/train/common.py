"""What the parts of a `train` section share: collected errors, scopes, static settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nnc.elaborate.context import Context
from nnc.elaborate.module import Module
from nnc.elaborate.places import Naming, place_names
from nnc.elaborate.scope import Binding, Scope
from nnc.elaborate.settings import SCHEMA, Settings, read_settings
from nnc.elaborate.statements import evaluate_let
from nnc.elaborate.values import POISON, describe
from nnc.elaborate.world import World
from nnc.ir.dims import symbol
from nnc.ir.graph import Graph
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic, Label, NncError, error, suggest
from nnc.language.tree import Span
from nnc.language.walk import walk
from nnc.passes.pipeline import STANDARD, Pipeline

#: The symbolic size of the sample axis in evaluation and inference.
BATCH = "N"


class Section:
    """A `train` section, its module, and the world that all its graphs share."""

    def __init__(self, module: Module, tree_section: tree.Section, pipeline: Pipeline = STANDARD):
        self.pipeline = pipeline
        self.module = module
        self.tree = tree_section
        self.faults: list[Diagnostic] = []
        self.settings = read_settings(tree_section, self.faults)
        self.world = World(module.data)

    @property
    def place(self) -> Span:
        return self.tree.name_span or self.tree.span

    @property
    def length(self) -> int:
        """Steps in an epoch."""
        return self.world.steps_per_epoch or 1

    # ------------------------------------------------------------ static values
    def static(self, expr: tree.Expr) -> Any:
        """A setting that must be known before any graph."""
        cx = self.module.context()
        cx.world = self.world
        return cx.eval(expr, self.module.scope)

    def whole(self, expr: tree.Expr, what: str, least: int) -> int:
        """A static int of at least `least`, else E0418."""
        value = self.static(expr)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise error(
                "E0418",
                f"`{what}` must be an int of at least {least}; this is {describe(value)}",
                expr.span,
            )
        return value

    def parts(self, source: str) -> dict[str, Any]:
        """The parts of a data section's split, with their rows."""
        return self.module.data.source(self.module.context(), source).parts

    def sources_in(self, node: Any) -> list[str]:
        """The data sections that a piece of the program names."""
        known = self.module.data.sections
        return sorted({n.id for n in walk(node) if isinstance(n, tree.Name) and n.id in known})

    # ------------------------------------------------------------ graphs
    def context(self, graph: Graph, training: bool) -> Context:
        batch = None if training else symbol(BATCH)
        cx = Context(self.world, graph, training=training, batch=batch)
        cx.naming = Naming("", place_names(self.tree.body))
        return cx

    def scope(self, cx: Context, inner: Sequence[tree.Section] = ()) -> Scope:
        """The names of the section, and of the sections inside it, for one graph."""
        scope = Scope(self.module.scope, "train")
        if len(self.module.data.sections) == 1:
            only = next(iter(self.module.data.sections))
            scope.define_lazy(BATCH, lambda: cx.batch_size(only))
        _define_lets(cx, self.tree, scope)
        for section in inner:
            scope = Scope(scope, section.kind)
            _define_lets(cx, section, scope)
        cx.pending = lambda: _pending(scope)
        return scope


def missing(
    section: tree.Section, setting: str, code: str, message: str, help: str, place: Span
) -> NncError:
    """A setting that a section lacks, or has as a `let`."""
    for statement in section.body:
        if isinstance(statement, tree.Let):
            for name in statement.names:
                if name.id == setting:
                    label = Label(name.span, "this `let` makes a name, it sets nothing")
                    return error(code, message, place, label, help=f"write `{setting} = ...`")
    return error(code, message, place, help=help)


def inner_sections(section: tree.Section, kind: str) -> list[tree.Section]:
    return [s for s in section.body if isinstance(s, tree.Section) and s.kind == kind]


def named_arguments(section: tree.Section, known: Sequence[str]) -> Iterator[tree.Argument]:
    """The arguments of `step NAME(...)`, each of a known name; else E0403."""
    for item in section.arguments:
        if item.name not in known:
            what = item.name or item.span.text
            raise error(
                "E0403",
                f"`{section.kind}` has no argument `{what}`",
                item.span,
                help=suggest(item.name, known) or (f"it takes {', '.join(known)}" if known else ""),
            )
        yield item


def as_setting(item: tree.Argument) -> tree.Set:
    """`phase probe(epochs = 3)`: the argument as the setting that it stands for."""
    return tree.Set((tree.Name(item.name, item.span),), item.value, item.span)


def merged(outer: Settings, inner: Settings) -> Settings:
    """What an inner section sets over what it inherits; `epochs` and `steps` exclude each other."""
    settings = {**outer, **inner}
    for one, other in (("epochs", "steps"), ("steps", "epochs")):
        if one in inner and other not in inner:
            settings.pop(other, None)
    return settings


def _define_lets(cx: Context, section: tree.Section, scope: Scope) -> None:
    for statement in section.body:
        if isinstance(statement, tree.Let):
            _define_let(cx, statement, scope)
        elif isinstance(statement, tree.Set):
            for name in statement.names:  # `net = ...` without `let` has an error of its own
                if name.id not in SCHEMA["train"] and scope.find(name.id) is None:
                    scope.define(name.id, POISON, name.span)


def _define_let(cx: Context, statement: tree.Let, scope: Scope) -> None:
    """A definition of a section runs where it is first needed, once a graph."""
    values: dict[str, Any] = {}

    def compute(name: str) -> Callable[[], Any]:
        def run() -> Any:
            if not values:
                cx.world.defined.add(statement.span.start)
                pairs = evaluate_let(cx, statement, scope)
                values.update({n.id: v for n, v in pairs})
            return values[name]

        return run

    for name in statement.names:
        scope.define_lazy(name.id, compute(name.id), name.span)


def _pending(scope: Scope) -> Iterator[Callable[[], Any]]:
    """The definitions of a section (and of those around it) that have not run yet."""
    level: Scope | None = scope
    while level is not None and level.kind != "module":
        for name, binding in list(level.bindings.items()):
            if binding.compute is not None and not binding.busy:
                yield _forcing(binding, name)
        level = level.parent


def _forcing(binding: Binding, name: str) -> Callable[[], Any]:
    return lambda: binding.force(name, None)
