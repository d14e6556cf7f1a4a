"""gelu and silu: x times what a sigmoid-like function makes of it."""

from __future__ import annotations

import math

from nnc.ir.builder import Builder
from nnc.ir.graph import Node, Value
from nnc.ops.activations import ROOT_HALF
from nnc.passes.formulas.found import Found
from nnc.passes.views import View, scaled

#: how near a number in a formula has to be to the one that is meant
NEAR = 1e-7


def gelu(builder: Builder, view: View, root: Node, erf: Node) -> Found | None:
    """x * (1 + erf(x / sqrt(2))) / 2, its factors and numbers in any order."""
    x, factor = scaled(view, erf.operands[0])
    number, rest = multiplied(view, Value(root.id), x)
    if not math.isclose(factor, ROOT_HALF, rel_tol=NEAR) or x not in rest or len(rest) != 2:
        return None
    share = risen(view, rest[1 - rest.index(x)], erf)
    if share is None or not math.isclose(number * share, 0.5, rel_tol=NEAR):
        return None
    view.through(erf)
    return Found(root, "gelu", [builder.tensor(x)], {})


def multiplied(view: View, value: Value, x: Value, steps: int = 4) -> tuple[float, list[Value]]:
    """The number and the other factors that `value` is the product of, as found in so many steps;
    `x` stays whole."""
    number = view.number(value)
    if number is not None:
        return number, []
    node = view.node(value, "mul", "div") if steps and value != x else None
    if node is None:
        return 1.0, [value]
    left, right = node.operands
    divisor = view.number(right) if node.op == "div" else 1.0
    if not divisor:
        return 1.0, [value]
    view.through(node)
    number, factors = multiplied(view, left, x, steps - 1)
    if node.op == "div":
        return number / divisor, factors
    more, others = multiplied(view, right, x, steps - 1)
    return number * more, factors + others


def risen(view: View, value: Value, node: Node) -> float | None:
    """c where `value` is c + c * y for a number c and the result y of `node`."""
    sum = view.node(value, "add")
    if sum is None:
        return None
    for left, right in (sum.operands, sum.operands[::-1]):
        number, (y, factor) = view.number(left), scaled(view, right)
        if y == Value(node.id) and number == factor:
            view.through(sum)
            return number
    return None


def silu(builder: Builder, view: View, root: Node, sigmoid: Node) -> Found | None:
    """x * sigmoid(x)."""
    (x,) = sigmoid.operands
    if sorted(root.operands) != sorted((x, Value(sigmoid.id))):
        return None
    view.through(sigmoid)
    return Found(root, "silu", [builder.tensor(x)], {})
