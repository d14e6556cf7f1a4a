"""`nnc summary FILE`: the layers of each model with output shapes, parameters, FLOPs and memory."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nnc.commands.memory import print_memory
from nnc.commands.output import print_remarks
from nnc.commands.tables import byte_text, print_table
from nnc.elaborate import load
from nnc.ir.dims import Dim, product, shape_text, substitute, symbols
from nnc.ir.graph import Graph, Node
from nnc.ir.program import Forward, Training
from nnc.ir.storage import item_bytes
from nnc.ir.types import TensorType
from nnc.passes.pipeline import Pipeline, select

#: ops that move or name numbers and compute none
FREE = frozenset((
    "input", "const", "iota", "size", "reshape", "transpose", "broadcast", "slice", "pad",
    "reverse", "concat", "window", "cast", "bitcast", "take", "take_along", "dynamic_slice",
    "dynamic_update", "stop_gradient", "with_gradient",
))  # fmt: skip


@dataclass
class Layer:
    """One instance: the nodes of `forward` whose scope is its path."""

    path: str
    output: TensorType | None = None
    parameters: int = 0
    flops: Dim = 0
    activations: Dim = 0  # bytes of all results


def run(args: argparse.Namespace) -> int:
    program = load(args.file, overrides=dict(args.set))
    pipeline = Pipeline(select(args.passes, args.no_pass, args.fast_math))
    compiled = program.training(args.train, stack_layers=args.stack_layers, pipeline=pipeline)
    training = program.training(args.train) if args.stack_layers else compiled
    for forward in training.forwards:
        layers = layers_of(forward, training)
        total = Layer("total")
        for layer in layers:
            total.parameters += layer.parameters
            total.flops = total.flops + layer.flops
            total.activations = total.activations + layer.activations
        print_table(
            f"{forward.name} of {training.name}",
            ["layer", "output", "parameters", "FLOPs", "memory"],
            [_row(layer) for layer in [*layers, total]],
        )
    print("FLOPs and memory of results are for one sample, forward")
    print_remarks(compiled.remarks)
    print_memory(compiled, pipeline, args)
    return 0


def layers_of(forward: Forward, training: Training) -> list[Layer]:
    """The layers in the order in which they first compute something."""
    layers: dict[str, Layer] = {}
    sizes = dict.fromkeys(_batch_names(forward.graph), 1)
    for node in forward.graph:
        if node.op == "input":
            continue
        path = _scope(node) or forward.name
        layer = layers.setdefault(path, Layer(path))
        layer.output = node.types[0]
        layer.flops = layer.flops + substitute(flops(node, forward.graph), sizes)
        if node.op not in FREE:
            for type in node.types:
                size = type.size * item_bytes(type.dtype)
                layer.activations = layer.activations + substitute(size, sizes)
    for path, entry in training.state.items():
        if entry.kind == "param" and path.startswith(forward.name):
            owner = path.rpartition(".")[0]
            layer = layers.setdefault(owner, Layer(owner))
            layer.parameters += int(np.prod([int(str(d)) for d in entry.type.shape], dtype=object))
    return [layer for layer in layers.values() if layer.parameters or layer.flops != 0]


def flops(node: Node, graph: Graph) -> Dim:
    """Floating-point operations of a node: 2 for a multiplication with its addition, 1 for others.

    An elementwise function counts as one operation, a loop as its body times its length.
    """
    if node.op in FREE:
        return 0
    if node.op == "scan":
        body = node.attrs["body"]
        return sum((flops(inner, body) for inner in body), 0) * node.attrs["length"]
    if node.op == "call":
        body = node.attrs["body"]
        return sum((flops(inner, body) for inner in body), 0)
    if node.op == "dot":
        shape = graph.type(node.operands[0]).shape
        return 2 * node.type.size * product([shape[axis] for axis in node.attrs["contract"][0]])
    if node.op == "conv":
        kernel = graph.type(node.operands[1]).shape
        return 2 * node.type.size * product(kernel[:-1])
    if node.operands and graph.type(node.operands[0]).rank > node.types[0].rank:
        return graph.type(node.operands[0]).size  # a reduction reads each element once
    return node.types[0].size


def _scope(node: Node) -> str:
    return next((origin.scope for origin in node.origin if origin.scope), "")


def _batch_names(graph: Graph) -> Iterator[str]:
    """The names of sizes that only a batch fixes."""
    for id in graph.inputs:
        for dim in graph.node(id).type.shape[:1]:
            yield from symbols(dim)


def _row(layer: Layer) -> list[str]:
    output = "" if layer.output is None else layer.output.dtype + shape_text(layer.output.shape)
    parameters = f"{layer.parameters:,}" if layer.parameters else ""
    return [layer.path, output, parameters, _count(layer.flops), byte_text(layer.activations)]


def _count(value: Dim) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
