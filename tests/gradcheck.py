"""Gradients of ops against central differences in float64, to any order.

A family's cases stand in `tests/ops/cases_FAMILY.py` as `CASES`; ops whose gradient is not one of
their values, or that have none, are listed there in `EXEMPT` with the reason.
`tests/ops/test_gradients.py` runs them all and says which ops are missing.

    CASES = [Case("mul", (normal(2, 3), normal(2, 3)))]

Kinks are excluded by rule: a case where the differences from the left and from the right disagree
sits on one (or a step over one), and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.reverse import vjp
from nnc.ir.types import TensorType, dtype_of
from nnc.ir.verify import verify
from nnc.ops.registry import OPS

STEP = 1e-5
RELATIVE, ABSOLUTE = 1e-6, 1e-7  # truncation is STEP^2, rounding eps / STEP; see numeric_gradient
KINK = 1e-2

Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Case:
    """One use of an op; `order` is how often it is differentiated.

    Floats are float64.  They are few: every element costs two evaluations.
    """

    op: str
    arrays: tuple[np.ndarray, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    order: int = 2
    label: str = ""

    def __str__(self) -> str:
        return f"{self.op}-{self.label}" if self.label else self.op


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def uniform(low: float, high: float, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape)


def check_gradient(
    op: str, arrays: Arrays, attrs: Mapping[str, Any] | None = None, order: int = 1
) -> None:
    """Assert that the vjp of `op` at `arrays` is that of finite differences, up to `order`."""
    builder = Builder(Graph(op))
    xs = [_input(builder, x) for x in arrays]
    emitted = builder.emit(op, *xs, **(attrs or {}))
    ys = list(emitted) if isinstance(emitted, tuple) else [emitted]
    rule = OPS[op].vjp
    assert rule is not None, f"{op} has no vjp"

    values = list(arrays)
    dys = [_cotangent(builder, y, values) if y.type.is_float else None for y in ys]
    sources = [*xs, *(dy for dy in dys if dy is not None)]
    dy, y = (tuple(dys), tuple(ys)) if isinstance(emitted, tuple) else (dys[0], ys[0])
    gradients = list(rule(dy, y, *xs, **(attrs or {})))
    _compare(builder, _inner(builder, ys, dys), xs, gradients, sources, values, f"{op}: gradient")

    for number in range(2, order + 1):
        # The gradient of <gradient, fixed directions> with respect to operands and cotangents.
        given = [g for g in gradients if g is not None]
        directions = [_cotangent(builder, g, values) for g in given]
        before = list(sources)
        sources = [*sources, *directions]
        wrt = [x for x in before if x.type.is_float]
        gradients = list(vjp(builder, given, directions, wrt))
        inner = _inner(builder, given, directions)
        _compare(builder, inner, wrt, gradients, sources, values, f"{op}: derivative {number}")


def _input(builder: Builder, value: np.ndarray) -> Tensor:
    name = f"x{len(builder.graph.inputs)}"
    return builder.input(name, TensorType(dtype_of(value), value.shape))


def _cotangent(builder: Builder, y: Tensor, values: list[np.ndarray]) -> Tensor:
    """A further input, of y's type; its value is appended to `values`."""
    values.append(normal(*y.shape, seed=len(values)))  # type: ignore[arg-type]
    return _input(builder, values[-1])


def _inner(builder: Builder, ys: Sequence[Tensor], dys: Sequence[Tensor | None]) -> Tensor:
    total = builder.const(0.0, "f64")
    for y, dy in zip(ys, dys, strict=True):
        if dy is not None:
            total = total + (y * dy).sum(tuple(range(y.rank)))
    return total


def _compare(
    builder: Builder,
    function: Tensor,
    wrt: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    sources: Sequence[Tensor],
    values: Arrays,
    what: str,
) -> None:
    graph = builder.graph
    graph.outputs = {f"d{i}": g.value for i, g in enumerate(gradients) if g is not None}
    verify(graph)
    found = interpret(graph, values)
    graph.outputs = {"y": function.value}

    def evaluate(arrays: Arrays) -> float:
        return float(interpret(graph, arrays)["y"])

    for index, x in enumerate(wrt):
        if x.type.is_float:
            expected = numeric_gradient(evaluate, values, sources.index(x))
            actual = found.get(f"d{index}", np.zeros(expected.shape))
            np.testing.assert_allclose(
                actual, expected, RELATIVE, ABSOLUTE, err_msg=f"{what} for operand {index}"
            )


def numeric_gradient(function: Callable[[Arrays], float], values: Arrays, index: int) -> np.ndarray:
    """d function / d values[index] by central differences; an AssertionError on a kink."""
    here = function(values)
    gradient = np.zeros(values[index].shape)
    for place in np.ndindex(gradient.shape):
        ends = []
        for step in (-STEP, STEP):
            moved = [np.array(x) for x in values]
            moved[index][place] += step
            ends.append(function(moved))
        left, right = (here - ends[0]) / STEP, (ends[1] - here) / STEP
        assert abs(left - right) < KINK * (1.0 + abs(left) + abs(right)), f"a kink at {place}"
        gradient[place] = (left + right) / 2
    return gradient
