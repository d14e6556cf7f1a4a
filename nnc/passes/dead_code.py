"""Removes what no output needs: nodes, and results, carries and operands of `scan`.

Inputs of the graph itself stay, because they are its signature.
"""

from __future__ import annotations

from dataclasses import dataclass

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Node, Value
from nnc.passes.base import Pass, Rewriter, run_on_bodies


def run(graph: Graph) -> None:
    run_on_bodies(graph, run)
    remove_unreached(graph)
    if any(node.op == "scan" for node in graph.holders()):
        for node in reversed(
            list(graph)
        ):  # what a later one does not need, an earlier one may drop
            if node.op == "scan" and node.id in graph.nx:
                prune_scan(graph, node)


def remove_unreached(graph: Graph) -> None:
    """Remove every node from which no output can be reached."""
    live: set[int] = set()
    stack = [value.node for value in graph.outputs.values()]
    while stack:
        id = stack.pop()
        if id not in live:
            live.add(id)
            stack.extend(value.node for value in graph.node(id).operands)
    dead = [id for id in graph.nx if id not in live and graph.node(id).op != "input"]
    graph.nx.remove_nodes_from(dead)


@dataclass(frozen=True)
class Ports:
    """The operands of a `scan` by role, as indices; the body's inputs are one further on."""

    carries: range
    sequences: range
    captures: range

    @staticmethod
    def of(node: Node) -> Ports:
        carries, sequences = node.attrs["carries"], node.attrs["sequences"]
        return Ports(
            range(carries),
            range(carries, carries + sequences),
            range(carries + sequences, len(node.operands)),
        )


def prune_scan(graph: Graph, node: Node) -> None:
    """Drop stacks that nothing reads, carries that serve only themselves, and unread operands."""
    results, operands = live_ports(graph, node)
    if len(results) == len(node.types) and len(operands) == len(node.operands):
        return
    ports, carries = Ports.of(node), node.attrs["carries"]
    body = node.attrs["body"].copy()
    names = list(body.outputs)
    body.outputs = {names[i]: body.outputs[names[i]] for i in sorted(results)}
    run(body)
    for id in [body.inputs[i + 1] for i in range(len(node.operands)) if i not in operands]:
        body.remove(id)
    attrs = {
        **node.attrs,
        "body": body,
        "carries": sum(i in operands for i in ports.carries),
        "sequences": sum(i in operands for i in ports.sequences),
        "axes": tuple(
            axis
            for i, axis in zip(ports.sequences, node.attrs["axes"], strict=True)
            if i in operands
        ),
        "out_axes": tuple(
            axis for i, axis in enumerate(node.attrs["out_axes"], carries) if i in results
        ),
    }
    rewriter = Rewriter(graph)
    builder = Builder(graph, node.origin)
    kept = [builder.tensor(node.operands[i]) for i in sorted(operands)]
    made = graph.producer(builder.emit("scan", *kept, name=node.name, **attrs)[0].value)
    for new, old in enumerate(sorted(results)):
        rewriter.replace(Value(node.id, old), Value(made.id, new))
    rewriter.remove_unread(node)


def live_ports(graph: Graph, node: Node) -> tuple[set[int], set[int]]:
    """The results of a `scan` that are read (in the end), and the operands that these need."""
    body, ports = node.attrs["body"], Ports.of(node)
    outputs = list(body.outputs.values())
    position = {id: i - 1 for i, id in enumerate(body.inputs)}  # operand index; -1: iteration
    results: set[int] = set()
    operands: set[int] = set()
    seen: set[int] = set()
    work = sorted(read_results(graph, node))
    while work:
        result = work.pop()
        if result in results:
            continue
        results.add(result)
        if result in ports.carries:
            operands.add(result)  # its initial value
        stack = [outputs[result].node]
        while stack:
            id = stack.pop()
            if id in seen:
                continue
            seen.add(id)
            index = position.get(id, -1)
            if index >= 0:
                operands.add(index)
                if index in ports.carries:
                    work.append(index)
            stack.extend(value.node for value in body.node(id).operands)
    return results, operands


def read_results(graph: Graph, node: Node) -> set[int]:
    """The indices of the results of `node` that other nodes or outputs read."""
    edges = graph.nx.out_edges(node.id, data="result")
    return {i for _, _, i in edges} | {v.index for v in graph.outputs.values() if v.node == node.id}


dead_code = Pass("dead_code", run, "remove nodes and loop results that no output needs")
