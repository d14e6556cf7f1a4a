"""The state of one elaboration: the graph being written, what is known where an expression stands.

A `Context` writes one root graph.  Bodies of loops are graphs of their own; a value from outside
that a body reads becomes a capture (`local`).  What outlives a graph is in `World`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from nnc.elaborate.frames import Frame
from nnc.elaborate.layers import Layers, Unstackable, element
from nnc.elaborate.places import Naming
from nnc.elaborate.scope import Scope
from nnc.elaborate.values import (
    Host,
    ListValue,
    Poisoned,
    TensorValue,
    TupleValue,
    WeightsValue,
)
from nnc.elaborate.world import MAX_PARAMETERS, MAX_WEIGHTS, AllApplied, Application, World
from nnc.ir.builder import Builder, Tensor
from nnc.ir.dims import Poly
from nnc.ir.graph import Graph, Origin
from nnc.ir.host import HostConst, HostExpr, HostVar
from nnc.ir.types import TensorType
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic, Label, NncError, error
from nnc.language.tree import Span
from nnc.ops.registry import OpError

T = TypeVar("T")

MAX_DEPTH = 200  # nested calls of blocks and functions
MAX_CALLS = 50_000  # calls and rounds of loops in one graph
MAX_NODES = 200_000


class Context:
    """Everything that evaluating an expression may read or write."""

    def __init__(self, world: World, graph: Graph, *, training: bool, batch: Any = None):
        self.world = world
        self.frames = [Frame(Builder(graph))]
        self.training = training
        self.batch = batch  # the symbolic size of the sample axis; None for each source's own
        self.counter = "step"
        self.path = ""
        self.naming = Naming("", {})
        self.iteration: tuple[Any, ...] = ()
        self.stacks: tuple[Layers, ...] = ()  # what the stars in `path` stand for
        self.tags: dict[str, Tensor] = {}  # of streams, by their paths with stars
        self.inputs: dict[str, Tensor] = {}
        self.scalars: dict[str, HostExpr] = {}
        self.buffers: dict[str, TensorValue] = {}
        self.written: dict[str, TensorValue] = {}
        self.overrides: list[dict[str, TensorValue]] = []
        self.frozen = 0
        self.expected: TensorType | None = None
        self.draws: dict[str, int] = {}
        self.draw_iteration: Tensor | None = None
        self.calls: list[tuple[str, Span]] = []
        self.work = 0  # calls and rounds so far
        self.initializing = False
        self.awaited: set[str] | None = None  # instances whose argument types are all one wants
        self.structured = False  # instances become calls of graphs of their own
        self.pending: Callable[[], Iterable[Callable[[], Any]]] = tuple  # definitions to come
        self.state_path = ""  # how an optimizer names its moments: "@opt/NAME/{}/PATH"
        self.state_kind = ""

    def buffer_path(self, name: str) -> str:
        """The path of the `param` or `buffer` called `name` in the body that runs."""
        return self.state_path.format(name) if self.state_path else f"{self.path}.{name}"

    def batch_size(self, source: str) -> Any:
        """The size of the sample axis of a data section in this graph."""
        return self.world.data.source(self, source).batch if self.batch is None else self.batch

    # ------------------------------------------------------------ evaluation
    def eval(self, expr: tree.Expr, scope: Scope) -> Any:
        """The value of `expr`; graph nodes it makes carry its place."""
        from nnc.elaborate.expressions import EVALUATORS

        return EVALUATORS[type(expr)](self, expr, scope)

    @contextmanager
    def calling(self, what: str, span: Span) -> Iterator[None]:
        """Inside a call of a function or block of the program or the library."""
        if len(self.calls) >= MAX_DEPTH:
            raise self._too_deep()
        self.spend(1, span)
        self.world.called.add(what)
        self.calls.append((what, span))
        try:
            yield
        except RecursionError:
            raise self._too_deep() from None
        except NncError as failure:
            if is_library(span):
                raise
            raise NncError(*(_at_call(d, span) for d in failure.diagnostics)) from None
        finally:
            self.calls.pop()

    def _too_deep(self) -> NncError:
        """E0271 at the call that repeats most often."""
        self.world.exhausted = True
        (name, span), times = Counter(self.calls).most_common(1)[0]
        return error(
            "E0271",
            f"calls are nested too deeply: at most {MAX_DEPTH} inside one another",
            self.user_span(span),
            help=f"`{name}` calls itself; a static `if` must end that" if times > 1 else "",
        )

    def spend(self, amount: int, span: Span) -> None:
        """Count calls and rounds, so that no short text runs for hours; E0274 once."""
        if self.world.exhausted:
            raise Poisoned
        self.work += amount
        if self.work > MAX_CALLS:
            self.world.exhausted = True
            raise error(
                "E0274",
                f"more than {MAX_CALLS:,} calls and rounds of loops",
                self.user_span(span),
                help="`repeat` and `for` are unrolled; `scan` is a loop in the graph",
            )

    def size(self) -> tuple[int, int, int]:
        """What has grown so far: weights, numbers in them, operations."""
        return self.world.weights, self.world.parameters, len(self.root.graph)

    def check_growth(self, before: tuple[int, int, int], rounds: int, span: Span) -> None:
        """Refuse a loop by its first round, before the others are built."""
        limits = (
            ("E0273", "weights", MAX_WEIGHTS),
            ("E0273", "parameters", MAX_PARAMETERS),
            ("E0272", "operations", MAX_NODES),
        )
        for (code, what, limit), old, new in zip(limits, before, self.size(), strict=True):
            total = old + (new - old) * rounds
            if new > old and total > limit:
                self.world.exhausted = True
                raise error(
                    code,
                    f"{rounds:,} rounds make {total:,} {what}; at most {limit:,} are built",
                    self.user_span(span),
                )

    @contextmanager
    def assigned(self, **values: Any) -> Iterator[None]:
        """Attributes of the context changed for a while."""
        before = {name: getattr(self, name) for name in values}
        for name, value in values.items():
            setattr(self, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def user_span(self, span: Span) -> Span:
        """The place in the user's own text that led to `span` (the library's text is not his)."""
        if not is_library(span):
            return span
        for _, call in reversed(self.calls):
            if not is_library(call):
                return call
        return span

    # ------------------------------------------------------------ graphs
    @property
    def builder(self) -> Builder:
        return self.frames[-1].builder

    @property
    def root(self) -> Builder:
        return self.frames[0].builder

    def origin(self, span: Span) -> tuple[Origin, ...]:
        user = self.user_span(span)
        here = self._origin(user)
        return (here,) if user is span else (here, self._origin(span))

    def _origin(self, span: Span) -> Origin:
        key = span.source, span.start, self.path
        found = self.world.origins.get(key)
        if found is None:
            found = Origin(_short(span), span.line, span.column, self.path)
            self.world.origins[key] = found
        return found

    def at(self, span: Span) -> Any:
        """Nodes emitted inside come from `span`."""
        return self.builder.at(self.origin(span))

    def emit(self, span: Span, op: str, *operands: Tensor, **attrs: Any) -> Any:
        """`Builder.emit` with the op's refusal turned into an error at `span`."""
        with self.at(span):
            try:
                result = self.builder.emit(op, *operands, **attrs)
            except OpError as refused:
                raise self.refused(str(refused), span) from None
        self.check_size(span)
        return result

    def refused(self, message: str, span: Span) -> Exception:
        user = self.user_span(span)
        labels = [] if user is span else [Label(span, "in the library, here")]
        return error("E0305", message, user, *labels)

    def check_size(self, span: Span) -> None:
        if len(self.root.graph) > MAX_NODES:
            self.world.exhausted = True
            raise error(
                "E0272", f"the graph has more than {MAX_NODES:,} operations", self.user_span(span)
            )

    def input(self, name: str, type: TensorType, kind: str) -> Tensor:
        """The root graph's input `name`, made when it is first asked for; local to this body."""
        return self.local(self.root_input(name, type, kind))

    def root_input(self, name: str, type: TensorType, kind: str) -> Tensor:
        """The root graph's input `name`, made when it is first asked for."""
        if name not in self.inputs:
            with self.root.at(self.builder.origin):
                self.inputs[name] = self.root.input(name, type, kind)
        return self.inputs[name]

    def local(self, tensor: Tensor) -> Tensor:
        """`tensor` as the graph being written sees it."""
        depth = next((i for i, f in enumerate(self.frames) if f.builder is tensor.builder), None)
        if depth is None:
            raise error(
                "E0244",
                "an initial value cannot depend on tensors",
                self.user_span(self.calls[-1][1]) if self.calls else None,
            )
        for frame in self.frames[depth + 1 :]:
            tensor = frame.capture(tensor)
        return tensor

    def localize(self, value: Any) -> Any:
        """`value` with every tensor in it made local."""
        if isinstance(value, TensorValue):
            if value.tensor.builder is self.builder:
                return value
            return TensorValue(self.local(value.tensor), value.names, value.made)
        if isinstance(value, (TupleValue, WeightsValue)):
            return value.map(self.localize)
        if isinstance(value, ListValue):
            return ListValue(tuple(map(self.localize, value.values)))
        return value

    def remember(self, path: str, application: Application) -> None:
        """Note what the instance at `path` is applied to, before its body runs."""
        self.world.applications[path] = application
        if self.awaited and application.is_open:
            self.awaited.discard(path)
            if not self.awaited:
                raise AllApplied

    def once_defined(self, found: Callable[[], T]) -> T:
        """What `found` gives, if need be after a definition further on in the section has run."""
        result = found()
        for definition in self.pending() if not result else ():
            definition()
            result = found()
            if result:
                break
        return result

    # ------------------------------------------------------------ numbers to tensors
    def constant(self, value: Any, dtype: str) -> Tensor:
        if isinstance(value, Poly):
            return self.builder.emit("size", dim=value, dtype=dtype)
        if dtype in ("f16", "bf16", "f32", "f64"):
            value = float(value)
        elif dtype != "bool":
            value = int(value)
        return self.builder.const(value, dtype)

    def scalar(self, host: Host, dtype: str) -> Tensor:
        """A per-step host scalar as a tensor of shape ()."""
        if isinstance(host.expr, HostConst):
            return self.constant(host.expr.value, dtype)
        for name, known in self.scalars.items():
            if known == host.expr and self.inputs[name].dtype == dtype:
                return self.local(self.inputs[name])
        name = self._scalar_name(host.expr)
        self.scalars[name] = host.expr
        return self.input(name, TensorType(dtype), "scalar")

    def _scalar_name(self, expr: HostExpr) -> str:
        base = "" if isinstance(expr, HostConst) else expr.name
        base = base or "scalar"
        name, number = base, 1
        while name in self.inputs:
            number += 1
            name = f"{base}_{number}"
        return name

    # ------------------------------------------------------------ draws
    def random_bits(
        self, span: Span, shape: tuple[Any, ...], what: str, dtype: str = "u32"
    ) -> Tensor:
        """Random words for the place and application at hand (semantics 11)."""
        stream = "init" if self.initializing else what
        path = f"{stream}/{self.path}" if self.path else stream
        ordinal = self.draws.get(path, 0)
        self.draws[path] = ordinal + 1
        zero = self.builder.const(0, "u64")
        seed = self.input_scalar("seed", HostVar("seed"), "u64")
        step = zero if self.initializing else self.input_scalar("draw", HostVar("draw"), "u64")
        iteration = zero if self.draw_iteration is None else self.local(self.draw_iteration)
        self.require_own_round("draws random numbers for a place that all rounds share")
        return self.emit(
            span,
            "random_bits",
            seed,
            step,
            iteration,
            zero,
            *self._stream_tag(path),
            path=path,
            ordinal=ordinal,
            shape=tuple(shape),
            dtype=dtype,
        )

    def _stream_tag(self, path: str) -> tuple[Tensor, ...]:
        """What tells the streams of `path` apart where it has stars."""
        if not self.stacks:
            return ()
        if path not in self.tags:
            sizes = tuple(layers.count for layers in self.stacks)
            self.tags[path] = self.root.emit("stream_tags", path=path, sizes=sizes)
        return (self.local(element(self, self.tags[path], self.stacks)),)

    def require_own_round(self, what: str) -> None:
        """Unroll a `repeat` around whose rounds the place at hand does not belong to."""
        for frame in self.frames:
            layers = frame.layers
            if layers is not None and not any(layers is own for own in self.stacks):
                raise Unstackable(layers.span, f"its body {what}")

    def refuse_layers(self, what: str) -> None:
        """Unroll a `repeat` whose body does what rounds at once cannot."""
        for frame in reversed(self.frames):
            if frame.layers is not None:
                raise Unstackable(frame.layers.span, f"its body {what}")

    def input_scalar(self, name: str, expr: HostExpr, dtype: str) -> Tensor:
        self.scalars.setdefault(name, expr)
        return self.input(name, TensorType(dtype), "scalar")


def _at_call(fault: Diagnostic, call: Span) -> Diagnostic:
    """An error inside the library points at the user's call first."""
    if fault.span is None or not is_library(fault.span):
        return fault
    inside = Label(fault.span, "in the library, here")
    own = tuple(label for label in fault.labels if not is_library(label.span))
    return replace(fault, span=call, labels=(*own, inside))


def is_library(span: Span) -> bool:
    return span.source.is_library


def _short(span: Span) -> str:
    return span.source.path.rsplit("/", 1)[-1] if not is_library(span) else span.source.path
