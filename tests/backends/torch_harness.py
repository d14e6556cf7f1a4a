"""Graphs as functions of an emitted PyTorch file: in an evaluation, and in a module's `forward`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from nnc_torch import backend

from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.program import Evaluation, Forward, Training
from nnc.passes.pipeline import optimize_training
from tests.backends.harness import load

#: the ways a graph is printed: `forward` is differentiable, a `batch` of an evaluation is not
WAYS = ("forward", "batch")


def with_kind(graph: Graph, kind: str) -> Graph:
    copy = graph.copy()
    for id in copy.inputs:
        node = copy.node(id)
        node.attrs = {**node.attrs, "kind": kind}
    return copy


def program(graph: Graph) -> Training:
    """A program whose net and whose evaluation are `graph`."""
    net, batch = with_kind(graph, "argument"), with_kind(graph, "batch")
    evaluation = Evaluation("val", "data", "val", batch, {}, Graph("finish"))
    forward = Forward("net", net, net.copy())
    return Training("test", {}, [], [evaluation], [forward], {}, "data", 1)


def source_of(graph: Graph, optimized: bool = True) -> str:
    training = program(graph)
    if optimized:
        optimize_training(training)
    return backend.emit(training)


def as_numpy(value: Any) -> np.ndarray:
    return value.numpy(force=True) if torch.is_tensor(value) else np.asarray(value)


def run(module: Mapping[str, Any], way: str, graph: Graph, inputs: Sequence[np.ndarray]) -> Any:
    """What the function of this way gives for NumPy arrays: arrays by the names of outputs."""
    names = [graph.node(id).attrs["name"] for id in graph.inputs]
    given = module["from_numpy"](dict(zip(names, map(np.asarray, inputs), strict=True)))
    if way == "batch":
        found = module["evaluate_val_batch"]({}, given, {})
    else:
        found = module["forward"]({}, *given.values())
    if not isinstance(found, dict):
        found = {next(iter(graph.outputs)): found}
    return {name: as_numpy(value) for name, value in found.items()}


def assert_computes(
    graph: Graph, inputs: Sequence[np.ndarray], tolerance: float, optimized: bool = True
) -> str:
    """Both functions give what the interpreter gives, in its types; the source."""
    wanted = interpret(graph, inputs)
    source = source_of(graph, optimized)
    module = load(source)
    for way in WAYS:
        found = run(module, way, graph, inputs)
        for name, expected in wanted.items():
            value = found[name]
            assert (value.dtype, value.shape) == (expected.dtype, expected.shape), source
            np.testing.assert_allclose(value, expected, tolerance, tolerance, err_msg=source)
    return source
