"""Graphs as emitted functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import nnc_numpy
import numpy as np

from nnc.backend import Backend
from nnc.ir.builder import Builder
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.program import Forward, Training
from nnc.ir.types import TensorType, dtype_of
from nnc.passes.pipeline import optimize_training

#: rounding of a few operations; NumPy's own kernels differ by this between layouts and sizes
TOLERANCE = {"f64": 1e-13, "f32": 1e-5}


def training(*forwards: Forward) -> Training:
    """A program of inference alone."""
    return Training("test", {}, [], [], list(forwards), {}, "data", 1)


def forward(name: str, graph: Graph) -> Forward:
    """Inference whose arguments are the inputs of `graph`."""
    for id in graph.inputs:
        node = graph.node(id)
        node.attrs = {**node.attrs, "kind": "argument"}
    return Forward(name, graph, graph)


def source_of(graph: Graph, optimized: bool = True, backend: Backend = nnc_numpy.backend) -> str:
    """A file with `forward`, whose arguments are the inputs of `graph`."""
    program = training(forward("net", graph))
    if optimized:
        optimize_training(program)
    return backend.emit(program)


def load(source: str) -> dict[str, Any]:
    module: dict[str, Any] = {}
    exec(compile(source, "<emitted>", "exec"), module)
    return module


def assert_computes(
    graph: Graph,
    inputs: Sequence[np.ndarray],
    tolerance: float,
    optimized: bool = True,
    backend: Backend = nnc_numpy.backend,
) -> str:
    """The emitted function gives what the interpreter gives, in its types; the source."""
    wanted = interpret(graph, inputs)
    source = source_of(graph, optimized, backend)
    function: Callable[..., Mapping[str, Any]] = load(source)["forward"]
    with np.errstate(all="ignore"):
        found = function({}, *inputs)
    for name, expected in wanted.items():
        value = np.asarray(found[name])
        assert (value.dtype, value.shape) == (expected.dtype, expected.shape), source
        np.testing.assert_allclose(
            value, expected, tolerance, tolerance, err_msg=source, strict=True
        )
    return source


def single_op(op: str, arrays: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> Graph:
    """A graph of one op on inputs like `arrays`."""
    builder = Builder(Graph(op))
    inputs = [
        builder.input(f"x{i}", TensorType(dtype_of(array), array.shape))
        for i, array in enumerate(arrays)
    ]
    made = builder.emit(op, *inputs, **attrs)
    results = made if isinstance(made, tuple) else (made,)
    builder.graph.outputs = {f"y{i}": result.value for i, result in enumerate(results)}
    return builder.graph
