"""Small programs, elaborated as a user's are, and run by the interpreter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnc.elaborate.check import Compiled
from nnc.elaborate.context import Context
from nnc.elaborate.instances import apply, static_call
from nnc.elaborate.places import Naming
from nnc.elaborate.values import TensorValue, TupleValue
from nnc.elaborate.world import World
from nnc.ir.dims import symbol
from nnc.ir.graph import Graph
from nnc.ir.host import evaluate as host_value
from nnc.ir.interpret import interpret, with_sizes
from nnc.ir.program import Evaluation, StateEntry, Training
from nnc.ir.types import TensorType
from nnc.language.diagnostics import NncError
from nnc.language.render import render
from nnc.language.tree import Source
from nnc.passes.autodiff import expand_gradients
from nnc.passes.dead_code import dead_code

DTYPES = {"float32": "f32", "float64": "f64", "int32": "i32", "bool": "bool"}
State = dict[str, np.ndarray]


def compiled(text: str, root: Path = Path(".")) -> Compiled:
    return Compiled(Source("program.nn", text), root)


# ---------------------------------------------------------------- one block, applied
@dataclass
class Applied:
    """The graph of one application, its results, and the state it used and wrote."""

    graph: Graph
    outputs: dict[str, np.ndarray]
    state: State
    written: State

    @property
    def value(self) -> np.ndarray:
        return self.outputs["0"]

    @property
    def ops(self) -> list[str]:
        """The ops of the graph in order, without inputs and constants."""
        return [n.op for n in self.graph if n.op not in ("input", "const", "broadcast")]


def run(
    body: str,
    /,
    *,
    training: bool = False,
    state: State | None = None,
    seed: int = 0,
    free: bool = False,
    definitions: str = "",
    **arrays: Any,
) -> Applied:
    """`return BODY` (or a body with statements) of a block with these arrays as inputs.

    The first axis of the first array, and of all others as long, is N; `free` leaves it symbolic.
    """
    inputs = {name: _array(value) for name, value in arrays.items()}
    cx, result = elaborate(body, inputs, training=training, free=free, definitions=definitions)
    graph = cx.root.graph
    items = result.items if isinstance(result, TupleValue) else (("", result),)
    for number, (name, value) in enumerate(items):
        graph.outputs[name or str(number)] = value.tensor.value
    for path, value in cx.written.items():
        graph.outputs["@" + path] = value.tensor.value
    expand_gradients(graph)
    dead_code.run(graph)
    weights = initial_state(cx.world.state, seed) | (state or {})
    counters = {"step": 0, "updates": 0, "seed": seed, "draw": 0}
    scalars = {name: host_value(expr, counters) for name, expr in cx.scalars.items()}
    outputs = interpret(graph, {**inputs, **weights, **scalars})
    written = {name[1:]: outputs.pop(name) for name in list(outputs) if name[:1] == "@"}
    return Applied(graph, outputs, weights, written)


def elaborate(
    body: str,
    inputs: Mapping[str, np.ndarray],
    *,
    training: bool = False,
    free: bool = False,
    definitions: str = "",
) -> tuple[Context, Any]:
    """What `run` runs: the context of the graph, and the value of the body."""
    samples = next((v.shape[0] for v in inputs.values() if v.ndim), 0)
    parameters = ", ".join(f"{name}: {_type(value, samples)}" for name, value in inputs.items())
    statements = body if "return " in body else f"return {body}"
    program = compiled(f"{definitions}\nblock Test()({parameters}) {{\n{statements}\n}}\n")
    if program.module.faults:
        raise NncError(*program.module.faults)
    world = World(program.data, steps=100, epochs=10, steps_per_epoch=10)
    cx = Context(world, Graph("test"), training=training, batch=symbol("N") if free else None)
    cx.naming = Naming("", {})
    binding = program.module.scope.find("Test")
    assert binding is not None
    block = binding.force("Test", None)
    place = block.definition.span
    args = []
    for name, value in inputs.items():
        is_free = free and value.shape[:1] == (samples,)
        shape = (symbol("N"), *value.shape[1:]) if is_free else value.shape
        tensor = cx.input(name, TensorType(DTYPES[str(value.dtype)], shape), "argument")
        args.append((name, TensorValue(tensor, (None,) * value.ndim), place))
    template = static_call(cx, block, [], place)
    template.place = ("net", "net")
    return cx, apply(cx, template, args, place)


def initial_state(entries: Mapping[str, StateEntry], seed: int = 0) -> State:
    return {path: interpret(entry.init, {"seed": seed})["value"] for path, entry in entries.items()}


def _array(value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == np.float64:
        return array.astype(np.float32)
    return array.astype(np.int32) if array.dtype == np.int64 else array


def _type(value: np.ndarray, samples: int) -> str:
    first = "N" if value.shape[:1] == (samples,) else "_"
    dims = ", ".join([first, *("_" for _ in value.shape[1:])]) if value.ndim else ""
    return f"{DTYPES[str(value.dtype)]}[{dims}]" if dims else DTYPES[str(value.dtype)]


# ---------------------------------------------------------------- whole trainings
def training_of(root: Path, text: str, **arrays: np.ndarray) -> Training:
    """The only training of a program that reads its data from `data.npz`, saved here."""
    np.savez(root / "data.npz", **{k: _array(v) for k, v in arrays.items()})
    return compiled(text, root).training()


def run_steps(training: Training, batches: list[dict[str, np.ndarray]]) -> Iterator[State]:
    """The state after each step, batch by batch."""
    state = initial_state(training.state)
    (step,) = training.phases[0].steps
    for number, batch in enumerate(batches):
        counters = {"step": number, "updates": number, "seed": 0, "draw": number}
        scalars = {name: host_value(expr, counters) for name, expr in step.scalars.items()}
        outputs = interpret(step.graph, {**state, **batch, **scalars})
        state = state | {path: v for path, v in outputs.items() if path in state}
        yield state


def evaluate(
    evaluation: Evaluation, state: State, arrays: dict[str, np.ndarray], batch: int
) -> dict[str, np.ndarray]:
    """The metrics over all samples, in batches of `batch` and a remainder."""
    count = len(next(iter(arrays.values())))
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, count, batch):
        piece = {k: v[start : start + batch] for k, v in arrays.items()}
        size = len(next(iter(piece.values())))
        parts.append(interpret(with_sizes(evaluation.batch, {"N": size}), {**state, **piece}))
    merged = {name: _merge(how, [p[name] for p in parts]) for name, how in evaluation.merge.items()}
    return interpret(with_sizes(evaluation.finish, {"N": count}), {**state, **merged})


def _merge(how: str, values: list[np.ndarray]) -> np.ndarray:
    if how == "collect":
        return np.concatenate(values)
    combine = {"sum": np.sum, "max": np.max, "min": np.min}[how]
    return np.asarray(combine(np.stack(values), axis=0), values[0].dtype)


# ---------------------------------------------------------------- errors
def error_of(body: str, /, **kwargs: Any) -> str:
    """The rendered error of a body that must have one."""
    try:
        run(body, **kwargs)
    except NncError as failure:
        return render(failure.diagnostics)
    raise AssertionError("no error")
