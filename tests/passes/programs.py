"""Whole programs for laws that passes keep: graphs as elaborated, and what they are run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

import nnc.api as nnc
from benchmarks import workloads
from nnc.elaborate.check import Compiled
from nnc.ir.graph import Graph
from nnc.ir.host import evaluate as host_value
from nnc.ir.interpret import interpret, with_sizes
from nnc.ir.program import Training, is_result
from nnc.language.tree import Source
from nnc.passes.pipeline import STANDARD, Pipeline
from nnc.verify.parts import Part, parts_of
from nnc.verify.twin import Arrays, in_float64, widened
from tests.benchmarks.test_peers import SMALL
from tests.docs.running import MODELS, program_of
from tests.docs.test_snippets import PROGRAMS as SNIPPETS
from tests.verify import programs as verified

Elaborate = Callable[[Pipeline], Iterator[Training]]

STEPS = 2  # so that batch norm and moments have a past
SAMPLES = 5
COUNTERS = dict.fromkeys(("step", "updates", "draw", "seed"), np.uint64(0))


def _loaded(path: Path, **config: Any) -> Elaborate:
    def elaborate(pipeline: Pipeline) -> Iterator[Training]:
        program = nnc.load(path, **config)
        return (program.training(name, pipeline=pipeline) for name in program.trainings)

    return elaborate


def _workload(name: str) -> Elaborate:
    def elaborate(pipeline: Pipeline) -> Iterator[Training]:
        folder = Path(mkdtemp())
        (folder / "data").mkdir()
        sizes = workloads.sizes_of(name, **SMALL[name])
        fields: dict[str, Any] = workloads.data(name, sizes, batches=STEPS)
        np.savez(folder / "data" / f"{name}.npz", **fields)
        path = folder / f"{name}.nn"
        path.write_text((workloads.PROGRAMS / path.name).read_text())
        return _loaded(path, **SMALL[name])(pipeline)

    return elaborate


def _text(text: str, name: str, folder: Callable[[], Path]) -> Elaborate:
    def elaborate(pipeline: Pipeline) -> Iterator[Training]:
        program = Compiled(Source(name, text), folder())
        return (program.training(name, pipeline=pipeline) for name in program.trainings)

    return elaborate


@cache
def _points() -> Path:
    folder = Path(mkdtemp())
    verified.write_data(folder)
    return folder


def _snippets() -> dict[str, Elaborate]:
    """The examples of the documentation that train something."""
    found = {}
    for block in SNIPPETS:
        text = program_of(block)
        wrong = block.says("error") is not None or block.says("values") is not None
        if "train " in text and 'use "' not in text and not wrong:
            found[block.place] = _text(text, block.place, lambda: MODELS)
    return found


#: what elaborates the trainings of each program
ELABORATE: dict[str, Elaborate] = {
    **{path.name: _loaded(path) for path in sorted(MODELS.glob("*.nn"))},
    **{f"benchmarks/{name}": _workload(name) for name in SMALL},
    **{
        f"verify/{name}": _text(verified.DATA + text, name, _points)
        for name, text in verified.PROGRAMS.items()
    },
    **_snippets(),
}


@dataclass(frozen=True)
class Call:
    """A part of a training and arrays for all that its graph reads, floats in float64.

    `samples` is the size of the batch of an evaluation, which its end reads too.
    """

    part: Part
    inputs: Arrays
    samples: int = SAMPLES

    def graph(self, training: Training) -> Graph:
        return self.part.graph(training)

    def run(self, graph: Graph) -> Arrays:
        """The outputs of `graph`, this part's or what a pass made of it."""
        if self.part.kind == "finish":
            graph = with_sizes(graph, {"N": self.samples})
        return interpret(graph, self.inputs)


def trainings(name: str, pipeline: Pipeline = STANDARD) -> list[Training]:
    """Those of a program in float64, on the way through `pipeline`; yet to be optimized."""
    return [in_float64(each) for each in ELABORATE[name](pipeline)]


def calls(training: Training) -> list[Call]:
    """The first steps of each kind, a batch of each evaluation and its end, and inference."""
    state = {
        path: interpret(entry.init, {"seed": training.seed})["value"]
        for path, entry in training.state.items()
    }
    found: list[Call] = []
    for part in parts_of(training):
        if part.kind == "step":
            state = _steps(part, training, state, found)
    for part in parts_of(training):
        if part.kind == "batch":
            _evaluation(part, training, state, found)
        elif part.kind == "forward":
            found.append(Call(part, {**COUNTERS, **state, **_arguments(part.graph(training))}))
    return found


def _steps(part: Part, training: Training, state: Arrays, found: list[Call]) -> Arrays:
    step = training.phases[part.index[0]].steps[part.index[1]]
    for number in range(STEPS):
        batch: Arrays = {}
        for source in training.sources.values():
            batch |= source.train_batch(number, training.seed)
        counters = dict.fromkeys(("step", "updates", "draw"), number)
        scalars = _scalars(step.scalars, {**counters, "seed": training.seed})
        call = Call(part, {**state, **widened(batch), **scalars})
        found.append(call)
        new = call.run(call.graph(training))
        state = {**state, **{k: v for k, v in new.items() if not is_result(k)}}
    return state


def _evaluation(part: Part, training: Training, state: Arrays, found: list[Call]) -> None:
    evaluation = training.evaluations[part.index[0]]
    batch = next(iter(training.sources[evaluation.source].batches(evaluation.split)))
    scalars = _scalars(evaluation.scalars, COUNTERS)
    call = Call(part, {**state, **widened(batch), **scalars}, len(next(iter(batch.values()))))
    sums = call.run(call.graph(training))
    end = Call(replace(part, kind="finish"), {**call.inputs, **sums}, call.samples)
    found += [call, end]


def _scalars(exprs: Mapping[str, Any], counters: Mapping[str, int]) -> Arrays:
    return {name: np.asarray(host_value(expr, counters)) for name, expr in exprs.items()}


def _arguments(graph: Graph) -> Arrays:
    """Plain arrays for the arguments of a net: whole numbers that index anything, or floats."""
    rng = np.random.default_rng(0)
    nodes = (graph.node(id) for id in graph.inputs)
    return {
        node.attrs["name"]: rng.normal(size=shape)
        if node.type.is_float
        else rng.integers(0, 2, shape).astype("i4")
        for node in nodes
        if node.attrs["kind"] == "argument"
        for shape in [tuple(d if isinstance(d, int) else SAMPLES for d in node.type.shape)]
    }
