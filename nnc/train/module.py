"""The emitted source as a module, and the plan of a run that it and the `Training` agree on.

The loop runs exactly the file that `nnc compile` prints; this is the only place that knows which
names such a file has (docs/architecture.md, "Backends").

A file of another framework may define `from_numpy` and `to_numpy`, which convert dicts of arrays.
Batches, accumulators and outputs are converted here, so that all around it sees NumPy; the state
alone stays the framework's from step to step, and whoever looks into it calls `to_numpy` first.
"""

from __future__ import annotations

import linecache
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from nnc.ir.graph import Graph
from nnc.ir.program import Evaluation, Step, Training
from nnc.train.failures import reported

Arrays = dict[str, Any]
Convert = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class Border:
    """Between NumPy's arrays and those of a framework, both ways; both are NumPy's by default."""

    from_numpy: Convert = dict
    to_numpy: Convert = dict

    @staticmethod
    def of(module: types.ModuleType) -> Border:
        return Border(getattr(module, "from_numpy", dict), getattr(module, "to_numpy", dict))


@dataclass(frozen=True)
class StepPlan:
    """One `step` section as the loop runs it: batch and outputs are NumPy's."""

    name: str
    run: Callable[[Any, Any, Any], tuple[Any, Any]]
    scalars: Callable[..., dict[str, Any]]
    times: int
    sources: tuple[str, ...]  # the sources of which each execution takes a batch
    counter: str  # steps that share an optimizer share its count of updates
    step: Step
    #: several executions in one call, from whole fields on the device, where the file has it:
    #: (state, fields, rows [K, batch] of each source, K of each scalar) -> state, K of each output
    run_many: Callable[[Any, Any, Arrays, Arrays], tuple[Any, Arrays]] | None = None
    fields: tuple[str, ...] = ()  # what it reads of the data, as `source.field`


@dataclass(frozen=True)
class PhasePlan:
    name: str
    first: int  # cycles of the phases before this one
    count: int
    steps: tuple[StepPlan, ...]


@dataclass(frozen=True)
class EvaluationPlan:
    evaluation: Evaluation
    batch: Callable[[Any, Any, Any], Any]
    finish: Callable[[Any, Any, Any, int], Any]


@dataclass(frozen=True)
class Plan:
    """What the loop does, in order, with the functions of the emitted module."""

    init: Callable[[int], Any]
    phases: tuple[PhasePlan, ...]
    evaluations: tuple[EvaluationPlan, ...]
    border: Border = Border()

    @property
    def cycles(self) -> int:
        return sum(phase.count for phase in self.phases)

    def phase_at(self, cycle: int) -> PhasePlan:
        """The phase in which the cycle numbered `cycle` (from 0, over the whole run) falls."""
        return next(p for p in self.phases if cycle < p.first + p.count)


def load_module(source: str, file: str) -> types.ModuleType:
    """Run emitted `source` as a module; tracebacks and debuggers show its lines as of `file`."""
    module = types.ModuleType(PurePath(file).stem)
    module.__file__ = file
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    exec(compile(source, file, "exec"), module.__dict__)
    return module


def compile_steps(module: types.ModuleType, compiler: str) -> None:
    """Put what its function `compiler` makes of them in the place of the steps of `module`."""
    sys.modules[module.__name__] = module  # torch.compile looks there for what a step calls
    steps = [step["function"] for phase in module.PROGRAM["phases"] for step in phase["steps"]]
    for name in dict.fromkeys(steps):
        setattr(module, name, getattr(module, compiler)(getattr(module, name)))


def plan(module: types.ModuleType, training: Training) -> Plan:
    """Join each step and evaluation of `training` with its functions in `module`."""
    border, file = Border.of(module), training.file
    phases: list[PhasePlan] = []
    first = 0
    for phase, emitted in zip(training.phases, module.PROGRAM["phases"], strict=True):
        steps = tuple(
            StepPlan(
                name=step.name,
                run=_step(module, names["function"], step.graph, file),
                scalars=getattr(module, names["scalars"]),
                times=step.times,
                sources=batch_sources(step.graph),
                counter=step.optimizers[0] if step.optimizers else step.name,
                step=step,
                run_many=_many(module, names["function"], step.graph, file),
                fields=batch_fields(step.graph),
            )
            for step, names in zip(phase.steps, emitted["steps"], strict=True)
        )
        phases.append(PhasePlan(phase.name, first, phase.count, steps))
        first += phase.count
    evaluations = tuple(
        EvaluationPlan(
            e,
            _converting(module, names["batch"], e.name, e.batch, file),
            _converting(module, names["finish"], e.name, e.finish, file),
        )
        for e, names in zip(training.evaluations, module.PROGRAM["evaluations"], strict=True)
    )
    return Plan(module.init, tuple(phases), evaluations, border)


def _step(module: types.ModuleType, name: str, graph: Graph, program: str) -> Callable[..., Any]:
    """The step `name` for a batch of NumPy's arrays, with outputs of NumPy's."""
    border, run = Border.of(module), getattr(module, name)

    def step(state: Any, batch: Arrays, scalars: Arrays) -> tuple[Any, Arrays]:
        def inputs() -> Iterator[Arrays]:
            yield {**border.to_numpy(state), **batch, **scalars}

        with reported(str(module.__file__), f"the step `{name}`", program, graph, inputs):
            new, out = run(state, border.from_numpy(batch), scalars)
            return new, border.to_numpy(out)

    return step


def _many(
    module: types.ModuleType, name: str, graph: Graph, program: str
) -> Callable[..., Any] | None:
    """`run_NAME` with outputs of NumPy's, where there is such a function."""
    border, run = Border.of(module), getattr(module, f"run_{name}", None)
    if run is None:
        return None

    def steps(state: Any, data: Arrays, order: Arrays, scalars: Arrays) -> tuple[Any, Arrays]:
        def inputs() -> Iterator[Arrays]:
            arrays, fields = border.to_numpy(state), border.to_numpy(data)
            for turn in range(len(next(iter(order.values())))):
                rows = {source: places[turn] for source, places in order.items()}
                batch = {f: values[rows[f.partition(".")[0]]] for f, values in fields.items()}
                yield {
                    **arrays,
                    **batch,
                    **{key: numbers[turn] for key, numbers in scalars.items()},
                }

        with reported(str(module.__file__), f"the step `{name}`", program, graph, inputs):
            new, outs = run(state, data, order, scalars)
            return new, border.to_numpy(outs)

    return steps


def _converting(
    module: types.ModuleType, name: str, evaluation: str, graph: Graph, program: str
) -> Callable[..., Arrays]:
    """A part of an evaluation for a batch or accumulators of NumPy's, with results of NumPy's."""
    border, function = Border.of(module), getattr(module, name)
    what = f"the evaluation `{evaluation}`"

    def evaluate(state: Any, arrays: Arrays, scalars: Arrays, *rest: Any) -> Arrays:
        def inputs() -> Iterator[Arrays]:
            yield {**border.to_numpy(state), **arrays, **scalars}

        with reported(str(module.__file__), what, program, graph, inputs):
            found = function(state, border.from_numpy(arrays), scalars, *rest)
            return border.to_numpy(found)

    return evaluate


def forward_of(module: types.ModuleType, function: str, program: str = "") -> Callable[..., Any]:
    """`function` of `module`, a `forward`, for arguments of NumPy's with results of NumPy's."""
    border, run = Border.of(module), getattr(module, function)

    def forward(state: Any, *arguments: Any) -> Any:
        with reported(str(module.__file__), "the model", program):
            given = border.from_numpy({str(i): value for i, value in enumerate(arguments)})
            result = run(state, *given.values())
            if isinstance(result, dict):
                return border.to_numpy(result)
            return border.to_numpy({"output": result})["output"]

    return forward


def execution(plan: Plan, number: int) -> tuple[StepPlan, int, int]:
    """The step that is executed as number `number` (from 0) of a run.

    Returns it, its cycle within its phase, and how many updates its optimizer made before.  Beyond
    the end of the plan the last phase goes on.
    """
    updates: Counter[str] = Counter()
    for phase in plan.phases:
        per_cycle = sum(step.times for step in phase.steps)
        inside = number < phase.count * per_cycle or phase is plan.phases[-1]
        cycle, rest = divmod(number, per_cycle) if inside else (phase.count, 0)
        for step in phase.steps:
            updates[step.counter] += cycle * step.times
        for step in phase.steps if inside else ():
            if rest < step.times:
                return step, cycle, updates[step.counter] + rest
            updates[step.counter] += step.times
            rest -= step.times
        number -= phase.count * per_cycle
    raise ValueError("a plan without steps")


def batch_sources(graph: Graph) -> tuple[str, ...]:
    """The data sources that a graph reads, by its inputs `source.field`."""
    return tuple(sorted({field.partition(".")[0] for field in batch_fields(graph)}))


def batch_fields(graph: Graph) -> tuple[str, ...]:
    """The inputs `source.field` of a graph."""
    inputs = (graph.node(id).attrs for id in graph.inputs)
    return tuple(sorted(attrs["name"] for attrs in inputs if attrs["kind"] == "batch"))
