"""Arithmetic that is the same for real numbers and rounds otherwise in floating point.

Numbers that stand once for a whole array (constants, and any other scalar that is broadcast) are
gathered into one, which costs an array less each: x * a * b is x * (a * b), x / a is x * (1 / a),
a sum of multiples is the multiple of a sum.  Only on request (`--fast-math`): results differ by
rounding, and where a scalar overflows or is 0 on the way, by more.
"""

from __future__ import annotations

from collections.abc import Callable

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node
from nnc.passes.base import Pass, Rewriter, run_on_bodies
from nnc.passes.fold_constants import splat

#: a value as `base * factor`, where `factor` is a scalar
Scaled = tuple[Tensor, Tensor]


def run(graph: Graph) -> None:
    run_on_bodies(graph, run)
    rewriter = Rewriter(graph)
    for node in rewriter:
        rule = RULES.get(node.op)
        if rule is None or not node.type.is_float or (not node.type.rank and node.op != "sum"):
            continue
        with rewriter.builder.at(node.origin):
            result = rule(rewriter.builder, node, *rewriter.operands(node))
        if result is not None:
            rewriter.replace_node(node, (result,))


# ---------------------------------------------------------------- what a value is a multiple of
def scalar(x: Tensor) -> Tensor | None:
    """The scalar that `x` repeats."""
    node = x.builder.graph.producer(x.value)
    if node.op != "broadcast" or node.attrs["axes"]:
        return None
    return x.builder.tensor(node.operands[0])


def scaled(x: Tensor) -> Scaled | None:
    """`x` as a multiple, where it is computed as one."""
    node = x.builder.graph.producer(x.value)
    operands = [x.builder.tensor(value) for value in node.operands]
    if node.op == "neg":
        return operands[0], x.builder.const(-1.0, x.dtype)
    if node.op == "mul":
        for base, factor in (operands, operands[::-1]):
            number = scalar(factor)
            if number is not None:
                return base, number
    return None


def times(base: Tensor, factor: Tensor) -> Tensor:
    return base * factor.expand(base.shape)


# ---------------------------------------------------------------- rules
def product(builder: Builder, node: Node, x: Tensor, y: Tensor) -> Tensor | None:
    """(x * a) * b is x * (a * b); (x * a) * (y * b) is (x * y) * (a * b)."""
    for one, other in ((x, y), (y, x)):
        number, multiple = scalar(one), scaled(other)
        if number is not None and multiple is not None and is_read_once(other):
            return times(multiple[0], multiple[1] * number)
    left, right = scaled(x), scaled(y)
    if left is None or right is None or not (is_read_once(x) and is_read_once(y)):
        return None
    return times(left[0] * right[0], left[1] * right[1])


def quotient(builder: Builder, node: Node, x: Tensor, y: Tensor) -> Tensor | None:
    """x / a is x * (1 / a), and a / (x * b) is (a / b) / x."""
    below = scalar(y)
    if below is not None:
        return times(x, builder.const(1.0, x.dtype) / below)
    above, multiple = scalar(x), scaled(y)
    if above is None or multiple is None or not is_read_once(y):
        return None
    return (above / multiple[1]).expand(x.shape) / multiple[0]


def total(builder: Builder, node: Node, x: Tensor) -> Tensor | None:
    """The sum of multiples is the multiple of the sum."""
    multiple = scaled(x)
    if multiple is None or not node.attrs["axes"] or not is_read_once(x):
        return None
    return times(multiple[0].sum(node.attrs["axes"]), multiple[1])


def sum_of_multiples(builder: Builder, node: Node, x: Tensor, y: Tensor) -> Tensor | None:
    """x * a + y * a is (x + y) * a, with the sign of `node`; x * a - y * -a as well."""
    left, right = scaled(x), scaled(y)
    if left is None or right is None or not (is_read_once(x) and is_read_once(y)):
        return None
    a, b = (splat(builder.graph, factor.value) for _, factor in (left, right))
    if left[1].value == right[1].value or (a is not None and a == b):
        return times(left[0].binary(node.op, right[0]), left[1])
    if a is not None and b is not None and a == -b and abs(a) != 1:
        other = {"add": "sub", "sub": "add"}[node.op]
        return times(left[0].binary(other, right[0]), left[1])
    return None


def is_read_once(x: Tensor) -> bool:
    graph = x.builder.graph
    return graph.is_read_once(x.value.node) and x.value not in graph.outputs.values()


RULES: dict[str, Callable[..., Tensor | None]] = {
    "mul": product,
    "div": quotient,
    "sum": total,
    "add": sum_of_multiples,
    "sub": sum_of_multiples,
}

reassociate = Pass(
    "reassociate", run, "gather scalar factors, which rounds otherwise (--fast-math)", exact=False
)
