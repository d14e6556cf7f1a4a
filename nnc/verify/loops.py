"""Looking inside a loop: which op of its body is the first to be wrong, and in which round.

The part is printed once more with the loop giving every value of its body too, stacked over the
rounds, so that they can be compared in the order in which they were computed.
"""

from __future__ import annotations

from dataclasses import replace

from nnc.backend import Backend
from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Value
from nnc.verify.expected import expect
from nnc.verify.montecarlo import Machine, Pins
from nnc.verify.parts import Case, Emitted, Variant
from nnc.verify.probes import GIVEN, Fault, origin_of, probe_name, probed_value, values_of


def inside(
    backend: Backend, variant: Variant, case: Case, loop: int, pins: Pins, fault: Fault
) -> Fault:
    """The first op in the body of the scan `loop` that differs.

    `fault` blames the scan itself, and stands where no value in the body differs.
    """
    part, inputs = case.part, variant.inputs(case)
    closed = part.graph(variant.optimized)
    graph, body, names = opened(closed, loop)
    graph.outputs |= {name: probed_value(name) for name in pins}
    training = part.with_graph(variant.optimized, graph)
    seen = Emitted(backend, training, f"{backend.name}_loop").run(part, inputs)
    expected = expect(
        Machine(graph, sizes=inputs.sizes),
        Machine(graph, expand=True, sizes=inputs.sizes),
        inputs.by_name,
        pins,
    )
    wrong = {
        value: expected.ratios(name, seen[name]).reshape(len(seen[name]), -1).max(1, initial=0.0)
        for value, name in names.items()
    }
    rounds = next(iter(wrong.values())).size if wrong else 0
    order = range(rounds)
    for t in reversed(order) if closed.node(loop).attrs["reverse"] else order:
        for node in body:
            ratio = max((wrong[v][t] for v in values_of(node) if v in wrong), default=0.0)
            if ratio > 1:
                where = f"{fault.where}, round {t} of a loop"
                origin = origin_of(body, node) or fault.origin
                return replace(
                    fault, op=node.op, name=node.name, origin=origin, ratio=ratio, where=where
                )
    return fault


def opened(graph: Graph, loop: int) -> tuple[Graph, Graph, dict[Value, str]]:
    """A copy of `graph` whose scan `loop` gives all values of its body as outputs.

    Also its body, and the names of these outputs by the values of the body.
    """
    copy = graph.copy()
    node = copy.node(loop)
    body = node.attrs["body"].copy()
    inner = [v for each in body if each.op not in GIVEN for v in values_of(each)]
    body.outputs |= {f"value_{v.node}_{v.index}": v for v in inner}
    out_axes = (*node.attrs["out_axes"], *(0 for _ in inner))
    builder = Builder(copy, node.origin)
    operands = (builder.tensor(value) for value in node.operands)
    attrs = {**node.attrs, "body": body, "out_axes": out_axes}
    results = builder.emit("scan", *operands, name=node.name, **attrs)
    for index in range(len(node.types)):
        copy.replace(Value(loop, index), results[index].value)
    copy.remove(loop)
    stacks = results[len(node.types) :]
    names = {v: probe_name(stack.value) for v, stack in zip(inner, stacks, strict=True)}
    copy.outputs |= {probe_name(stack.value): stack.value for stack in stacks}
    return copy, body, names
