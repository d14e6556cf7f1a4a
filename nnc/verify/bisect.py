"""Which pass brought a fault in: the passes one by one, each graph compared with the first.

Values are compared in float64 at the tolerances of Monte Carlo arithmetic, as between backends.
Passes keep the nodes that they do not rewrite, so the first surviving node whose value changed
reads what the pass put in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from nnc.ir.graph import Graph, Node
from nnc.passes.base import AFTER, Pass
from nnc.verify.expected import Expected, expect
from nnc.verify.montecarlo import Machine
from nnc.verify.parts import Case, Variant
from nnc.verify.probes import Fault, origin_of, probe_name, probed, values_of
from nnc.verify.twin import Arrays


def guilty_pass(variant: Variant, case: Case, passes: Iterable[Pass]) -> Fault | None:
    """The pass after which `case` first gives something else, and the op it changed.

    None where no pass does.
    """
    inputs = variant.inputs(case)
    graph = case.part.graph(variant.meaning).copy()
    before = probed(graph)
    meant = expect(
        Machine(before, sizes=inputs.sizes),
        Machine(before, expand=True, sizes=inputs.sizes),
        inputs.by_name,
    )
    for each in (each for each in passes if each.stage == AFTER):
        each.run(graph)
        found = Machine(probed(graph), sizes=inputs.sizes).run(inputs.by_name)
        ratio = max(meant.ratio(name, found[name]) for name in graph.outputs)
        if ratio > 1:
            where = f"{case.label}, {variant.precision}"
            node = _changed(graph, before, meant, found)
            fault = Fault(node.op, node.name, origin_of(graph, node), ratio, where)
            return replace(fault, brought_in_by=each.name)
    return None


def _changed(graph: Graph, before: Graph, meant: Expected, found: Arrays) -> Node:
    """What a pass put into `graph` that changed a value."""
    for node in graph:
        if node.id not in before.nx or node.op in ("input", "const"):
            continue
        names = [probe_name(value) for value in values_of(node)]
        if all(not np.any(meant.ratios(name, found[name]) > 1) for name in names):
            continue
        new = [graph.producer(v) for v in node.operands if v.node not in before.nx]
        return new[0] if new else node
    return next(graph.producer(v) for v in graph.outputs.values() if v.node not in before.nx)
