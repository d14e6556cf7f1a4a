"""One `train` section to a `Training`: step graphs, evaluations, forwards (semantics 12 to 18)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import networkx

from nnc.elaborate.arithmetic import as_tensor
from nnc.elaborate.calls import apply, invoke
from nnc.elaborate.context import Context, Naming, World
from nnc.elaborate.module import Module
from nnc.elaborate.places import place_names
from nnc.elaborate.scope import Scope
from nnc.elaborate.settings import Settings, read_settings
from nnc.elaborate.statements import evaluate_let
from nnc.elaborate.types import in_steps
from nnc.elaborate.values import (
    Duration,
    ListValue,
    PathRef,
    Poison,
    Poisoned,
    Template,
    TensorValue,
    TupleValue,
    WeightsValue,
    describe,
    is_number,
)
from nnc.ir.dims import symbol
from nnc.ir.graph import Graph
from nnc.ir.program import Evaluation, Forward, IndexBound, Phase, Step, Stop, Training
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic, Label, NncError, error, suggest
from nnc.language.tree import Span
from nnc.language.walk import walk
from nnc.passes.autodiff import DifferentiationError, expand_gradients
from nnc.passes.dead_code import dead_code
from nnc.passes.split_evaluation import split_evaluation

BATCH = "N"


@dataclass
class Collected:
    """Errors of independent parts of a section, to be raised together."""

    found: list[Diagnostic]
    poisoned: bool = False

    def attempt(self, part: Callable[[], Any]) -> Any:
        try:
            return part()
        except NncError as failure:
            self.found.extend(failure.diagnostics)
        except Poisoned:
            self.poisoned = True
        return None

    def finish(self) -> None:
        if self.found:
            raise NncError(*self.found)
        if self.poisoned:
            raise Poisoned


class TrainBuilder:
    """Builds the graphs of one `train` section."""

    def __init__(
        self, module: Module, section: tree.Section, *, seed: int | None, epochs: int | None,
        steps: int | None,
    ):
        self.module = module
        self.section = section
        self.errors = Collected([])
        self.settings = read_settings(section)
        self.world = World(module.data)
        self.clock = self._clock()
        self.seed = seed if seed is not None else self._int("seed", self.settings, 0)
        self.override = (epochs, steps)
        source = module.data.source(module.context(), self.clock)
        self.world.steps_per_epoch = source.steps_per_epoch

    # ------------------------------------------------------------ the whole
    def build(self) -> Training:
        phases = [p for p in self._phases() if p is not None]
        evaluations = self.errors.attempt(self._evaluations) or []
        forwards = self.errors.attempt(self._forwards) or []
        stop = self.errors.attempt(self._stop)
        self.errors.attempt(self._unused_lets)
        self.errors.finish()
        training = Training(
            name=self.section.name, state={}, phases=phases, evaluations=evaluations,
            forwards=forwards, sources={}, clock=self.clock,
            steps_per_epoch=self.world.steps_per_epoch or 1, seed=self.seed, stop=stop,
            file=self.module.source.path, doc=self.section.doc,
        )
        self._keep_used(training)
        training.bounds = list(index_bounds(training))
        return training

    def _keep_used(self, training: Training) -> None:
        """State and sources that some graph reads."""
        used: dict[str, set[str]] = {"state": set(), "batch": set()}
        graphs = [s.graph for p in training.phases for s in p.steps]
        graphs += [g for e in training.evaluations for g in (e.batch, e.finish)]
        graphs += [f.graph for f in training.forwards]
        for graph in graphs:
            for id in graph.inputs:
                attrs = graph.node(id).attrs
                if attrs["kind"] in used:
                    used[attrs["kind"]].add(attrs["name"])
        training.state = {p: e for p, e in self.world.state.items() if p in used["state"]}
        names = {name.split(".")[0] for name in used["batch"]} | {self.clock}
        data = self.module.data
        training.sources = {n: data.source(self.module.context(), n) for n in sorted(names)}

    # ------------------------------------------------------------ clock and counts
    def _clock(self) -> str:
        sections = self.module.data.sections
        setting = self.settings.get("clock")
        if setting is not None:
            name = setting.value.id if isinstance(setting.value, tree.Name) else ""
            if name not in sections:
                raise error("E0416", "`clock` names a data section", setting.value.span,
                            help=f"it is one of {', '.join(sections)}")
            return name
        used = sorted({
            node.id for node in walk(self.section)
            if isinstance(node, tree.Name) and node.id in sections
        })
        if len(used) == 1:
            return used[0]
        place = self.section.name_span or self.section.span
        if not used:
            names = [n for n in self.module.scope.names() if n in sections]
            raise error("E0417", f"`{self.section.name}` uses no data", place,
                        help=f"use a field such as `{names[0]}.x`" if names
                        else "write a `data` section and use its fields")
        raise error("E0416", f"`{self.section.name}` uses {' and '.join(used)}: which one counts "
                    "the epochs?", place, help=f"write `clock = {used[0]}`")

    def _int(self, name: str, settings: Settings, default: int) -> int:
        found = settings.get(name)
        if found is None:
            return default
        value = self.module.context().eval(found.value, self.module.scope)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise error("E0418", f"`{name}` must be an int of at least 0; this is "
                        f"{describe(value)}", found.value.span)
        return value

    def _count(self, settings: Settings, place: Span, override: tuple[Any, Any]) -> int:
        """How many cycles: `epochs` or `steps`, from the command line or the program."""
        epochs, steps = override
        length = self.world.steps_per_epoch or 1
        if steps is not None:
            return int(steps)
        if epochs is not None:
            return int(epochs) * length
        given = [k for k in ("epochs", "steps") if settings.get(k)]
        if len(given) == 2:
            raise error("E0419", "give `epochs` or `steps`, not both", settings["steps"].span,
                        Label(settings["epochs"].span, "and here"))
        if not given:
            raise error("E0420", "how long does this train?", place,
                        help="write `epochs = 10` or `steps = 1_000`")
        found = settings[given[0]]
        cx = self.module.context()
        cx.world = self.world
        value = cx.eval(found.value, self.module.scope)
        if isinstance(value, Duration):
            return in_steps(cx, value, found.value.span)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise error("E0418", f"`{given[0]}` must be an int of at least 1; this is "
                        f"{describe(value)}", found.value.span)
        return value * (length if given[0] == "epochs" else 1)

    # ------------------------------------------------------------ phases and steps
    def _phases(self) -> Iterator[Phase | None]:
        written = [s for s in self.section.body if _is_section(s, "phase")]
        if not written:
            yield self._phase(self.section, self.settings, self.override, "main")
            return
        for section in written:
            settings = {**self.settings, **read_settings(section, self.section)}
            for key in ("epochs", "steps"):
                if read_settings(section, self.section).get(key) is not None:
                    settings.pop("steps" if key == "epochs" else "epochs", None)
            for name, value in section_arguments(section):
                if name not in ("epochs", "steps"):
                    raise error("E0403", f"a phase has no argument `{name}`", value.span,
                                help=suggest(name, ("epochs", "steps")))
                settings[name] = tree.Set((tree.Name(name, value.span),), value.value, value.span)
                settings.pop("steps" if name == "epochs" else "epochs", None)
            yield self._phase(section, settings, (None, None), section.name)

    def _phase(
        self, section: tree.Section, settings: Settings, override: tuple[Any, Any], name: str
    ) -> Phase | None:
        count = self._count(settings, section.name_span or section.span, override)
        self.world.steps = count
        self.world.epochs = -(-count // (self.world.steps_per_epoch or 1))
        steps = [s for s in section.body if _is_section(s, "step")]
        if not steps and section is not self.section:
            steps = [s for s in self.section.body if _is_section(s, "step")]
        built = []
        if not steps:
            suffix = "" if name == "main" else f"_{name}"
            extra = [section] if section is not self.section else []
            built.append(self.errors.attempt(
                lambda: StepBuilder(self, settings, extra, "step" + suffix).build()
            ))
        for step in steps:
            own = {**settings, **read_settings(step, self.section)}
            extra = [section, step] if section is not self.section else [step]
            built.append(self.errors.attempt(
                lambda own=own, extra=extra, step=step: replace(
                    StepBuilder(self, own, extra, step.name).build(), times=self._times(step)
                )
            ))
        return Phase(name, count, [s for s in built if s is not None])

    def _times(self, step: tree.Section) -> int:
        times = 1
        for name, item in section_arguments(step):
            if name != "times":
                raise error("E0403", f"a step has no argument `{name}`", item.span,
                            help=suggest(name, ("times",)))
            value = self.module.context().eval(item.value, self.module.scope)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise error("E0418", f"`times` must be an int of at least 1; this is "
                            f"{describe(value)}", item.value.span)
            times = value
        return times

    # ------------------------------------------------------------ scopes
    def context(self, graph: Graph, training: bool) -> Context:
        batch = None if training else symbol(BATCH)
        cx = Context(self.world, graph, training=training, batch=batch)
        cx.naming = Naming("", place_names(self.section.body))
        return cx

    def scope(self, cx: Context, sections: Sequence[tree.Section]) -> Scope:
        """The names of the section (and of the phase and step inside it) for one graph."""
        scope = Scope(self.module.scope, "train")
        if len(self.module.data.sections) == 1:
            only = next(iter(self.module.data.sections))
            scope.define_lazy(BATCH, lambda: cx.batch_size(only))
        for section in (self.section, *sections):
            if section is not self.section:
                scope = Scope(scope, section.kind)
            for statement in section.body:
                if isinstance(statement, tree.Let):
                    _define_let(cx, statement, scope)
        cx.pending = lambda: _pending(scope)
        return scope

    def _unused_lets(self) -> None:
        """A definition that nothing needs does not run, but its errors count."""
        cx = self.context(Graph("unused"), training=True)
        cx.world = replace(self.world, state=dict(self.world.state),
                           applications=dict(self.world.applications))
        scope = self.scope(cx, [])
        problems = Collected([])
        for name, binding in list(scope.bindings.items()):
            problems.attempt(lambda b=binding, n=name: b.force(n, None))
        if problems.found:
            raise NncError(*problems.found)

    # ------------------------------------------------------------ evaluation
    def _evaluations(self) -> list[Evaluation]:
        parts = self.module.data.source(self.module.context(), self.clock).parts
        built = []
        scored = self.settings.get("loss") or self.settings.get("metrics")
        for part in ("val", "test") if scored else ():
            if part in parts and len(parts[part]):
                built.append(self._evaluation(part, self.settings, [], self.clock, part, None))
        if not built and self.settings.get("metrics"):
            built.append(self._evaluation("train", self.settings, [], self.clock, "train", None))
        for section in self.section.body:
            if isinstance(section, tree.Section) and section.kind == "eval":
                built.append(self._written_evaluation(section))
        return built

    def _written_evaluation(self, section: tree.Section) -> Evaluation:
        settings = read_settings(section, self.section)
        every, cx = None, self.module.context()
        cx.world = self.world
        for name, item in section_arguments(section):
            if name != "every":
                raise error("E0403", f"`eval` has no argument `{name}`", item.span,
                            help=suggest(name, ("every",)))
            value = cx.eval(item.value, self.module.scope)
            every = in_steps(cx, value, item.span) if isinstance(value, Duration) else value
            if not isinstance(every, int) or every < 1:
                raise error("E0418", f"`every` is a duration; this is {describe(value)}",
                            item.value.span)
        used = sorted({
            node.id for node in walk(section)
            if isinstance(node, tree.Name) and node.id in self.module.data.sections
        })
        source = used[0] if used else self.clock
        parts = self.module.data.source(self.module.context(), source).parts
        split = next((p for p in ("val", "test", "train") if p in parts), "train")
        own = {"metrics": settings["metrics"]} if settings.get("metrics") else {}
        return self._evaluation(section.name, own, [section], source, split, every)

    def _evaluation(
        self, name: str, settings: Settings, sections: Sequence[tree.Section], source: str,
        split: str, every: int | None,
    ) -> Evaluation:
        graph = Graph(f"evaluate {name}")
        cx = self.context(graph, training=False)
        scope = self.scope(cx, sections)
        if settings.get("loss"):
            graph.outputs["@loss"] = loss_value(cx, settings, scope).tensor.value
        for key, value in metric_values(cx, settings, scope):
            graph.outputs[f"@metrics/{key}"] = value.tensor.value
        finish_graph(cx, graph)
        cut = split_evaluation(graph, BATCH)
        dead_code.run(cut.batch)
        dead_code.run(cut.finish)
        return Evaluation(name, source, split, cut.batch, cut.merge, cut.finish, cx.scalars, every)

    # ------------------------------------------------------------ forward
    def _forwards(self) -> list[Forward]:
        """Inference of each instance that the section names with `let`."""
        names = [n.id for s in self.section.body if isinstance(s, tree.Let) for n in s.names]
        return [
            forward(self.world, name)
            for name in names
            if name in self.world.applications and self.world.applications[name].arguments
        ]

    # ------------------------------------------------------------ early stopping
    def _stop(self) -> Stop | None:
        setting = self.settings.get("stop")
        if setting is None:
            return None
        call = setting.value
        is_patience = (
            isinstance(call, tree.Call) and isinstance(call.function, tree.Name)
            and call.function.id == "patience"
        )
        if not is_patience:
            raise error("E0421", "`stop` is `patience(5epochs, on = val.loss)`", call.span)
        duration, on, mode = None, ("val", "loss"), ""
        for item in call.arguments:
            if item.name == "on":
                on = _monitored(item.value)
            elif item.name == "mode":
                mode = item.value.value if isinstance(item.value, tree.String) else ""
            elif not item.name or item.name == "duration":
                duration = item
            else:
                raise error("E0211", f"`patience` has no parameter `{item.name}`", item.span,
                            help=suggest(item.name, ("duration", "on", "mode")))
        if duration is None:
            raise error("E0212", "`patience` needs a duration", call.span, help="`5epochs`")
        cx = self.module.context()
        cx.world = self.world
        value = cx.eval(duration.value, self.module.scope)
        steps = in_steps(cx, value, duration.span) if isinstance(value, Duration) else None
        if steps is None:
            raise error("E0421", f"`patience` needs a duration; this is {describe(value)}",
                        duration.span, help=f"write `{duration.span.text}epochs`")
        split, metric = on
        self._check_monitored(split, metric, call.span)
        if mode not in ("", "min", "max"):
            raise error("E0421", '`mode` is "min" or "max"', call.span)
        return Stop(metric, split, max(steps, 1), mode or ("min" if metric == "loss" else "max"))

    def _check_monitored(self, split: str, metric: str, span: Span) -> None:
        parts = self.module.data.source(self.module.context(), self.clock).parts
        if split not in parts:
            raise error("E0421", f"`{self.clock}` has no part `{split}` to watch", span,
                        help="write `split = (train = 80%, val = 20%)` in its data section")
        known = ["loss"]
        setting = self.settings.get("metrics")
        if setting is not None and isinstance(setting.value, tree.Tuple):
            known += [item.name for item in setting.value.items]
        if metric not in known:
            raise error("E0421", f"there is no metric `{metric}` to watch", span,
                        help=suggest(metric, known))


class StepBuilder:
    """Builds one step graph: loss, gradients, their transforms, updates."""

    def __init__(
        self, train: TrainBuilder, settings: Settings, sections: Sequence[tree.Section], name: str
    ):
        self.train = train
        self.settings = settings
        self.name = name
        self.graph = Graph(name)
        self.cx = train.context(self.graph, training=True)
        self.scope = train.scope(self.cx, sections)

    def build(self) -> Step:
        cx, settings = self.cx, self.settings
        place = self.train.section.name_span or self.train.section.span
        problems = Collected([])
        loss = problems.attempt(lambda: loss_value(cx, settings, self.scope, place))
        optimizer = problems.attempt(lambda: self._optimizer(place))
        problems.finish()
        paths = self._updated(loss)
        gradients = self._gradients(loss, paths)
        gradients = self._transformed(gradients)
        self.graph.outputs["@loss"] = loss.tensor.value
        for path in paths:
            rule = self._rule(optimizer, path)
            self._update(rule, path, gradients.leaves[path])
        for path, value in cx.written.items():
            if path.startswith("@opt/") or self._is_updated(path):
                self.graph.outputs[path] = value.tensor.value
        finish_graph(cx, self.graph)
        return Step(self.name, self.graph, cx.scalars, 1, (self.name,))

    # ------------------------------------------------------------ what is updated
    def _updated(self, loss: TensorValue) -> list[str]:
        reached = networkx.ancestors(self.graph.nx, loss.tensor.value.node)
        reads = [self.graph.node(id).attrs["name"] for id in self.graph.inputs if id in reached]
        state = self.train.world.state
        weights = [p for p in state if p in set(reads) and state[p].kind == "param"]
        setting = self.settings.get("update")
        self.prefixes: list[str] | None = None
        if setting is not None:
            value = self.cx.eval(setting.value, self.scope)
            many = value.values if isinstance(value, (ListValue, TupleValue)) else (value,)
            for one in many:
                if not isinstance(one, (Template, PathRef)):
                    raise error("E0422", f"`update` names instances; this is {describe(one)}",
                                setting.value.span)
            self.prefixes = [one.path for one in many]
        chosen = [p for p in weights if self._is_updated(p)]
        if not chosen:
            setting = self.settings.get("loss")
            place = setting.value.span if setting else self.train.section.span
            if weights:
                raise error("E0423", "the loss reaches no weight of `update`", place,
                            Label(self.settings["update"].value.span, "these are updated"))
            raise error("E0423", "the loss reaches no weight: there is nothing to train", place,
                        help="it must depend on the output of an instance, not under "
                        "`stop_gradient` or `frozen`")
        return chosen

    def _is_updated(self, path: str) -> bool:
        if self.prefixes is None:
            return True
        return any(path == p or path.startswith(p + ".") for p in self.prefixes)

    # ------------------------------------------------------------ gradients
    def _gradients(self, loss: TensorValue, paths: list[str]) -> WeightsValue:
        cx, span = self.cx, self.settings["loss"].value.span
        inputs = [cx.inputs[path] for path in paths]
        results = cx.emit(span, "gradient", loss.tensor, *inputs)
        results = results if isinstance(results, tuple) else (results,)
        names = self.train.world.names
        leaves = {p: TensorValue(t, names[p]) for p, t in zip(paths, results, strict=True)}
        return WeightsValue(leaves)

    def _transformed(self, gradients: WeightsValue) -> WeightsValue:
        """`clip_norm`, `clip_value`: functions of the library over the tree of gradients."""
        for name in ("clip_norm", "clip_value"):
            setting = self.settings.get(name)
            if setting is None:
                continue
            limit = self.cx.eval(setting.value, self.scope)
            if not is_number(limit) or limit <= 0:
                raise error("E0418", f"`{name}` must be a positive number; this is "
                            f"{describe(limit)}", setting.value.span)
            binding = self.scope.find(name)
            function = binding.force(name, None) if binding else None
            span = setting.span
            args = [("", gradients, span), ("", limit, setting.value.span)]
            gradients = invoke(self.cx, function, args, span)
        return gradients

    # ------------------------------------------------------------ the optimizer
    def _optimizer(self, place: Span) -> list[tuple[str | None, Template]]:
        """Groups: (glob of paths or None for all, rule), the first match wins."""
        setting = self.settings.get("optimizer")
        if setting is None:
            raise error("E0424", "how are the weights updated?", place,
                        help="write `optimizer = Adam(1e-3)`")
        with self.cx.assigned(naming=Naming("", {})):
            value = self.cx.eval(setting.value, self.scope)
        span = setting.value.span
        if isinstance(value, ListValue):
            groups = []
            for item in value.values:
                pair = item.values if isinstance(item, TupleValue) else ()
                if len(pair) != 2:
                    raise error("E0425", "a group is a pair (what, optimizer)", span)
                what = pair[0] if isinstance(pair[0], str) else getattr(pair[0], "path", None)
                if what is None:
                    raise error("E0425", f"a group names an instance or a pattern such as "
                                f'"*.b"; this is {describe(pair[0])}', span)
                groups.append((what, self._check_rule(pair[1], span)))
            return groups
        return [(None, self._check_rule(value, span))]

    def _check_rule(self, value: Any, span: Span) -> Template:
        if isinstance(value, Poison):
            raise Poisoned
        good = isinstance(value, Template) and len(value.block.definition.inputs or ()) == 2
        if not good:
            raise error("E0425", f"an optimizer is a block with the inputs (p, grad); this is "
                        f"{describe(value)}", span)
        return value

    def _rule(self, groups: list[tuple[str | None, Template]], path: str) -> Template:
        for what, rule in groups:
            if what is None or path == what or path.startswith(f"{what}.") or fnmatchcase(
                path, what
            ):
                return rule
        raise error("E0426", f"no group of the optimizer matches `{path}`",
                    self.settings["optimizer"].value.span,
                    help="the last group can be the whole net: `(net, Adam(1e-3))`")

    def _update(self, rule: Template, path: str, gradient: TensorValue) -> None:
        cx, span = self.cx, self.settings["optimizer"].value.span
        named = replace(rule, naming=Naming("", {}), place=("@update." + path,) * 2)
        names = self.train.world.names[path]
        parameter = TensorValue(cx.inputs[path], names)
        with cx.assigned(
            state_path=f"@opt/{self.name}/{{}}/{path}", state_kind="optimizer", counter="updates"
        ):
            result = apply(cx, named, [("", parameter, span), ("", gradient, span)], span)
        value = as_tensor(cx, result, parameter.dtype, span)
        if value.type != parameter.type:
            raise error("E0301", f"the optimizer makes {describe(value)} of `{path}`, "
                        f"{describe(parameter)}", span)
        self.graph.outputs[path] = value.tensor.value


# ---------------------------------------------------------------- parts of every graph
def loss_value(
    cx: Context, settings: Settings, scope: Scope, place: Span | None = None
) -> TensorValue:
    setting = settings.get("loss")
    if setting is None:
        raise error("E0427", "there is no loss to minimize", place,
                    help="write `loss = cross_entropy(...)`")
    value = cx.eval(setting.value, scope)
    if isinstance(value, Poison):
        raise Poisoned
    span = setting.value.span
    if not isinstance(value, TensorValue):
        raise error("E0428", f"the loss must be a scalar tensor; this is {describe(value)}", span)
    if value.rank or value.dtype not in ("f32", "f64", "f16", "bf16"):
        raise error("E0428", f"the loss must be one number; this is {describe(value)}", span,
                    help="`mean(...)` it")
    return value


def metric_values(
    cx: Context, settings: Settings, scope: Scope
) -> Iterator[tuple[str, TensorValue]]:
    setting = settings.get("metrics")
    if setting is None:
        return
    inner = Scope(scope, "metrics")
    if settings.get("loss"):
        inner.define_lazy("loss", lambda: loss_value(cx, settings, scope))
    if not isinstance(setting.value, tree.Tuple) or not all(i.name for i in setting.value.items):
        raise error("E0429", "`metrics` names its values", setting.value.span,
                    help="write `metrics = (accuracy = accuracy(logits, y))`")
    for item in setting.value.items:
        value = cx.eval(item.value, inner)
        if isinstance(value, Poison):
            raise Poisoned
        if not isinstance(value, TensorValue):
            value = as_tensor(cx, value, "f32", item.value.span)
        if any(not isinstance(d, int) for d in value.shape):
            raise error("E0429", f"the metric `{item.name}` is {describe(value)}: one value for "
                        "each sample", item.value.span, help="`mean(...)` it")
        yield item.name, value


def finish_graph(cx: Context, graph: Graph) -> None:
    """Gradients written out, what nothing needs removed."""
    try:
        expand_gradients(graph)
    except DifferentiationError as failure:
        origin = failure.node.origin[0] if failure.node.origin else None
        where = f" (line {origin.line})" if origin else ""
        raise error("E0430", f"{failure}{where}", None,
                    help="`stop_gradient` or `with_gradient` say what its gradient is") from None
    dead_code.run(graph)
    kept = {graph.node(id).attrs["name"] for id in graph.inputs}
    cx.scalars = {name: expr for name, expr in cx.scalars.items() if name in kept}


def forward(world: World, path: str) -> Forward:
    """Inference of the instance at `path`, its batch size symbolic."""
    application = world.applications[path]
    graph = Graph(f"forward {path}")
    cx = Context(world, graph, training=False, batch=symbol(BATCH))
    args = []
    for name, type, names in application.arguments:
        tensor = cx.input(name, type, "argument")
        args.append((name, TensorValue(tensor, names), application.span))
    result = apply(cx, application.template, args, application.span)
    if isinstance(result, TupleValue):
        for number, (name, value) in enumerate(result.items):
            graph.outputs[name or str(number)] = value.tensor.value
    else:
        graph.outputs["output"] = as_tensor(cx, result, "f32", application.span).tensor.value
    dead_code.run(graph)
    return Forward(path, graph)


def index_bounds(training: Training) -> Iterator[IndexBound]:
    """Data fields whose values index an axis: they are checked before training (labels, ids)."""
    seen: set[tuple[str, int]] = set()
    for phase in training.phases:
        for step in phase.steps:
            for node in step.graph:
                if node.op not in ("take", "take_along"):
                    continue
                source = _field_behind(step.graph, node.operands[1].node)
                size = step.graph.type(node.operands[0]).shape[node.attrs["axis"]]
                if source is None or not isinstance(size, int) or (source, size) in seen:
                    continue
                seen.add((source, size))
                name, _, field_name = source.partition(".")
                yield IndexBound(name, field_name, size, node.origin[0] if node.origin else None)


_MOVES = ("reshape", "transpose", "broadcast", "slice", "reverse")


def _field_behind(graph: Graph, id: int) -> str | None:
    """The data field whose values arrive at node `id` only moved about."""
    node = graph.node(id)
    while node.op in _MOVES:
        node = graph.node(node.operands[0].node)
    if node.op == "input" and node.attrs["kind"] == "batch":
        return str(node.attrs["name"])
    return None


# ---------------------------------------------------------------- reading sections
def section_arguments(section: tree.Section) -> list[tuple[str, tree.Argument]]:
    return [(item.name, item) for item in section.arguments]


def _is_section(statement: Any, kind: str) -> bool:
    return isinstance(statement, tree.Section) and statement.kind == kind


def _define_let(cx: Context, statement: tree.Let, scope: Scope) -> None:
    """A definition of a section runs where it is first needed, once a graph."""
    values: dict[str, Any] = {}

    def compute(name: str) -> Callable[[], Any]:
        def run() -> Any:
            if not values:
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
                yield lambda b=binding, n=name: b.force(n, None)
        level = level.parent


def _monitored(expr: tree.Expr) -> tuple[str, str]:
    if isinstance(expr, tree.Attribute) and isinstance(expr.value, tree.Name):
        return expr.value.id, expr.name
    raise error("E0421", "`on` names a part and a metric: `val.loss`", expr.span)
