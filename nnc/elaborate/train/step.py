"""One step graph: loss, gradients, their transforms, updates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from nnc.elaborate.calls import invoke
from nnc.elaborate.collected import Collected
from nnc.elaborate.layers import Unstackable
from nnc.elaborate.settings import Settings, precision_of, remat_of
from nnc.elaborate.train.common import Section, missing
from nnc.elaborate.train.loss_scale import LossScale
from nnc.elaborate.train.optimizer import Groups, optimizer_groups, rule_of
from nnc.elaborate.train.scoring import finish_graph, loss_value
from nnc.elaborate.train.updates import Updates
from nnc.elaborate.values import (
    ListValue,
    PathRef,
    Template,
    TensorValue,
    TupleValue,
    WeightsValue,
    describe,
    is_number,
)
from nnc.ir.builder import Tensor
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.program import Step
from nnc.language import tree
from nnc.language.diagnostics import Label, error
from nnc.ops.registry import OPS
from nnc.passes.base import BEFORE
from nnc.passes.dead_code import dead_code
from nnc.passes.precision import multiply_in


class StepBuilder:
    """Builds the graph of one step section, or of the section that stands for it."""

    def __init__(
        self, section: Section, settings: Settings, inner: Sequence[tree.Section], name: str
    ):
        self.section = section
        self.settings = settings
        self.name = name
        self.graph = Graph(name)
        self.cx = section.context(self.graph, training=True)
        self.scope = section.scope(self.cx, inner)

    def build(self) -> Step:
        problems = Collected()
        loss = problems.attempt(self._loss)
        groups = problems.attempt(self._groups)
        precision = problems.attempt(precision_of, self.settings)
        remat = problems.attempt(remat_of, self.settings)
        problems.finish()
        assert loss is not None
        assert groups is not None
        assert precision is not None
        forward = self.graph.next_id  # what the optimizer multiplies comes after
        prefixes = self._update_prefixes()
        paths = self._weights(loss, prefixes)
        self._output({"@loss": loss.tensor})
        scale = self._loss_scale() if precision == "f16" else None
        gradients = self._gradients(loss if scale is None else scale.scaled(loss), paths)
        if scale is not None:
            gradients = scale.unscaled(gradients)
            self._output(scale.update(gradients))
        updates = self._updates(self._transformed(gradients), groups, paths, prefixes)
        if scale is not None:
            updates = {path: scale.kept(path, new) for path, new in updates.items()}
        self._output(updates)
        pipeline = self.section.pipeline
        pipeline.apply(
            "precision", self.graph, lambda graph: multiply_in(graph, precision, forward)
        )
        dead_code.run(self.graph)
        pipeline.run(self.graph, BEFORE)
        pipeline.apply("autodiff", self.graph, partial(finish_graph, self.cx))
        return Step(self.name, self.graph, self.cx.scalars, 1, (self.name,), remat)

    def _output(self, values: dict[str, Tensor]) -> None:
        self.graph.outputs |= {name: tensor.value for name, tensor in values.items()}

    def _loss_scale(self) -> LossScale:
        return LossScale(self.cx, self.name, self.settings["precision"].span)

    def _updates(
        self,
        gradients: WeightsValue,
        groups: Groups,
        paths: list[str],
        prefixes: list[str] | None,
    ) -> dict[str, Tensor]:
        """The new value of every entry of the state that the step changes, by path."""
        updates: dict[str, Tensor] = {}
        span = self.settings["optimizer"].value.span
        rules = Updates(self.cx, self.name, span)
        for path in paths:
            rule = rule_of(self.cx, groups, path, span)
            updates[path] = rules.new_value(rule, path, gradients.leaves[path])
        for path, value in self.cx.written.items():
            if path.startswith("@opt/") or self._is_chosen(path, prefixes):
                updates[path] = value.tensor
        return updates

    def _loss(self) -> TensorValue:
        if "loss" not in self.settings:
            help = "write `loss = cross_entropy(...)`"
            raise missing(
                self.section.tree,
                "loss",
                "E0427",
                "there is no loss to minimize",
                help,
                self.section.place,
            )
        return loss_value(self.cx, self.settings, self.scope)

    def _groups(self) -> Groups:
        if "optimizer" not in self.settings:
            help = "write `optimizer = Adam(1e-3)`"
            raise missing(
                self.section.tree,
                "optimizer",
                "E0424",
                "how are the weights updated?",
                help,
                self.section.place,
            )
        return optimizer_groups(self.cx, self.settings["optimizer"].value, self.scope)

    # ------------------------------------------------------------ what is updated
    def _update_prefixes(self) -> list[str] | None:
        """The paths that `update` names; None for everything."""
        setting = self.settings.get("update")
        if setting is None:
            return None
        value = self.cx.eval(setting.value, self.scope)
        many = value.values if isinstance(value, (ListValue, TupleValue)) else (value,)
        for one in many:
            if not isinstance(one, (Template, PathRef)):
                raise error(
                    "E0422",
                    f"`update` names instances; this is {describe(one)}",
                    setting.value.span,
                )
        return [one.path for one in many]

    def _is_chosen(self, path: str, prefixes: list[str] | None) -> bool:
        """Whether `update` names the entry at `path`; of stacked layers it names all or none."""
        world = self.section.world
        named = {_below(one, prefixes) for one in world.state[path].paths}
        if len(named) > 1:
            raise Unstackable(world.layers[path][0].span, "`update` names some of its rounds")
        return named.pop()

    def _weights(self, loss: TensorValue, prefixes: list[str] | None) -> list[str]:
        """The weights of `update` that the loss depends on."""
        reached = _behind(self.graph, loss.tensor.value.node)
        reads = {self.graph.node(id).attrs["name"] for id in self.graph.inputs if id in reached}
        state = self.section.world.state
        weights = [p for p in state if p in reads and state[p].kind == "param"]
        chosen = [p for p in weights if self._is_chosen(p, prefixes)]
        if not chosen:
            place = self.settings["loss"].value.span
            if weights:
                raise error(
                    "E0423",
                    "the loss reaches no weight of `update`",
                    place,
                    Label(self.settings["update"].value.span, "these are updated"),
                )
            raise error(
                "E0423",
                "the loss reaches no weight: there is nothing to train",
                place,
                help="it must depend on the output of an instance, not under "
                "`stop_gradient` or `frozen`",
            )
        return chosen

    # ------------------------------------------------------------ gradients
    def _gradients(self, loss: TensorValue, paths: list[str]) -> WeightsValue:
        inputs = [self.cx.inputs[path] for path in paths]
        span = self.settings["loss"].value.span
        results = self.cx.emit(span, "gradient", loss.tensor, *inputs)
        names = self.section.world.names
        return WeightsValue(
            {p: TensorValue(t, names[p]) for p, t in zip(paths, results, strict=True)}
        )

    def _transformed(self, gradients: WeightsValue) -> WeightsValue:
        """`clip_norm`, `clip_value`: functions of the library over the tree of gradients."""
        for name in ("clip_norm", "clip_value"):
            setting = self.settings.get(name)
            if setting is None:
                continue
            place = setting.value.span
            limit = self.cx.eval(setting.value, self.scope)
            if not is_number(limit) or limit <= 0:
                raise error(
                    "E0418", f"`{name}` must be a positive number; this is {describe(limit)}", place
                )
            function = self.section.module.library_item(name)
            arguments = [("", gradients, setting.span), ("", limit, place)]
            gradients = invoke(self.cx, function, arguments, setting.span)
        return gradients


def _behind(graph: Graph, id: int) -> set[int]:
    """The nodes that a gradient can reach from node `id`."""
    reached: set[int] = set()
    pending = [id]
    while pending:
        node = graph.node(pending.pop())
        if node.id not in reached:
            reached.add(node.id)
            pending.extend(value.node for value in _passes(node))
    return reached


def _passes(node: Node) -> tuple[Value, ...]:
    """The operands that a gradient goes on to."""
    if OPS[node.op].zero_gradient:
        return ()
    if node.op == "with_gradient":
        return node.operands[1:]
    if node.op == "scan":
        body: Graph = node.attrs["body"]
        inside = set().union(*(_behind(body, value.node) for value in body.outputs.values()))
        ports = zip(node.operands, body.inputs[1:], strict=True)
        return tuple(value for value, port in ports if port in inside)
    return node.operands


def _below(path: str, prefixes: list[str] | None) -> bool:
    return prefixes is None or any(path == p or path.startswith(f"{p}.") for p in prefixes)
