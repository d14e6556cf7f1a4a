"""Update rules on weights, each elaborated once for all weights of one type.

A deep network has hundreds of weights of a few types, and its optimizer makes the same of all of
one type but for the path.  So what a rule makes of the first of them is copied for the others.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from nnc.elaborate.arithmetic import as_tensor
from nnc.elaborate.context import Context
from nnc.elaborate.instances import apply
from nnc.elaborate.layers import Layers, element, in_rounds
from nnc.elaborate.places import Naming
from nnc.elaborate.values import Template, TensorValue, describe
from nnc.ir.builder import Tensor
from nnc.ir.graph import Node, Origin, Value
from nnc.ir.types import SHORT_FLOATS
from nnc.language.diagnostics import error
from nnc.language.tree import Span
from nnc.ops.registry import OPS


@dataclass(frozen=True)
class _Made:
    """What a rule made of the weight at `path`: nodes, moments, the new value."""

    path: str
    weight: Value
    gradient: Value
    nodes: list[Node]
    moments: list[str]  # their paths
    result: Value


@dataclass
class Updates:
    """The updates of one step graph, whose name is `step`; `span` is where its optimizer stands."""

    cx: Context
    step: str
    span: Span
    _made: dict[Hashable, _Made] = field(default_factory=dict)

    def new_value(self, rule: Template, path: str, gradient: TensorValue) -> Tensor:
        """What `rule` makes of the weight at `path`; its moments stand at `@opt/STEP/NAME/PATH`.

        A rule computes in f32: a weight of a short float is widened for it, and its new value
        rounded.  Of stacked layers each is updated by itself.
        """
        cx = self.cx
        stacks = cx.world.layers.get(path, ())
        weight = TensorValue(cx.inputs[path], cx.world.names[path])
        if stacks:
            rule = replace(rule, stacks=stacks)

            def update() -> Tensor:
                kept, slope = (self._of_layer(value, stacks) for value in (weight, gradient))
                return self._elaborated(rule, path, kept, slope)

            return in_rounds(cx, stacks, self.span, update)
        key = id(rule), weight.type, weight.names, gradient.type, gradient.names
        if key in self._made:
            return self._copied(self._made[key], path, weight.tensor, gradient.tensor)
        graph, known = cx.root.graph, len(cx.written)
        first = graph.next_id
        result = self._elaborated(rule, path, weight, gradient)
        nodes = [graph.node(id) for id in range(first, graph.next_id)]
        if all(map(self._is_alike, nodes)):
            moments = list(cx.written)[known:]
            operands = weight.tensor.value, gradient.tensor.value
            self._made[key] = _Made(path, *operands, nodes, moments, result.value)
        return result

    def _of_layer(self, value: TensorValue, stacks: tuple[Layers, ...]) -> TensorValue:
        return TensorValue(element(self.cx, value.tensor, stacks), value.names[len(stacks) :])

    def _elaborated(
        self, rule: Template, path: str, kept: TensorValue, gradient: TensorValue
    ) -> Tensor:
        """The new value of `kept`, a weight or what a layer has of it."""
        cx, span = self.cx, self.span
        named = replace(rule, naming=Naming("", {}), place=(_scope(path),) * 2, iteration=())
        with cx.at(span):
            weight, slope = (_in_f32(value) for value in (kept, gradient))
        state_path = f"@opt/{self.step}/{{}}/{path}"
        with cx.assigned(state_path=state_path, state_kind="optimizer", counter="updates"):
            result = apply(cx, named, [("", weight, span), ("", slope, span)], span)
        value = as_tensor(cx, result, weight.dtype, span)
        if value.type != weight.type:
            what = f"{describe(value)} of `{path}`, {describe(weight)}"
            raise error("E0301", f"the optimizer makes {what}", span)
        with cx.at(span):
            return value.tensor.cast(kept.dtype)

    # ------------------------------------------------------------ the same for another weight
    def _is_alike(self, node: Node) -> bool:
        """Whether `node` is the same for each weight but for paths in its origin.

        Draws are not, and what begins with them; bodies have origins of their own.
        """
        if node.op == "input":
            entry = self.cx.world.state.get(node.attrs["name"])
            return entry is None or not entry.init.inputs
        return OPS[node.op].family != "random" and "body" not in node.attrs

    def _copied(self, made: _Made, path: str, weight: Tensor, gradient: Tensor) -> Tensor:
        cx, root = self.cx, self.cx.root
        place = _Place(made.path, path)
        values = {made.weight: weight.value, made.gradient: gradient.value}
        for node in made.nodes:
            if node.op != "input":
                operands = [values.get(value, value) for value in node.operands]
                origin = tuple(map(place.origin, node.origin))
                copy = root.graph.insert(
                    node.op, operands, node.attrs, node.types, node.name, origin
                )
                for index in range(len(node.types)):
                    values[Value(node.id, index)] = Value(copy.id, index)
            elif node.attrs["kind"] == "state":
                values[Value(node.id)] = self._moment(node, place).value
        for moment in made.moments:
            now = cx.written[moment]
            now = now.with_tensor(root.tensor(values.get(now.tensor.value, now.tensor.value)))
            cx.written[place.moment(moment)] = cx.buffers[place.moment(moment)] = now
        cx.check_size(self.span)
        return root.tensor(values.get(made.result, made.result))

    def _moment(self, node: Node, place: _Place) -> Tensor:
        """The input that is at this place what `node` is at the other, with its entry."""
        world, old = self.cx.world, node.attrs["name"]
        path = place.moment(old)
        if path not in world.state:
            entry = world.state[old]
            origin = place.origin(entry.origin) if entry.origin else None
            world.state[path] = replace(entry, path=path, origin=origin)
            world.names[path] = world.names[old]
            world.layers[path] = world.layers[old]
            world.declared[path] = world.declared[old]
        with self.cx.root.at(tuple(map(place.origin, node.origin))):
            return self.cx.root_input(path, node.type, "state")


class _Place:
    """Puts the path of one weight in the place of another's."""

    def __init__(self, old: str, new: str):
        self.old, self.new = old, new
        self._origins: dict[Origin, Origin] = {}

    def moment(self, path: str) -> str:
        return path.removesuffix(self.old) + self.new

    def origin(self, origin: Origin) -> Origin:
        if origin not in self._origins:
            old = _scope(self.old)
            inside = origin.scope == old or origin.scope.startswith(f"{old}.")
            scope = _scope(self.new) + origin.scope[len(old) :] if inside else origin.scope
            self._origins[origin] = origin._replace(scope=scope)
        return self._origins[origin]


def _scope(path: str) -> str:
    """The path of the rule that updates the weight at `path`, as if it were an instance."""
    return f"@update.{path}"


def _in_f32(value: TensorValue) -> TensorValue:
    short = value.dtype in SHORT_FLOATS
    return value.with_tensor(value.tensor.cast("f32")) if short else value
