"""Looking inside a step: the first op, in graph order, whose value is not what it should be.

The part is printed again with an output `@probe/NODE.RESULT` for each value of its graph, and every
value is compared with what Monte Carlo arithmetic expects of it.  A decision that fell otherwise
is right where the op gives it for the operands that the backend itself has, or where it falls both
ways under rounding; what follows is then expected anew, with the decision taken over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnc.backend import Backend
from nnc.ir.graph import Graph, Node, Origin, Value
from nnc.ir.interpret import with_sizes
from nnc.ir.types import numpy_dtype
from nnc.ops.registry import OPS
from nnc.train.places import in_library
from nnc.verify.expected import Error, Expected, expect
from nnc.verify.montecarlo import Machine
from nnc.verify.parts import Case, Emitted, Inputs, Variant
from nnc.verify.twin import Arrays

PREFIX = "@probe/"
#: values that were given, not computed
GIVEN = ("input", "const")
#: decisions of one call that may be taken over before it counts as wrong
MAX_TIES = 16


@dataclass(frozen=True)
class Fault:
    """The first op that is wrong; `where` says in which call and precision."""

    op: str
    name: str
    origin: tuple[Origin, ...]
    ratio: float
    where: str
    brought_in_by: str = ""

    @property
    def place(self) -> str:
        """`digits.nn:14`, the user's own line before the library's."""
        places = sorted(self.origin, key=in_library)
        return next((f"{o.file}:{o.line}" for o in places), "")


@dataclass(frozen=True)
class Examination:
    """A call seen from inside: what remains of its error, and the op to blame for it.

    `pins` are the decisions that fell otherwise, as the backend took them; `node` is the op.
    """

    errors: Mapping[str, Error]
    pins: Arrays
    fault: Fault | None = None
    node: int | None = None


def probe_name(value: Value) -> str:
    return f"{PREFIX}{value.node}.{value.index}"


def probed_value(name: str) -> Value:
    """The value that `probe_name` called so."""
    return Value(*map(int, name.removeprefix(PREFIX).split(".")))


def probed(graph: Graph) -> Graph:
    """A copy of `graph` with every computed value among its outputs."""
    copy = graph.copy()
    for node in graph:
        if node.op not in GIVEN:
            for value in values_of(node):
                copy.outputs[probe_name(value)] = value
    return copy


def values_of(node: Node) -> Iterator[Value]:
    return (Value(node.id, index) for index in range(len(node.types)))


def examine(backend: Backend, variant: Variant, case: Case, found: Arrays) -> Examination:
    """Look into a call whose outputs `found` are not as expected."""
    graph = probed(case.part.graph(variant.optimized))
    emitted = Emitted(
        backend, case.part.with_graph(variant.optimized, graph), f"{backend.name}_probed"
    )
    inputs = variant.inputs(case)
    seen = emitted.run(case.part, inputs)
    meaning = Machine(graph, sizes=inputs.sizes)
    arithmetic = Machine(graph, expand=True, sizes=inputs.sizes)
    pins: Arrays = {}
    while True:
        expected = expect(meaning, arithmetic, inputs.by_name, pins)
        wrong = first_wrong(with_sizes(graph, inputs.sizes), expected, seen, inputs, pins)
        if wrong is None or not wrong.is_tie or len(pins) == MAX_TIES:
            break
        pins[probe_name(wrong.value)] = seen[probe_name(wrong.value)]
    errors = expected.errors(found, case.label)
    output = max(errors, key=lambda name: errors[name].ratio)
    where = f"{case.label}, {variant.precision}"
    looked = Examination(errors, pins)
    if wrong is not None:
        return replace(looked, fault=wrong.fault(graph, where), node=wrong.value.node)
    if errors[output].ratio > 1:
        return replace(looked, fault=_hidden(graph, output, errors[output].ratio, where))
    return looked


def _hidden(graph: Graph, output: str, ratio: float, where: str) -> Fault:
    """Where each value is right when it is returned, the step goes wrong where it is not."""
    node = graph.producer(graph.outputs[output])
    return Fault(node.op, node.name, node.origin, ratio, f"{where}, only when fused")


@dataclass(frozen=True)
class Wrong:
    """A value that differs; a decision that may fall so is a tie."""

    value: Value
    ratio: float
    is_tie: bool = False

    def fault(self, graph: Graph, where: str) -> Fault:
        node = graph.producer(self.value)
        return Fault(node.op, node.name, origin_of(graph, node), self.ratio, where)


def origin_of(graph: Graph, node: Node) -> tuple[Origin, ...]:
    """Where `node` comes from, or what it reads where a pass made it of nothing."""
    work, seen = [node], {node.id}
    while work:
        each = work.pop(0)
        if each.origin:
            return each.origin
        producers = {value.node for value in each.operands} - seen
        seen |= producers
        work += [graph.node(id) for id in sorted(producers)]
    return ()


def first_wrong(
    graph: Graph, expected: Expected, seen: Arrays, inputs: Inputs, pins: Mapping[str, Any]
) -> Wrong | None:
    """The first value in graph order that is not as `expected`; pinned ones are."""
    for node in graph:
        for value in values_of(node) if node.op not in GIVEN else ():
            name = probe_name(value)
            ratios = expected.ratios(name, seen[name])
            if name in pins or not np.any(ratios > 1):
                continue
            ratio = float(np.max(ratios))
            decided = not graph.type(value).is_float
            return Wrong(value, ratio, decided and _follows(graph, node, value, seen, inputs))
    return None


def _follows(graph: Graph, node: Node, value: Value, seen: Arrays, inputs: Inputs) -> bool:
    """Whether the op gives this decision for the operands that the backend has."""
    evaluate = OPS[node.op].evaluate
    if evaluate is None or node.op == "scan":
        return False
    operands = [_operand(graph, each, seen, inputs) for each in node.operands]
    with np.errstate(all="ignore"):
        result = evaluate(*operands, **node.attrs)
    right = result[value.index] if isinstance(result, tuple) else result
    return bool(np.array_equal(right, seen[probe_name(value)]))


def _operand(graph: Graph, value: Value, seen: Arrays, inputs: Inputs) -> np.ndarray:
    node = graph.producer(value)
    if node.op == "input":
        return np.asarray(inputs.by_name[node.attrs["name"]], numpy_dtype(node.type.dtype))
    if node.op == "const":
        evaluate = OPS["const"].evaluate
        assert evaluate is not None
        return np.asarray(evaluate(**node.attrs))
    return seen[probe_name(value)]
