"""The plan of a `train` section: which data counts, how long it runs, its phases and steps."""

from __future__ import annotations

from dataclasses import replace

from nnc.elaborate.collected import Collected
from nnc.elaborate.layers import Stacking
from nnc.elaborate.module import Module
from nnc.elaborate.settings import Settings, read_settings
from nnc.elaborate.train.bounds import index_bounds
from nnc.elaborate.train.common import (
    Section,
    as_setting,
    inner_sections,
    merged,
    missing,
    named_arguments,
)
from nnc.elaborate.train.inference import forwards
from nnc.elaborate.train.initial import initial_weights
from nnc.elaborate.train.scoring import evaluations
from nnc.elaborate.train.sharing import check_sharing
from nnc.elaborate.train.step import StepBuilder
from nnc.elaborate.train.stopping import early_stop
from nnc.elaborate.types import in_steps
from nnc.elaborate.values import Duration, describe
from nnc.elaborate.world import World
from nnc.ir.graph import Graph
from nnc.ir.program import Phase, Step, Training
from nnc.language import tree
from nnc.language.diagnostics import Label, NncError, error
from nnc.passes.pipeline import STANDARD, Pipeline

#: Stands in for a count that has an error, so that the rest can be checked.
ANY_COUNT = 1000


class TrainBuilder:
    """Builds the `Training` of one section; `seed`, `epochs` and `steps` override the program's.

    With `stacking` it may raise `Unstackable`: then another try has to know of that.
    """

    def __init__(
        self,
        module: Module,
        tree_section: tree.Section,
        *,
        seed: int | None,
        epochs: int | None,
        steps: int | None,
        pipeline: Pipeline = STANDARD,
        stacking: Stacking | None = None,
    ):
        self.section = Section(module, tree_section, pipeline)
        self.world.stacking = stacking
        self.errors = Collected(self.section.faults)
        self.losses: list[tuple[Settings, list[tree.Section]]] = []
        self.clock = self.errors.attempt(self._clock) or ""
        self.given = {"epochs": epochs, "steps": steps}
        self.seed = self.errors.attempt(self._seed, seed) or 0
        source = self.errors.attempt(module.data.source, module.context(), self.clock)
        self.world.steps_per_epoch = source.steps_per_epoch if source else ANY_COUNT

    @property
    def world(self) -> World:
        return self.section.world

    def build(self) -> Training:
        """Everything, or `NncError` with every independent error of the section."""
        section, attempt = self.section, self.errors.attempt
        phases = self._phases()
        scored = attempt(evaluations, section, self.clock)
        models = attempt(forwards, section, self.losses)
        stop = attempt(early_stop, section, self.clock)
        loads = attempt(initial_weights, section)
        attempt(self._unused_definitions)
        attempt(check_sharing, section, phases, scored or [])
        self.errors.finish()
        training = Training(
            name=section.tree.name,
            state={},
            phases=phases,
            evaluations=scored or [],
            forwards=models or [],
            sources={},
            clock=self.clock,
            steps_per_epoch=section.length,
            seed=self.seed,
            stop=stop,
            loads=loads or [],
            file=section.module.source.path,
            doc=section.tree.doc,
            pipeline=section.pipeline,
        )
        self._keep_used(training)
        training.bounds = list(index_bounds(training))
        return training

    def _keep_used(self, training: Training) -> None:
        """State and sources that some graph reads."""
        used: dict[str, set[str]] = {"state": set(), "batch": set()}
        for graph in training.graphs():
            for id in graph.inputs:
                attrs = graph.node(id).attrs
                if attrs["kind"] in used:
                    used[attrs["kind"]].add(attrs["name"])
        training.state = {p: e for p, e in self.world.state.items() if p in used["state"]}
        names = {name.split(".")[0] for name in used["batch"]} | {self.clock}
        module = self.section.module
        training.sources = {n: module.data.source(module.context(), n) for n in sorted(names)}

    def _unused_definitions(self) -> None:
        """A definition that nothing needs does not run, but its errors count."""
        cx = self.section.context(Graph("unused"), training=True)
        world = self.world
        cx.world = replace(world, state=dict(world.state), applications=dict(world.applications))
        problems = Collected()
        scope = self.section.scope(cx)
        for let in [s for s in self.section.tree.body if isinstance(s, tree.Let)]:
            if let.span.start not in world.defined:
                for name in let.names:
                    problems.attempt(scope.bindings[name.id].force, name.id, None)
        if problems.found:
            raise NncError(*problems.found)

    # ------------------------------------------------------------ settings of the whole
    def _clock(self) -> str:
        """The data section whose epochs count."""
        section = self.section
        known = section.module.data.sections
        setting = section.settings.get("clock")
        if setting is not None:
            name = setting.value.id if isinstance(setting.value, tree.Name) else ""
            if name not in known:
                raise error(
                    "E0416",
                    "`clock` names a data section",
                    setting.value.span,
                    help=f"it is one of {', '.join(known)}",
                )
            return name
        used = section.sources_in(section.tree)
        if len(used) == 1:
            return used[0]
        if not used:
            raise error(
                "E0417",
                f"`{section.tree.name}` uses no data",
                section.place,
                help=f"use a field such as `{next(iter(known))}.x`"
                if known
                else "write a `data` section and use its fields",
            )
        self.errors.found += error(
            "E0416",
            f"`{section.tree.name}` uses {' and '.join(used)}: which one counts the epochs?",
            section.place,
            help=f"write `clock = {used[0]}`",
        ).diagnostics
        return used[0]

    def _seed(self, given: int | None) -> int:
        setting = self.section.settings.get("seed")
        seed = given
        if seed is None:
            seed = self.section.whole(setting.value, "seed", 0) if setting else 0
        if not 0 <= seed < 2**64:
            raise error(
                "E0418",
                f"a seed is at least 0 and below 2^64; this is {seed}",
                setting.value.span if setting and given is None else None,
            )
        return seed

    def _count(self, settings: Settings, place: tree.Span) -> int:
        """How many cycles: `epochs` or `steps`, from the command line or the program."""
        chosen = [k for k in ("epochs", "steps") if k in settings]
        if len(chosen) == 2:
            raise error(
                "E0419",
                "give `epochs` or `steps`, not both",
                settings["steps"].span,
                Label(settings["epochs"].span, "and here"),
            )
        if not chosen:
            help = "write `epochs = 10` or `steps = 1_000`"
            raise missing(
                self.section.tree, "epochs", "E0420", "how long does this train?", help, place
            )
        expr = settings[chosen[0]].value
        value = self.section.static(expr)
        if isinstance(value, Duration):
            cx = self.section.module.context()
            cx.world = self.world
            return in_steps(cx, value, expr.span)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise error(
                "E0418",
                f"`{chosen[0]}` must be an int of at least 1; this is {describe(value)}",
                expr.span,
            )
        return value * (self.section.length if chosen[0] == "epochs" else 1)

    # ------------------------------------------------------------ phases and steps
    def _phases(self) -> list[Phase]:
        section = self.section
        written = inner_sections(section.tree, "phase")
        if not written:
            epochs, steps = self.given["epochs"], self.given["steps"]
            count = steps if epochs is None else epochs * section.length
            if count is None:
                count = self.errors.attempt(self._count, section.settings, section.place)
            return [self._phase(section.tree, section.settings, "main", count or ANY_COUNT)]
        built = [self.errors.attempt(self._written_phase, phase) for phase in written]
        return [phase for phase in built if phase is not None]

    def _written_phase(self, phase: tree.Section) -> Phase:
        own = read_settings(phase, self.errors.found)
        own |= {i.name: as_setting(i) for i in named_arguments(phase, ("epochs", "steps"))}
        settings = merged(self.section.settings, own)
        count = self.errors.attempt(self._count, settings, phase.name_span or phase.span)
        return self._phase(phase, settings, phase.name, count or ANY_COUNT)

    def _phase(self, phase: tree.Section, settings: Settings, name: str, count: int) -> Phase:
        self.world.steps = count
        self.world.epochs = -(-count // self.section.length)
        own = [] if phase is self.section.tree else [phase]
        steps = inner_sections(phase, "step") or inner_sections(self.section.tree, "step")
        built = []
        if not steps:
            step_name = f"step_{name}" if own else "step"
            built.append(self._step(settings, own, step_name, 1))
        for step in steps:
            # Steps of different phases are different functions.
            step_name = f"{name}_{step.name}" if own else step.name
            inner = merged(settings, read_settings(step, self.errors.found))
            times = self.errors.attempt(self._times, step)
            built.append(self._step(inner, [*own, step], step_name, times or 1))
        return Phase(name, count, [step for step in built if step is not None])

    def _step(
        self, settings: Settings, inner: list[tree.Section], name: str, times: int
    ) -> Step | None:
        builder = StepBuilder(self.section, settings, inner, name)
        step = self.errors.attempt(builder.build)
        if step is not None:
            self.losses.append((settings, inner))
        return replace(step, times=times) if step is not None else None

    def _times(self, step: tree.Section) -> int:
        times = 1
        for item in named_arguments(step, ("times",)):
            times = self.section.whole(item.value, "times", 1)
        return times
