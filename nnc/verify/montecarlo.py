"""Monte Carlo arithmetic: a graph in float64 whose every op errs at random as it may in its type.

D. S. Parker, *Monte Carlo Arithmetic: exploiting randomness in floating-point arithmetic* (UCLA
CSD-970002, 1997): run a computation several times, each result changed by a random amount of the
size that its rounding can have, and the spread of the outcomes is what rounding does to them, with
all cancellation and amplification on the way.  Decisions (relu, max, argmax) fall now to one side,
now to the other, where they hang on a rounding, so the spread is large there by itself.

`Machine` runs one graph so, or without any error; the sizes of errors are those of `rounding`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from nnc.ir.graph import Graph, Node, Value
from nnc.ir.interpret import as_float64, with_sizes
from nnc.ops.registry import OPS
from nnc.passes.dead_code import remove_unreached
from nnc.passes.inline import inline_calls
from nnc.passes.legalize import MARKERS, legalize
from nnc.verify.rounding import (
    EXACT,
    FORMATS,
    SUMS,
    Format,
    absolute,
    error_size,
    is_exact,
    overflowed,
)

Arrays = dict[str, np.ndarray]
Pins = Mapping[str, np.ndarray]

#: the ops that are not made of others; an error of their size is added to each result
CORE = frozenset(name for name, op in OPS.items() if not op.composite).difference(MARKERS)

POOL = 1 << 20


@cache
def _pool() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1.0, 1.0, POOL)


class Noise:
    """The errors of one run.

    Random numbers are slices of one pool, since drawing afresh costs more.  The sizes of the errors
    of sums, which cost as much as the sums themselves, are kept in `sizes` in order of execution:
    runs on the same inputs share them.
    """

    def __init__(self, seed: int, sizes: list[Any]):
        self.rng = np.random.default_rng(seed)
        self.pool = _pool()
        self.sizes = sizes
        self.used = 0

    def like(self, array: np.ndarray) -> np.ndarray:
        """Random numbers, uniform in [-1, 1), in the shape of `array`."""
        if array.size > POOL // 2:
            return self.rng.uniform(-1.0, 1.0, array.shape)
        start = int(self.rng.integers(POOL - array.size))
        return self.pool[start : start + array.size].reshape(array.shape)

    def size(
        self, op: str, y: np.ndarray, xs: Sequence[np.ndarray], attrs: Mapping[str, Any]
    ) -> Any:
        """`error_size`, or what it was in an earlier run at the same place."""
        if op not in SUMS:
            return error_size(op, y, *xs, **attrs)
        if self.used == len(self.sizes):
            self.sizes.append(error_size(op, y, *xs, **attrs))
        self.used += 1
        return self.sizes[self.used - 1]


@dataclass(frozen=True)
class Instruction:
    """One node: how to evaluate it in float64, and the format in which its results are rounded."""

    node: Node
    attrs: Mapping[str, Any]
    formats: tuple[Format | None, ...]
    body: Machine | None = None

    def evaluate(self, operands: list[np.ndarray], noise: Noise | None) -> tuple[np.ndarray, ...]:
        if self.body is not None:
            return _scan(self.body, self.attrs, operands, noise)
        evaluate = OPS[self.node.op].evaluate
        assert evaluate is not None, self.node.op
        found = evaluate(*operands, **self.attrs)
        return tuple(map(np.asarray, found if isinstance(found, tuple) else (found,)))


class Machine:
    """`graph` made ready to run many times; sizes that it leaves open are given by `sizes`.

    With `expand`, composites are replaced by the ops they are made of, so that errors arise in each
    of their parts; without, they are evaluated as they are defined.
    """

    def __init__(self, graph: Graph, *, expand: bool = False, sizes: Mapping[str, int] = {}):
        graph = with_sizes(graph, sizes) if sizes else graph.copy()
        inline_calls(graph)
        if expand:
            legalize(graph, CORE)
        remove_unreached(graph)
        wide = as_float64(graph)
        self.inputs = {wide.node(id).attrs["name"]: id for id in wide.inputs}
        self.outputs = dict(wide.outputs)
        self.program = [_instruction(node, graph, expand) for node in wide]

    def run(
        self, inputs: Mapping[str, Any], noise: Noise | None = None, pins: Pins | None = None
    ) -> Arrays:
        """The outputs for `inputs` by name, floats in float64, exact where there is no `noise`.

        `pins` are outputs that are taken as given instead of computed.
        """
        given = [inputs[name] for name in self.inputs]
        fixed = {self.outputs[name]: value for name, value in (pins or {}).items()}
        with np.errstate(all="ignore"):
            results = self._run(given, noise, fixed)
        return {name: results[v.node][v.index] for name, v in self.outputs.items()}

    def _run(
        self, inputs: Sequence[Any], noise: Noise | None, pins: Mapping[Value, np.ndarray]
    ) -> dict[int, tuple[np.ndarray, ...]]:
        by_id = dict(zip(self.inputs.values(), inputs, strict=True))
        results: dict[int, tuple[np.ndarray, ...]] = {}
        for each in self.program:
            node = each.node
            if node.op == "input":
                found: tuple[np.ndarray, ...] = (_widened(by_id[node.id]),)
                inexact = node.attrs["kind"] == "scalar"
                operands: list[np.ndarray] = []
            else:
                operands = [results[v.node][v.index] for v in node.operands]
                found = each.evaluate(operands, noise)
                inexact = each.body is None and node.op not in EXACT
            if noise is not None and inexact:
                found = tuple(
                    y if f is None else disturbed(node.op, y, operands, each.attrs, f, noise)
                    for y, f in zip(found, each.formats, strict=True)
                )
            found = tuple(map(overflowed, found, each.formats))
            if pins:
                found = tuple(pins.get(Value(node.id, i), y) for i, y in enumerate(found))
            results[node.id] = found
        return results

    def call(self, operands: Sequence[np.ndarray], noise: Noise | None) -> list[np.ndarray]:
        """The outputs in order, for a body."""
        results = self._run(operands, noise, {})
        return [results[v.node][v.index] for v in self.outputs.values()]


def disturbed(
    op: str,
    y: np.ndarray,
    xs: Sequence[np.ndarray],
    attrs: Mapping[str, Any],
    format: Format,
    noise: Noise,
) -> np.ndarray:
    """`y` with a random error of the size that `op` can have in `format`."""
    size = absolute(op, y, noise.size(op, y, xs, attrs), format)
    size = np.maximum(size, np.minimum(np.abs(y), format.underflow))
    return np.where(is_exact(op, y, xs, format), y, y + size * noise.like(y))


def _widened(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _instruction(node: Node, narrow: Graph, expand: bool) -> Instruction:
    """`node` of the float64 graph; `narrow` says which type each result has in the program."""
    original = narrow.node(node.id).types if node.id in narrow.nx else node.types
    formats = tuple(FORMATS.get(type.dtype) for type in original)
    if node.op != "scan":
        return Instruction(node, node.attrs, formats)
    body = Machine(narrow.node(node.id).attrs["body"], expand=expand)
    return Instruction(node, node.attrs, formats, body)


def _scan(
    body: Machine, attrs: Mapping[str, Any], operands: Sequence[np.ndarray], noise: Noise | None
) -> tuple[np.ndarray, ...]:
    """`nnc.ops.scan`, with errors in every round of the body."""
    carries, sequences, length = attrs["carries"], attrs["sequences"], attrs["length"]
    state = list(operands[:carries])
    parts = operands[carries : carries + sequences]
    moved = [np.moveaxis(x, axis, 0) for x, axis in zip(parts, attrs["axes"], strict=True)]
    captures = operands[carries + sequences :]
    rounds: dict[int, list[np.ndarray]] = {}
    for i in reversed(range(length)) if attrs["reverse"] else range(length):
        given = [np.asarray(i, np.int32), *state, *(x[i] for x in moved), *captures]
        made = body.call(given, noise)
        state, rounds[i] = made[:carries], made[carries:]
    stacks = zip(*(rounds[i] for i in range(length)), strict=True)
    placed = (np.stack(s, axis) for s, axis in zip(stacks, attrs["out_axes"], strict=False))
    return (*state, *placed)
