"""The calls on which backends are compared: points along a run, then evaluation and inference.

The run is that of the NumPy backend in the program's own precision, so that weights, moments and
activations are such as occur in training, not only those of the first step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count, takewhile

import numpy as np

from nnc.ir.dims import Poly, symbols
from nnc.ir.graph import Node
from nnc.ir.host import evaluate as host_value
from nnc.ir.program import Evaluation, Training
from nnc.ir.types import TensorType, numpy_dtype
from nnc.train.counters import Counters
from nnc.train.evaluate import MERGE
from nnc.train.initial import initial_state
from nnc.train.module import StepPlan
from nnc.train.runner import Runner
from nnc.verify.parts import Case, Emitted, Inputs, Part, parts_of
from nnc.verify.twin import Arrays

#: samples that inference is run on
SAMPLES = 8


def points(cycles: int) -> list[int]:
    """0, 1, 2, 5, 10, 20, 50 ... below `cycles`."""
    series = (factor * 10**k for k in count() for factor in (1, 2, 5))
    return [0, *takewhile(lambda cycle: cycle < cycles, series)][:cycles]


def cases(training: Training, reference: Emitted, cycles: int) -> list[Case]:
    """Calls of every part of `training`; the first `cycles` cycles of each phase are run.

    Weights for evaluations and inference are those at the end.
    """
    runner = Runner(reference.plan, training.sources, training.seed)
    with np.errstate(all="ignore"):
        state = initial_state(training, reference.plan)
        found: list[Case] = []
        for native, case in along(runner, training, reference, state, cycles):
            state = native
            found += case
    after = reference.numpy(state)
    for part in parts_of(training):
        if part.kind in ("batch", "forward"):
            found += _calls(part, training, reference, after)
    return found


def along(
    runner: Runner, training: Training, reference: Emitted, state: object, cycles: int
) -> Iterator[tuple[object, list[Case]]]:
    """The state after each execution, and what is to be compared at it."""
    steps = (part for part in parts_of(training) if part.kind == "step")
    parts = {id(part.graph(training)): part for part in steps}
    counters, wanted = Counters(), points(cycles)
    for phase in reference.plan.phases:
        counters.step = phase.first
        for cycle in range(min(phase.count, cycles)):
            seen: set[str] = set()
            for step, at in runner.cycle(counters):
                found = []
                if cycle in wanted and step.name not in seen:
                    seen.add(step.name)
                    part = parts[id(step.step.graph)]
                    inputs = _step_inputs(runner, step, at, counters, reference.numpy(state))
                    found.append(Case(part, inputs, f"step {counters.step}"))
                state, _ = runner.execute(state, step, at, counters)
                yield state, found
            counters.step += 1


def _step_inputs(
    runner: Runner, step: StepPlan, at: int, counters: Counters, state: Arrays
) -> Inputs:
    batch, scalars = runner.inputs(step, at, counters)
    return Inputs(state, batch, scalars)


# ---------------------------------------------------------------- evaluations and inference
def _calls(part: Part, training: Training, reference: Emitted, state: Arrays) -> Iterator[Case]:
    if part.kind == "forward":
        yield from _forward_calls(part, training, state)
    else:
        yield from _evaluation_calls(part, training, reference, state)


def _evaluation_calls(
    part: Part, training: Training, reference: Emitted, state: Arrays
) -> Iterator[Case]:
    """The first and the last batch, which may be smaller, and the end over both."""
    evaluation = training.evaluations[part.index[0]]
    source = training.sources[evaluation.source]
    batches = list(source.batches(evaluation.split))
    chosen = batches if len(batches) == 1 else [batches[0], batches[-1]]
    counters = {"step": 0, "updates": 0, "draw": 0, "seed": training.seed}
    scalars = {name: host_value(expr, counters) for name, expr in evaluation.scalars.items()}
    merged: Arrays = {}
    total = 0
    for batch in chosen:
        size = len(next(iter(batch.values())))
        inputs = Inputs(state, batch, scalars, {"N": size})
        yield Case(part, inputs, f"{size} samples")
        merged = _merged(evaluation, merged, reference.run(part, inputs))
        total += size
    end = Part("finish", part.index, f"the end of the evaluation {evaluation.name}")
    yield Case(end, Inputs(state, merged, scalars, {"N": total}), f"{total} samples")


def _merged(evaluation: Evaluation, before: Arrays, new: Arrays) -> Arrays:
    if not before:
        return new
    both = ((name, evaluation.merge[name], before[name], new[name]) for name in new)
    return {
        name: np.concatenate([a, b]) if how == "collect" else MERGE[how](a, b)
        for name, how, a, b in both
    }


def _forward_calls(part: Part, training: Training, state: Arrays) -> Iterator[Case]:
    """A call on a few samples of the data, for a net whose arguments are like some of its fields.

    The same name decides, then the type: an image goes where an image is asked for.
    """
    graph = part.graph(training)
    nodes = [node for node in map(graph.node, graph.inputs) if node.attrs["kind"] == "argument"]
    fields = _first_samples(training)
    given: Arrays = {}
    for node in nodes:
        like = [x for name, x in fields.items() if _fits(node.type, x)]
        named = [x for name, x in fields.items() if name.endswith(f".{node.attrs['name']}")]
        found = next((x for x in (*named, *like) if _fits(node.type, x)), None)
        given[node.attrs["name"]] = _plain(node.type) if found is None else found
    sizes = _sizes(nodes, given)
    if sizes is not None:
        yield Case(part, Inputs(state, given, {}, sizes))


def _first_samples(training: Training) -> Arrays:
    merged: Arrays = {}
    for source in training.sources.values():
        batch = source.train_batch(0, training.seed)
        merged |= {name: values[:SAMPLES] for name, values in batch.items()}
    return merged


def _fits(type: TensorType, values: np.ndarray) -> bool:
    return (
        values.dtype == numpy_dtype(type.dtype)
        and values.ndim == type.rank
        and all(
            not isinstance(dim, int) or dim == size
            for dim, size in zip(type.shape, values.shape, strict=True)
        )
    )


def _plain(type: TensorType) -> np.ndarray:
    """An array where no field fits: a smooth wave for floats, zeros for the rest."""
    shape = tuple(dim if isinstance(dim, int) else SAMPLES for dim in type.shape)
    zeros: np.ndarray = np.zeros(shape, numpy_dtype(type.dtype))
    if not type.is_float:
        return zeros
    wave = np.sin(np.arange(zeros.size).reshape(shape))
    return wave.astype(zeros.dtype)


def _sizes(nodes: list[Node], given: Mapping[str, np.ndarray]) -> dict[str, int] | None:
    """The size of each name in the types of the arguments; None where the arrays disagree."""
    sizes: dict[str, int] = {}
    for node in nodes:
        for dim, size in zip(node.type.shape, given[node.attrs["name"]].shape, strict=True):
            if isinstance(dim, Poly) and symbols(dim) == {str(dim)}:
                if sizes.setdefault(str(dim), size) != size:
                    return None
            elif isinstance(dim, Poly):
                return None
    return sizes
