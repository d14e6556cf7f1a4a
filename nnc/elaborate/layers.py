"""Equal layers as one loop over stacked weights (`--stack-layers`).

A `repeat` is elaborated once, as the body of a `scan`.  In the paths of what its body owns stands
`*` for the number of the round: `net.layer_0.*.w` is one entry of the state, with an axis in front
for the rounds.  Initial values and update rules are loops of the same kind, so that each round has
those of its own path; what works element by element does so on whole stacks instead.

What cannot be done so raises `Unstackable`; the `train` section is then built again with that
`repeat` unrolled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nnc.elaborate.frames import STAR, Frame
from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.splice import inline, splice
from nnc.ir.types import TensorType
from nnc.language.tree import Span
from nnc.ops.registry import OPS

if TYPE_CHECKING:
    from nnc.elaborate.context import Context


class Unstackable(Exception):
    """A `repeat`, by its place, that has to be unrolled, and why."""

    def __init__(self, span: Span, reason: str):
        super().__init__(reason)
        self.span = span
        self.reason = reason


@dataclass(frozen=True)
class Layers:
    """The number of a round while all rounds are elaborated at once."""

    count: int
    span: Span  # of the `repeat`

    def __str__(self) -> str:
        return STAR


@dataclass
class Stacking:
    """Which `repeat`s become loops: all but those that were found not to fit."""

    unrolled: dict[Span, str] = field(default_factory=dict)  # why, by place

    def allows(self, span: Span) -> bool:
        return span not in self.unrolled

    def remarks(self) -> list[str]:
        return [
            f"{span.source.path}:{span.line}:{span.column}: `repeat` stays unrolled: {reason}"
            for span, reason in self.unrolled.items()
        ]


def stacks_of(outer: tuple[Layers, ...], iteration: tuple[Any, ...]) -> tuple[Layers, ...]:
    """What the stars in a path stand for that goes on from one with the stars `outer`."""
    return (*outer, *(number for number in iteration if isinstance(number, Layers)))


# ---------------------------------------------------------------- values in a round
def element(cx: Context, tensor: Tensor, stacks: Sequence[Layers]) -> Tensor:
    """What a round of `stacks` sees of `tensor`, which has an axis in front for each of them."""
    depth = next(i for i, frame in enumerate(cx.frames) if frame.builder is tensor.builder)
    left = list(stacks)
    for number, frame in enumerate(cx.frames):
        if not left:
            break
        is_next = frame.layers is left[0]
        if number > depth:
            tensor = frame.element(tensor) if is_next else frame.capture(tensor)
        if is_next:
            del left[0]
    return tensor


def in_rounds(
    cx: Context, stacks: Sequence[Layers], span: Span, compute: Callable[[], Tensor]
) -> Tensor:
    """What `compute` gives in each round of `stacks`, with an axis in front for each of them."""
    if not stacks:
        return compute()
    with rounds(cx, stacks[0], span) as frame:
        value = cx.local(in_rounds(cx, stacks[1:], span, compute))
    return close(cx, frame, span, [], [], [value])[0]


# ---------------------------------------------------------------- a loop over layers
@contextmanager
def rounds(cx: Context, layers: Layers, span: Span) -> Iterator[Frame]:
    """While it is entered, `cx` writes the body of a loop over `layers`; `close` makes the loop."""
    frame = Frame(Builder(Graph("layers"), cx.origin(span)), layers=layers)
    frame.builder.input("layer", TensorType("i32"), "iteration")
    cx.frames.append(frame)
    try:
        yield frame
    finally:
        cx.frames.pop()


def close(
    cx: Context,
    frame: Frame,
    span: Span,
    starts: Sequence[Tensor],
    ends: Sequence[Tensor],
    made: Sequence[Tensor],
) -> Sequence[Tensor]:
    """The loop whose body `frame` holds: its carries, then the stacks of `made`.

    `starts` are the carries before the loop, and `ends` what each round makes of them.  Buffers
    that the body sets are stacks after the loop.
    """
    written = {p: v for p, v in cx.written.items() if v.tensor.builder is frame.builder}
    made = [*made, *(value.tensor for value in written.values())]
    body = frame.builder.graph
    names = [*(f"carry.{number}" for number in range(len(ends))), *(_names(frame, made))]
    body.outputs = dict(zip(names, (x.value for x in (*ends, *made)), strict=True))
    loop = _Loop(cx, frame, span, tuple(starts))
    results = loop.at_once() if not starts else loop.scan()
    _set_buffers(cx, frame, dict(zip(written, results[len(results) - len(written) :], strict=True)))
    return results[: len(results) - len(written)]


def _names(frame: Frame, made: Sequence[Tensor]) -> Iterator[str]:
    """Names for what is stacked, each new."""
    taken: set[str] = set()
    for x in made:
        wish = frame.builder.graph.producer(x.value).name or "value"
        name, number = wish, 1
        while name in taken:
            number += 1
            name = f"{wish}_{number}"
        taken.add(name)
        yield name


def _set_buffers(cx: Context, frame: Frame, stacks: dict[str, Tensor]) -> None:
    """What buffers hold after the loop."""
    outside = {inner.value: outer for outer, inner in frame.elements.items()}
    for path, value in list(cx.buffers.items()):
        names = (None, *value.names)
        if path in stacks:
            stack = type(value)(stacks[path], names)
            cx.buffers[path] = cx.written[path] = stack
        elif value.tensor.builder is frame.builder:  # only read
            outer = Tensor(cx.builder, outside[value.tensor.value])
            cx.buffers[path] = type(value)(outer, names)


@dataclass
class _Loop:
    """A body, and the operands that it is run on."""

    cx: Context
    frame: Frame
    span: Span
    starts: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        assert self.frame.layers is not None
        self.count = self.frame.layers.count
        self.body = self.frame.builder.graph
        self.elements = self._used(self.frame.elements)
        self.captures = self._used(self.frame.captures)
        first = self.body.inputs[: 1 + len(self.starts)]
        inner = [x.value.node for x in (*self.elements.values(), *self.captures.values())]
        self.body.inputs[:] = [*first, *inner]

    def _used(self, ports: dict[Value, Tensor]) -> dict[Value, Tensor]:
        """Those inputs that the body reads; the others are removed."""
        results = {value.node for value in self.body.outputs.values()}
        used = {}
        for outer, inner in ports.items():
            if self.body.nx.out_degree(inner.value.node) or inner.value.node in results:
                used[outer] = inner
            else:
                self.body.remove(inner.value.node)
        return used

    @property
    def operands(self) -> list[Tensor]:
        outer = [*self.elements, *self.captures]
        return [*self.starts, *(Tensor(self.cx.builder, value) for value in outer)]

    def scan(self) -> Sequence[Tensor]:
        results: Sequence[Tensor] = self.cx.emit(
            self.span,
            "scan",
            *self.operands,
            body=self.body,
            carries=len(self.starts),
            sequences=len(self.elements),
            axes=(0,) * len(self.elements),
            out_axes=(0,) * (len(self.body.outputs) - len(self.starts)),
            length=self.count,
            reverse=False,
        )
        return results

    def at_once(self) -> Sequence[Tensor]:
        """All rounds without a loop, where the body works element by element."""
        nodes = [node for node in self.body if node.op != "input"]
        builder = self.cx.builder
        if not self.elements and not any(map(_is_random, nodes)):
            counter = builder.const(0, "i32")
            made = inline(builder, self.body, [counter, *self.operands])
            return [x.expand((self.count, *x.shape)) for x in made]
        if not all(map(_is_pointwise, nodes)):
            return self.scan()
        whole = {inner.value: outer for outer, inner in self.elements.items()}
        alike = {inner.value: outer for outer, inner in self.captures.items()}
        for node in nodes:
            if any(value in whole for value in node.operands):
                operands = [self._stack(value, whole, alike) for value in node.operands]
                attrs = dict(node.attrs)
                if node.op == "broadcast":
                    attrs["shape"] = (self.count, *attrs["shape"])
                    attrs["axes"] = (0, *(axis + 1 for axis in attrs["axes"]))
                with builder.at(node.origin):
                    made = builder.emit(node.op, *operands, name=node.name, **attrs)
                whole[Value(node.id)] = made.value
            else:
                splice(builder, (node,), alike)
        return [self._stack(value, whole, alike) for value in self.body.outputs.values()]

    def _stack(self, value: Value, whole: dict[Value, Value], alike: dict[Value, Value]) -> Tensor:
        """`value` of all rounds."""
        builder = self.cx.builder
        if value in whole:
            return builder.tensor(whole[value])
        x = builder.tensor(alike[value])
        source = builder.graph.producer(x.value)
        if source.op == "broadcast" and not builder.graph.type(source.operands[0]).rank:
            x, shape = builder.tensor(source.operands[0]), x.shape
            return x.expand((self.count, *shape))
        return x.expand((self.count, *x.shape))


def _is_pointwise(node: Node) -> bool:
    return OPS[node.op].family == "elementwise" or node.op in ("const", "size", "broadcast")


def _is_random(node: Node) -> bool:
    return OPS[node.op].family == "random"
