"""What the parent makes for the workers: data beside the program, emitted sources, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import nnc.api as nnc
from benchmarks.workloads import PROGRAMS, data, sizes_of
from nnc.ir.dims import Dim, product
from nnc.ir.graph import Graph, Node
from nnc.ir.program import Training


def prepare(
    name: str, folder: Path, backends: tuple[str, ...], programs: Path = PROGRAMS, **config: float
) -> int:
    """Fill `folder` with `NAME_BACKEND.py` and `NAME_state.npz`; the FLOPs of a step.

    The data goes into `data/` beside the programs.
    """
    (programs / "data").mkdir(exist_ok=True)
    fields: dict[str, Any] = data(name, sizes_of(name, **config))
    np.savez(programs / "data" / f"{name}.npz", **fields)
    program = nnc.load(programs / f"{name}.nn", **config)
    for backend in backends:
        (folder / f"{name}_{backend}.py").write_text(program.compile(backend).source)
    model = program.compile("numpy")
    np.savez(folder / f"{name}_state.npz", **model.init())
    return step_flops(model.training)


def step_flops(training: Training) -> int:
    """Floating-point operations of the matrix products and convolutions of the first step."""
    return _flops(training.phases[0].steps[0].graph)


def _flops(graph: Graph) -> int:
    return sum(_products(node, graph) for node in graph)


def _products(node: Node, graph: Graph) -> int:
    """2 for each multiplication with its addition; other ops count nothing."""
    types = [graph.type(operand) for operand in node.operands]
    match node.op:
        case "scan":
            return _flops(node.attrs["body"]) * int(node.attrs["length"])
        case "call":
            return _flops(node.attrs["body"])
        case "dot":
            terms = product([types[0].shape[axis] for axis in node.attrs["contract"][0]])
            return _number(2 * node.type.size * terms)
        case "conv":
            return _number(2 * node.type.size * product(types[1].shape[:-1]))
        case "conv_input_grad":
            return _number(2 * types[0].size * product(types[1].shape[:-1]))
        case "conv_filter_grad":
            return _number(2 * types[1].size * product(node.type.shape[:-1]))
    return 0


def _number(dim: Dim) -> int:
    """In training all sizes are numbers."""
    assert isinstance(dim, int)
    return dim
