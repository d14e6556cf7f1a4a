"""The parts of a program that are verified: steps, evaluations and inference, each one function.

A `Case` is one call of such a function: with it, what a backend's function gives can be compared
with what the graph means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nnc.backend import Backend
from nnc.ir.graph import Graph
from nnc.ir.program import Training
from nnc.passes.base import Pass
from nnc.passes.pipeline import map_graphs, optimize_training
from nnc.train.module import Plan, forward_of, load_module, plan
from nnc.verify.twin import Arrays, in_float64, widened


@dataclass(frozen=True)
class Part:
    """One graph of a training and the function of an emitted file that computes it.

    `kind` is "step", "batch", "finish" or "forward"; `index` counts (phase, step), evaluations or
    forwards.
    """

    kind: str
    index: tuple[int, ...]
    label: str

    def graph(self, training: Training) -> Graph:
        if self.kind == "step":
            return training.phases[self.index[0]].steps[self.index[1]].graph
        if self.kind == "forward":
            return training.forwards[self.index[0]].graph
        evaluation = training.evaluations[self.index[0]]
        return evaluation.batch if self.kind == "batch" else evaluation.finish

    def with_graph(self, training: Training, graph: Graph) -> Training:
        """`training` with `graph` in the place of this part's, wherever that one is used."""
        old = self.graph(training)

        def new(each: Graph) -> Graph:
            return graph if each is old else each

        phases = [
            replace(p, steps=[replace(s, graph=new(s.graph), remat=None) for s in p.steps])
            for p in training.phases
        ]
        evaluations = [
            replace(e, batch=new(e.batch), finish=new(e.finish)) for e in training.evaluations
        ]
        forwards = [
            replace(f, graph=new(f.graph), structured=graph if f.graph is old else f.structured)
            for f in training.forwards
        ]
        return replace(training, phases=phases, evaluations=evaluations, forwards=forwards)


def parts_of(training: Training) -> Iterator[Part]:
    """Every part; a step that several phases share is one, that of the first."""
    seen: set[int] = set()
    for i, phase in enumerate(training.phases):
        for j, step in enumerate(phase.steps):
            if id(step.graph) not in seen:
                seen.add(id(step.graph))
                yield Part("step", (i, j), step.name)
    for i, evaluation in enumerate(training.evaluations):
        yield Part("batch", (i,), f"a batch of the evaluation {evaluation.name}")
        yield Part("finish", (i,), f"the end of the evaluation {evaluation.name}")
    for i, forward in enumerate(training.forwards):
        yield Part("forward", (i,), f"the inference of {forward.name}")


@dataclass(frozen=True)
class Inputs:
    """What a function is called with.

    `given` is a batch, accumulators or arguments; `sizes` are those of names in the graph's types.
    """

    state: Arrays
    given: Arrays
    scalars: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def by_name(self) -> dict[str, Any]:
        """By the names of the graph's inputs."""
        return {**self.state, **self.given, **self.scalars}

    def widened(self) -> Inputs:
        return replace(self, state=widened(self.state), given=widened(self.given))


@dataclass(frozen=True)
class Case:
    """One call; `at` says when, for reports: "step 5", or "" where there is but one."""

    part: Part
    inputs: Inputs
    at: str = ""

    @property
    def label(self) -> str:
        return f"{self.part.label} at {self.at}" if self.at else self.part.label


@dataclass(frozen=True)
class Variant:
    """A training in one precision, as elaborated (`meaning`) and as backends get it."""

    precision: str  # "f32", which is as the program says, or "f64"
    meaning: Training
    optimized: Training

    @staticmethod
    def of(
        training: Training, precision: str = "f32", passes: Iterable[Pass] | None = None
    ) -> Variant:
        """With `passes`, or those that `training` was elaborated with.

        They run in the precision itself: they round the constants that they fold.
        """
        meaning = in_float64(training) if precision == "f64" else training
        optimized = map_graphs(meaning, lambda graph: None)
        optimize_training(optimized, passes)
        return Variant(precision, meaning, optimized)

    def inputs(self, case: Case) -> Inputs:
        """Those of `case`, which are in the program's own precision, in this one."""
        return case.inputs.widened() if self.precision == "f64" else case.inputs


class Emitted:
    """What a backend prints for `training`, loaded, with NumPy's arrays on both sides."""

    def __init__(self, backend: Backend, training: Training, name: str):
        self.training = training
        self.source = backend.emit(training)
        self.module = load_module(self.source, f"verify_{name}.py")
        self.plan: Plan = plan(self.module, training)

    def init(self, seed: int) -> Arrays:
        return self.numpy(self.plan.init(seed))

    def numpy(self, state: Any) -> Arrays:
        arrays = self.plan.border.to_numpy(state)
        return {path: np.array(value) for path, value in arrays.items()}

    def native(self, state: Arrays) -> Any:
        """A state that the emitted functions may consume."""
        return self.plan.border.from_numpy({path: v.copy() for path, v in state.items()})

    def run(self, part: Part, inputs: Inputs) -> Arrays:
        """The outputs of the part's function, by the names of the graph's outputs."""
        with np.errstate(all="ignore"):
            state, found = self._call(part, inputs)
        outputs = part.graph(self.training).outputs
        return {name: np.asarray(_output(name, found, state)) for name in outputs}

    def _call(self, part: Part, inputs: Inputs) -> tuple[Arrays, Arrays]:
        """State after the call, and what the function returned besides."""
        state, given, index = self.native(inputs.state), dict(inputs.given), part.index
        if part.kind == "step":
            step = self.plan.phases[index[0]].steps[index[1]]
            state, found = step.run(state, given, dict(inputs.scalars))
            return self.numpy(state), found
        if part.kind == "forward":
            described = self.module.PROGRAM["forwards"][index[0]]
            result = forward_of(self.module, described["function"])(state, *given.values())
            return {}, result if isinstance(result, dict) else {"output": result}
        evaluation = self.plan.evaluations[index[0]]
        if part.kind == "batch":
            return {}, evaluation.batch(state, given, dict(inputs.scalars))
        count = inputs.sizes["N"]
        return {}, evaluation.finish(state, given, dict(inputs.scalars), count)


def _output(name: str, found: Arrays, state: Arrays) -> Any:
    """An output of a graph among the results of its function, which leave out the `@`."""
    for key in (name, name.removeprefix("@")):
        if key in found:
            return found[key]
    return state[name]
