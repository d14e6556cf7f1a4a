"""Streams that every backend must share to the bit: initial weights, random words, orders.

Initial weights are compared with what their graphs give in NumPy, by SHA-256 of each array.  The
words that a step draws are compared with `nnc.random`, by printing the step again with the words as
outputs.  Batches come from the host, in one order for all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nnc.backend import Backend
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.interpret import interpret
from nnc.ir.program import Training
from nnc.verify.parts import Case, Emitted, Part
from nnc.verify.probes import Fault, probe_name
from nnc.verify.twin import Arrays


@dataclass(frozen=True)
class Stream:
    """How many arrays were compared, and the first that differs: a path or a place."""

    compared: int
    differs: str = ""
    fault: Fault | None = None

    @property
    def equal(self) -> bool:
        return not self.differs


def digest(values: np.ndarray) -> str:
    """SHA-256 of the type, shape and bytes of an array."""
    values = np.asarray(values, order="C")
    head = f"{values.dtype.str} {list(values.shape)}\n".encode()
    return hashlib.sha256(head + values.tobytes()).hexdigest()


def initial_weights(training: Training) -> Arrays:
    """The state at the start as the graphs of `training` define it."""
    return {
        path: next(iter(interpret(entry.init, [training.seed] * len(entry.init.inputs)).values()))
        for path, entry in training.state.items()
    }


def compare_init(emitted: Emitted, meant: Arrays) -> Stream:
    """The weights that a backend begins with."""
    found = emitted.init(emitted.training.seed)
    for path, values in meant.items():
        if path not in found or digest(found[path]) != digest(values):
            origin = emitted.training.state[path].origin
            places = () if origin is None else (origin,)
            fault = Fault("init", path, places, np.inf, f"the initial value of {path}")
            return Stream(len(meant), path, fault)
    return Stream(len(meant))


def draws(graph: Graph) -> list[Node]:
    return [node for node in graph if node.op == "random_bits"]


def compare_draws(backend: Backend, training: Training, cases: Iterable[Case]) -> Stream:
    """The random words of each step section, at the calls of `cases`."""
    probed: dict[Part, Emitted] = {}
    compared = 0
    for case in cases:
        graph = case.part.graph(training)
        nodes = draws(graph)
        if not nodes:
            continue
        copy = graph.copy()
        names = {node.id: probe_name(Value(node.id)) for node in nodes}
        copy.outputs |= {name: Value(id) for id, name in names.items()}
        if case.part not in probed:
            probed[case.part] = Emitted(
                backend, case.part.with_graph(training, copy), f"{backend.name}_draws"
            )
        found = probed[case.part].run(case.part, case.inputs)
        meant = interpret(copy, case.inputs.by_name)
        for node in nodes:
            name = names[node.id]
            compared += 1
            if digest(found[name]) != digest(meant[name]):
                where = f"{case.label}, the stream {node.attrs['path']}"
                fault = Fault(node.op, node.name, node.origin, np.inf, where)
                return Stream(compared, node.attrs["path"], fault)
    return Stream(compared)


def order_digest(training: Training, epochs: int = 2) -> dict[str, str]:
    """SHA-256 of the order of samples in the first epochs, by source."""
    return {
        name: digest(
            np.concatenate([source.epoch_order(epoch, training.seed) for epoch in range(epochs)])
        )
        for name, source in training.sources.items()
    }
