"""Loss, metrics, and the evaluations that compute them over a whole part of the data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import networkx

from nnc.elaborate.arithmetic import as_tensor
from nnc.elaborate.collected import Collected
from nnc.elaborate.context import Context
from nnc.elaborate.scope import Scope
from nnc.elaborate.settings import Settings, precision_of, read_settings
from nnc.elaborate.train.common import BATCH, Section, inner_sections, named_arguments
from nnc.elaborate.types import in_steps
from nnc.elaborate.values import Duration, Poison, Poisoned, TensorValue, describe
from nnc.ir.graph import Graph
from nnc.ir.program import Evaluation
from nnc.ir.types import FLOATS
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic, NncError, error
from nnc.passes.autodiff import expand_gradients
from nnc.passes.base import BEFORE
from nnc.passes.common import common
from nnc.passes.dead_code import dead_code
from nnc.passes.precision import multiply_in
from nnc.passes.split_evaluation import split_evaluation


# ---------------------------------------------------------------- values
def loss_value(cx: Context, settings: Settings, scope: Scope) -> TensorValue:
    """The loss: one float."""
    span = settings["loss"].value.span
    value = cx.eval(settings["loss"].value, scope)
    if isinstance(value, Poison):
        raise Poisoned
    if not isinstance(value, TensorValue):
        raise error("E0428", f"the loss must be a scalar tensor; this is {describe(value)}", span)
    if value.rank or value.dtype not in FLOATS:
        raise error(
            "E0428",
            f"the loss must be one number; this is {describe(value)}",
            span,
            help="`mean(...)` it",
        )
    return value


def metric_items(settings: Settings) -> tuple[tree.Argument, ...]:
    """The named values of `metrics`."""
    setting = settings.get("metrics")
    if setting is None:
        return ()
    if not isinstance(setting.value, tree.Tuple) or not all(i.name for i in setting.value.items):
        raise error(
            "E0429",
            "each metric needs a name",
            setting.value.span,
            help="write `metrics = (accuracy = accuracy(logits, y))`",
        )
    return setting.value.items


def metric_value(cx: Context, settings: Settings, item: tree.Argument, scope: Scope) -> TensorValue:
    """One metric; the name `loss` stands for the loss."""
    inner = Scope(scope, "metrics")
    if settings.get("loss"):
        inner.define_lazy("loss", lambda: loss_value(cx, settings, scope))
    value = cx.eval(item.value, inner)
    if isinstance(value, Poison):
        raise Poisoned
    if not isinstance(value, TensorValue):
        value = as_tensor(cx, value, "f32", item.value.span)
    if any(not isinstance(d, int) for d in value.shape):
        raise error(
            "E0429",
            f"the metric `{item.name}` is {describe(value)}: one value for each sample",
            item.value.span,
            help="`mean(...)` it",
        )
    return value


def finish_graph(cx: Context, graph: Graph) -> None:
    """Gradients written out, what nothing needs removed."""
    expand_gradients(graph)
    dead_code.run(graph)
    kept = {graph.node(id).attrs["name"] for id in graph.inputs}
    cx.scalars = {name: expr for name, expr in cx.scalars.items() if name in kept}


# ---------------------------------------------------------------- evaluations
def evaluations(section: Section, clock: str) -> list[Evaluation]:
    """One for each part of the split that is not for training, and one for each `eval`."""
    settings, problems = section.settings, Collected()
    parts = section.parts(clock)
    scored = settings.get("loss") or settings.get("metrics")
    names: list[str] = (
        [p for p in ("val", "test") if p in parts and len(parts[p])] if scored else []
    )
    if not names and settings.get("metrics"):
        names = ["train"]
    built = [
        problems.attempt(_evaluation, section, part, settings, (), clock, part) for part in names
    ]
    for written in inner_sections(section.tree, "eval"):
        built.append(problems.attempt(_written, section, written, clock))
    problems.finish()
    return [evaluation for evaluation in built if evaluation is not None]


def _written(section: Section, written: tree.Section, clock: str) -> Evaluation | None:
    """`eval NAME(every = 100steps) { metrics = ... }`: may use other data."""
    every: int | None = None
    for item in named_arguments(written, ("every",)):
        value = section.static(item.value)
        if isinstance(value, Duration):
            value = in_steps(_static_context(section), value, item.span)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise error(
                "E0418", f"`every` is a duration; this is {describe(value)}", item.value.span
            )
        every = value
    used = section.sources_in(written)
    source = used[0] if used else clock
    parts = section.parts(source)
    split = next((p for p in ("val", "test", "train") if p in parts), "train")
    faults: list[Diagnostic] = []
    own = read_settings(written, faults)
    if faults:
        raise NncError(*faults)
    return _evaluation(section, written.name, own, (written,), source, split, every)


def _keep_to_source(section: Section, graph: Graph, source: str) -> None:
    """An evaluation goes over one data section: a loss that reads another one is left out."""
    for key, value in list(graph.outputs.items()):
        behind = networkx.ancestors(graph.nx, value.node) | {value.node}
        inputs = [graph.node(id).attrs for id in graph.inputs if id in behind]
        read = {a["name"].partition(".")[0] for a in inputs if a["kind"] == "batch"}
        others = ", ".join(f"`{name}`" for name in sorted(read - {source}))
        if others and key != "@loss":
            name = key.removeprefix("@metrics/")
            raise error(
                "E0434", f"the metric `{name}` reads {others}, and its samples are those of "
                f"`{source}`", section.place,
                help="an `eval` section of its own goes over the data that it names",
            )  # fmt: skip
        if others:
            del graph.outputs[key]
    dead_code.run(graph)
    unread = [id for id in graph.inputs if not graph.nx.out_degree(id)]
    for id in set(unread) - {value.node for value in graph.outputs.values()}:
        graph.remove(id)


def _static_context(section: Section) -> Context:
    cx = section.module.context()
    cx.world = section.world
    return cx


def _evaluation(
    section: Section,
    name: str,
    settings: Settings,
    inner: Sequence[tree.Section],
    source: str,
    split: str,
    every: int | None = None,
) -> Evaluation | None:
    graph = Graph(f"evaluate {name}")
    cx = section.context(graph, training=False)
    scope = section.scope(cx, inner)
    problems = Collected()
    values: dict[str, Any] = {}
    if settings.get("loss"):
        values["@loss"] = problems.attempt(loss_value, cx, settings, scope)
    for item in metric_items(settings):
        metric = problems.attempt(metric_value, cx, settings, item, scope)
        values[f"@metrics/{item.name}"] = metric
    problems.finish()
    graph.outputs.update({key: value.tensor.value for key, value in values.items()})
    _keep_to_source(section, graph, source)
    if not graph.outputs:
        return None
    precision = precision_of(section.settings)
    section.pipeline.apply("precision", graph, lambda graph: multiply_in(graph, precision))
    section.pipeline.apply("autodiff", graph, partial(finish_graph, cx))
    common.run(graph)  # what two metrics share is accumulated once
    cut = split_evaluation(graph, BATCH)
    for part in (cut.batch, cut.finish):
        dead_code.run(part)
        section.pipeline.run(part, BEFORE)  # a part of an evaluation is not differentiated further
    return Evaluation(name, source, split, cut.batch, cut.merge, cut.finish, cx.scalars, every)
