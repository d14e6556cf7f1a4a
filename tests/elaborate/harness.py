"""What a small program means, as numbers: elaborate, interpret, compare.

`run` applies one block of a text to arrays; `Run` is a training by the interpreter, written from
docs/architecture.md and independent of the training loop and of every backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnc.elaborate.check import Compiled, at_work
from nnc.elaborate.context import Context
from nnc.elaborate.instances import apply, static_call
from nnc.elaborate.places import Naming
from nnc.elaborate.values import ListValue, TensorValue, TupleValue
from nnc.elaborate.world import World
from nnc.ir import host
from nnc.ir.graph import Graph
from nnc.ir.interpret import as_float64, interpret, with_sizes
from nnc.ir.program import Evaluation, Step, Training
from nnc.ir.types import TensorType, dtype_of
from nnc.ir.verify import verify
from nnc.language.diagnostics import NncError
from nnc.language.tree import Source
from nnc.passes.autodiff import expand_gradients

#: Plain gradient descent: tests of meaning stand on their own, without the library.
DESCENT = """
block Descent(lr: f32 = 0.1)(p: f32[...], grad: f32[...]) -> f32[...] = p - lr * grad
"""


# ---------------------------------------------------------------- one block
@dataclass
class Result:
    """What one application of a block gave."""

    out: Any  # an array; a dict for a record, a tuple for a tuple
    names: Any  # the axis labels, in the same form
    graph: Graph
    state: dict[str, np.ndarray]  # the values it was run with
    written: dict[str, np.ndarray]  # buffers that it changed
    value: Any = None
    scalars: dict[str, host.HostExpr] = field(default_factory=dict)

    @property
    def paths(self) -> list[str]:
        return list(self.state)


def compiled(text: str, root: Path = Path(".")) -> Compiled:
    program = Compiled(Source("test.nn", text), root)
    if program.module.faults:
        raise NncError(*program.module.faults)
    return program


def run(
    text: str,
    *arrays: Any,
    name: str = "Net",
    static: Mapping[str, Any] | None = None,
    training: bool = False,
    counters: Mapping[str, int] | None = None,
    state: Mapping[str, Any] | None = None,
    wide: bool = False,
) -> Result:
    """`Net(static)(arrays)` of the program `text`, at the path `net`; `wide`: in float64."""
    program = compiled(text)
    world = World(program.data, steps=10, epochs=2, steps_per_epoch=5)
    graph = Graph(name)
    cx = Context(world, graph, training=training)
    cx.naming = Naming("", {})
    block = program.module.scope.find(name).force(name, None)
    place = block.definition.span
    inputs = {}
    arguments = []
    for number, array in enumerate(map(np.asarray, arrays)):
        type = TensorType(dtype_of(array), array.shape)
        inputs[f"x{number}"] = array
        tensor = cx.input(f"x{number}", type, "argument")
        arguments.append(("", TensorValue(tensor, (None,) * array.ndim), place))
    given = [(key, value, place) for key, value in (static or {}).items()]
    with at_work():
        template = static_call(cx, block, given, place)
        template.place = ("net", "net")
        value = apply(cx, template, arguments, place)
    _outputs(graph, "out", value)
    for path, new in cx.written.items():
        graph.outputs[f"written {path}"] = new.tensor.value
    expand_gradients(graph)
    verify(graph)
    numbers = {"seed": 0, "step": 0, "updates": 0, "draw": 0, **(counters or {})}
    known = initial(world.state, numbers["seed"])
    known |= {path: np.asarray(v) for path, v in (state or {}).items()}
    scalars = {key: host.evaluate(expr, numbers) for key, expr in cx.scalars.items()}
    whole = as_float64(graph) if wide else graph
    results = interpret(whole, {**inputs, **known, **scalars})
    written = {key[8:]: v for key, v in results.items() if key.startswith("written ")}
    return Result(
        _shaped("out", value, results), _labels(value), graph, known, written, value, cx.scalars
    )


def out(text: str, *arrays: Any, **options: Any) -> Any:
    """Only the result of `run`."""
    return run(text, *arrays, **options).out


def initial(state: Mapping[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """The initial values of state entries."""
    return {path: interpret(entry.init, {"seed": seed})["value"] for path, entry in state.items()}


def _outputs(graph: Graph, path: str, value: Any) -> None:
    for key, item in _items(path, value):
        graph.outputs[key] = item.tensor.value


def _items(path: str, value: Any) -> Iterator[tuple[str, TensorValue]]:
    if isinstance(value, TensorValue):
        yield path, value
    elif isinstance(value, (TupleValue, ListValue)):
        for number, item in enumerate(value.values):
            yield from _items(f"{path}.{number}", item)
    else:
        raise AssertionError(f"{path} is {value!r}, not a tensor")


def _shaped(path: str, value: Any, results: Mapping[str, np.ndarray]) -> Any:
    return _rebuilt(path, value, lambda key, _: results[key])


def _labels(value: Any) -> Any:
    return _rebuilt("", value, lambda _, item: item.names)


def _rebuilt(path: str, value: Any, leaf: Any) -> Any:
    if isinstance(value, TensorValue):
        return leaf(path, value)
    items = [_rebuilt(f"{path}.{i}", item, leaf) for i, item in enumerate(value.values)]
    if isinstance(value, TupleValue) and value.names:
        return dict(zip(value.names, items, strict=True))
    return tuple(items)


def expression(text: str, *arrays: Any, types: str = "", more: str = "", **options: Any) -> Any:
    """The value of an expression over `x`, `y`, `z`; `types` declares them in another way."""
    names = ["x", "y", "z"][: len(arrays)]
    declared = types or ", ".join(
        f"{name}: {dtype_of(np.asarray(a))}[{', '.join('_' * np.ndim(a))}]"
        if np.ndim(a)
        else f"{name}: {dtype_of(np.asarray(a))}"
        for name, a in zip(names, arrays, strict=True)
    )
    return run(f"{more}\nblock Net()({declared}) = {text}\n", *arrays, **options)


def codes(text: str, root: Path = Path(".")) -> list[str]:
    """The codes of all errors of a program."""
    from nnc.elaborate import check_text

    return [found.code for found in check_text(text, root=root)]


def refused(text: str, *arrays: Any, **options: Any) -> str:
    """The code of the error that applying a block gives."""
    with pytest.raises(NncError) as failure:
        run(text, *arrays, **options)
    return failure.value.diagnostics[0].code


# ---------------------------------------------------------------- a whole training
def save(root: Path, **sections: Mapping[str, Any]) -> None:
    """`save(tmp_path, d = {"x": ...})` writes `d.npz`, for `npz("d.npz", "x")`."""
    for name, arrays in sections.items():
        np.savez(root / f"{name}.npz", **arrays)


def train(text: str, root: Path, name: str | None = None, **options: Any) -> Training:
    """The `Training` of a program whose data lies in `root`; every graph of it is verified."""
    training = compiled(text, root).training(name, **options)
    for graph in training.graphs():
        verify(graph)
    return training


class Run:
    """A training by the interpreter."""

    def __init__(self, training: Training, wide: bool = False):
        self.training = training
        self.wide = wide
        self.state = initial(training.state, training.seed)
        if wide:
            self.state = {path: _widened(value) for path, value in self.state.items()}
        self.updates: dict[str, int] = {}
        self.positions: dict[str, int] = {}
        self.draw = 0
        self.log: list[tuple[str, float]] = []  # (step section, loss)

    def all(self) -> Run:
        for phase in self.training.phases:
            for cycle in range(phase.count):
                for step in phase.steps:
                    for _ in range(step.times):
                        self.step(step, cycle)
        return self

    def counters(self, step: Step, cycle: int) -> dict[str, int]:
        updates = self.updates.get(step.name, 0)
        return {"step": cycle, "updates": updates, "draw": self.draw, "seed": self.training.seed}

    def scalars(self, step: Step, cycle: int = 0) -> dict[str, Any]:
        counters = self.counters(step, cycle)
        return {name: host.evaluate(expr, counters) for name, expr in step.scalars.items()}

    def step(self, step: Step, cycle: int = 0) -> float:
        """One execution; its loss."""
        batch: dict[str, Any] = {}
        used = {n.partition(".")[0] for n in _names(step.graph, "batch")}
        for source in sorted(used):
            at = self.positions.get(source, 0)
            batch |= self.training.sources[source].train_batch(at, self.training.seed)
            self.positions[source] = at + 1
        outputs = self.outputs(step.graph, batch, self.scalars(step, cycle))
        loss = float(outputs.pop("@loss"))
        self.state |= {path: outputs[path] for path in outputs if not path.startswith("@metrics/")}
        self.updates[step.name] = self.updates.get(step.name, 0) + 1
        self.draw += 1
        self.log.append((step.name, loss))
        return loss

    def outputs(self, graph: Graph, *inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        known: dict[str, Any] = dict(self.state)
        for more in inputs:
            known |= {k: _widened(v) if self.wide else v for k, v in more.items()}
        return interpret(as_float64(graph) if self.wide else graph, known)

    def evaluate(self, evaluation: Evaluation, sizes: list[int] | None = None) -> dict[str, Any]:
        """The evaluation in batches of these sizes (the source's own by default)."""
        source = self.training.sources[evaluation.source]
        rows = source.rows(evaluation.split)
        cuts = np.cumsum(sizes) if sizes else np.arange(0, len(rows), source.batch)[1:]
        counters = {"step": 0, "updates": 0, "draw": 0, "seed": self.training.seed}
        scalars = {k: host.evaluate(e, counters) for k, e in evaluation.scalars.items()}
        found: dict[str, list[np.ndarray]] = {}
        for part in np.split(rows, cuts):
            if len(part):
                batch = source.select(part)
                for name, value in self.outputs(evaluation.batch, batch, scalars).items():
                    found.setdefault(name, []).append(value)
        merged = {name: MERGE[evaluation.merge[name]](values) for name, values in found.items()}
        graph = with_sizes(evaluation.finish, {"N": len(rows)})
        return self.outputs(graph, merged, scalars)

    def whole(self, evaluation: Evaluation) -> dict[str, Any]:
        """The evaluation with the whole part as one batch."""
        rows = self.training.sources[evaluation.source].rows(evaluation.split)
        return self.evaluate(evaluation, [len(rows)])


MERGE = {"sum": sum, "max": np.maximum.reduce, "min": np.minimum.reduce, "collect": np.concatenate}


def _names(graph: Graph, kind: str) -> list[str]:
    attrs = [graph.node(id).attrs for id in graph.inputs]
    return [a["name"] for a in attrs if a["kind"] == kind]


def _widened(value: Any) -> Any:
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind == "f" else value
