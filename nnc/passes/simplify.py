"""Rewrites single nodes into simpler ones that compute the same, until no rule applies.

The algebra is data (`algebra.py`).  The rules here are about axes, and each is one function from a
node to what takes its place, or None: compositions of shape ops collapse, elementwise work moves
from below a broadcast to above it, transposes go into `dot`.

Runs after differentiation only: it drops the markers that differentiation reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from nnc.ir.builder import Builder, Tensor
from nnc.ir.dims import equal
from nnc.ir.graph import Graph, Node
from nnc.ir.types import SHORT_FLOATS, same_shape
from nnc.ops.registry import OPS
from nnc.passes import algebra
from nnc.passes.base import Pass, Rewriter, run_on_bodies
from nnc.passes.fold_constants import splat

Rule = Callable[[Builder, Node, tuple[Tensor, ...]], "Tensor | None"]

RULES: dict[str, list[Rule]] = {}


def rule(*ops: str) -> Callable[[Rule], Rule]:
    """Register a rule for nodes of these ops."""

    def register(function: Rule) -> Rule:
        for op in ops:
            RULES.setdefault(op, []).append(function)
        return function

    return register


def run(graph: Graph) -> None:
    run_on_bodies(graph, run)
    rewriter = Rewriter(graph)
    for node in rewriter:
        result = simpler(rewriter.builder, node)
        if result is not None:
            rewriter.replace_node(node, (result,))


def simpler(builder: Builder, node: Node) -> Tensor | None:
    """What takes the place of `node` by the first rule that applies."""
    rules = RULES_OF[node.op]
    if not rules and node.op not in algebra.RULES:
        return None
    with builder.at(node.origin):
        operands = tuple(builder.tensor(value) for value in node.operands)
        for axes_rule in rules:
            result = axes_rule(builder, node, operands)
            if result is not None:
                return result
        return algebra.rewrite(builder, node)


def made_by(x: Tensor, op: str) -> Node | None:
    """The node that made `x` where it is an `op`."""
    node = x.builder.graph.producer(x.value)
    return node if node.op == op else None


def first_operand(builder: Builder, node: Node) -> Tensor:
    return builder.tensor(node.operands[0])


def is_read_once(x: Tensor) -> bool:
    return x.builder.graph.is_read_once(x.value.node)


# ---------------------------------------------------------------- ops that do nothing
def _whole_slice(node: Node, x: Tensor) -> bool:
    start, stop, step = node.attrs["start"], node.attrs["stop"], node.attrs["step"]
    return same_shape(stop, x.shape) and not any(start) and set(step) <= {1}


#: op -> whether it gives its first operand back; the markers are for differentiation alone
IDLE: dict[str, Callable[[Node, Tensor], bool]] = {
    "reshape": lambda node, x: same_shape(node.type.shape, x.shape),
    "broadcast": lambda node, x: (
        node.attrs["axes"] == tuple(range(node.type.rank)) and same_shape(node.type.shape, x.shape)
    ),
    "transpose": lambda node, x: node.attrs["perm"] == tuple(range(x.rank)),
    "cast": lambda node, x: node.type.dtype == x.dtype,
    "bitcast": lambda node, x: node.type.dtype == x.dtype,
    "round_to": lambda node, x: node.attrs["dtype"] == x.dtype,
    "slice": _whole_slice,
    "pad": lambda node, x: not any(node.attrs["low"]) and not any(node.attrs["high"]),
    "reverse": lambda node, x: all(equal(x.shape[a], 1) is True for a in node.attrs["axes"]),
    "concat": lambda node, x: len(node.operands) == 1,
    "stop_gradient": lambda node, x: True,
    "with_gradient": lambda node, x: True,
    "on_gradient": lambda node, x: True,
    "max": lambda node, x: not node.attrs["axes"],
    "min": lambda node, x: not node.attrs["axes"],
    "sum": lambda node, x: not node.attrs["axes"],
    "prod": lambda node, x: not node.attrs["axes"],
}


@rule(*IDLE)
def idle(builder: Builder, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    return operands[0] if IDLE[node.op](node, operands[0]) else None


#: comparisons with their operands exchanged
MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


@rule(*MIRRORED)
def constant_on_the_right(
    builder: Builder, node: Node, operands: tuple[Tensor, ...]
) -> Tensor | None:
    left, right = (splat(builder.graph, x.value) for x in operands)
    if left is None or right is not None:
        return None
    mirrored: Tensor = operands[1].emit(MIRRORED[node.op], operands[0])
    return mirrored


# ---------------------------------------------------------------- one op after another
@rule("reshape")
def reshape_of_reshape(builder: Builder, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    before = made_by(operands[0], "reshape")
    return first_operand(builder, before).reshape(node.type.shape) if before else None


@rule("transpose")
def transpose_of_transpose(
    builder: Builder, node: Node, operands: tuple[Tensor, ...]
) -> Tensor | None:
    before = made_by(operands[0], "transpose")
    if before is None:
        return None
    perm = tuple(before.attrs["perm"][axis] for axis in node.attrs["perm"])
    return first_operand(builder, before).transpose(perm)


@rule("broadcast")
def broadcast_of_broadcast(
    builder: Builder, node: Node, operands: tuple[Tensor, ...]
) -> Tensor | None:
    before = made_by(operands[0], "broadcast")
    if before is None:
        return None
    axes = tuple(node.attrs["axes"][axis] for axis in before.attrs["axes"])
    return first_operand(builder, before).broadcast(node.type.shape, axes)


@rule("iota")
def iota_along_one_axis(
    builder: Builder, node: Node, operands: tuple[Tensor, ...]
) -> Tensor | None:
    """Counting along one axis of several is counting, broadcast."""
    shape, axis = node.attrs["shape"], node.attrs["axis"]
    if len(shape) == 1:
        return None
    counts = builder.emit("iota", shape=(shape[axis],), axis=0, dtype=node.attrs["dtype"])
    result: Tensor = counts.broadcast(shape, (axis,))
    return result


@rule("transpose")
def transpose_of_broadcast(
    builder: Builder, node: Node, operands: tuple[Tensor, ...]
) -> Tensor | None:
    before = made_by(operands[0], "broadcast")
    if before is None:
        return None
    place = {axis: i for i, axis in enumerate(node.attrs["perm"])}
    axes = tuple(place[axis] for axis in before.attrs["axes"])
    x = first_operand(builder, before)
    order = tuple(sorted(range(x.rank), key=lambda i: axes[i]))
    return x.transpose(order).broadcast(node.type.shape, tuple(sorted(axes)))


@rule("reshape", "slice", "reverse")
def scalar_everywhere(builder: Builder, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    """A rearranged broadcast scalar is the scalar, broadcast."""
    before = made_by(operands[0], "broadcast")
    if before is None or before.attrs["axes"]:
        return None
    return first_operand(builder, before).expand(node.type.shape)


@rule("reverse")
def reverse_of_reverse(builder: Builder, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    before = made_by(operands[0], "reverse")
    if before is None or set(before.attrs["axes"]) != set(node.attrs["axes"]):
        return None
    return first_operand(builder, before)


#: conversions that lose nothing, so that converting back gives the value again
WIDENING = {
    ("f16", "f32"), ("f16", "f64"), ("bf16", "f32"), ("bf16", "f64"), ("f32", "f64"),
    ("i32", "i64"), ("i32", "f64"), ("u32", "u64"), ("u32", "i64"), ("u32", "f64"),
    ("u16", "u32"), ("u16", "u64"), ("u16", "i32"), ("u16", "i64"), ("u16", "f32"), ("u16", "f64"),
}  # fmt: skip


@rule("cast")
def cast_there_and_back(
    builder: Builder, node: Node, operands: tuple[Tensor, ...]
) -> Tensor | None:
    before = made_by(operands[0], "cast")
    if before is None:
        return None
    x = first_operand(builder, before)
    back = x.dtype == node.type.dtype
    return x if back and ((x.dtype, before.type.dtype) in WIDENING or x.dtype == "bool") else None


@rule("cast")
def cast_of_moved(builder: Builder, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    """Casts to and from short floats stand before what moves elements: two may then meet."""
    moved = made_by(operands[0], "reshape") or made_by(operands[0], "transpose")
    if moved is None or not {node.type.dtype, operands[0].dtype}.intersection(SHORT_FLOATS):
        return None
    x = first_operand(builder, moved).cast(node.type.dtype)
    result: Tensor = x.emit(moved.op, **moved.attrs)
    return result


@rule("round_to")
def rounded_twice(builder: Builder, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    before = made_by(operands[0], "round_to")
    same = before is not None and before.attrs["dtype"] == node.attrs["dtype"]
    return operands[0] if same else None


# ---------------------------------------------------------------- arithmetic
@rule("mul")
def scale_of_choice(builder: Builder, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    """where(c, x, 0) * k is where(c, x * k, 0) for finite positive k: two choices may then meet."""
    for chosen, factor in (operands, operands[::-1]):
        choice, k = made_by(chosen, "where"), splat(builder.graph, factor.value)
        if choice is None or k is None or not 0 < k < math.inf or not node.type.is_float:
            continue
        condition, x, other = (builder.tensor(value) for value in choice.operands)
        zero = splat(builder.graph, other.value)
        if zero is not None and str(float(zero)) == "0.0" and is_read_once(chosen):
            return condition.where(x * factor, other)
    return None


@rule("neg")
def negative_of_scaled(builder: Builder, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    """-(x * c) is x * -c for a number c."""
    product = made_by(operands[0], "mul")
    if product is None or not node.type.is_float or not is_read_once(operands[0]):
        return None
    left, right = (builder.tensor(value) for value in product.operands)
    for x, factor in ((left, right), (right, left)):
        number = splat(builder.graph, factor.value)
        if number is not None:
            return x * -float(number)
    return None


@rule("div")
def divide_by_power_of_two(
    builder: Builder, node: Node, operands: tuple[Tensor, ...]
) -> Tensor | None:
    """x / 2^k is x * 2^-k: both round the same real number."""
    divisor = splat(builder.graph, operands[1].value)
    if divisor is None:
        return None
    mantissa, exponent = math.frexp(float(divisor))
    if abs(mantissa) != 0.5 or not -14 <= exponent <= 14:  # normal in every float type
        return None
    return operands[0] * (1.0 / float(divisor))


def above_broadcast(builder: Builder, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    """Elementwise work on broadcast operands is done before the broadcast, on fewer elements."""
    sources = [made_by(x, "broadcast") for x in operands]
    if any(source is None for source in sources):
        return None
    shape = node.type.shape
    used = sorted({axis for s in sources if s is not None for axis in s.attrs["axes"]})
    if len(used) == len(shape):
        return None
    narrow: list[Tensor] = []
    for source in sources:
        assert source is not None
        axes = tuple(used.index(axis) for axis in source.attrs["axes"])
        x = first_operand(builder, source)
        narrow.append(x.broadcast(tuple(shape[axis] for axis in used), axes))
    result: Tensor = builder.emit(node.op, *narrow, name=node.name, **node.attrs)
    return result.broadcast(shape, tuple(used))


# ---------------------------------------------------------------- dot
@rule("dot")
def dot_of_transpose(builder: Builder, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    """A transposed operand of `dot` is the operand with other axes, if the rest stays in order."""
    contract, batch = list(node.attrs["contract"]), list(node.attrs["batch"])
    sources = list(operands)
    for side, x in enumerate(operands):
        before = made_by(x, "transpose")
        if before is None:
            continue
        perm = before.attrs["perm"]
        rest = [perm[a] for a in range(x.rank) if a not in contract[side] + batch[side]]
        if rest == sorted(rest):
            contract[side] = tuple(perm[a] for a in contract[side])
            batch[side] = tuple(perm[a] for a in batch[side])
            sources[side] = first_operand(builder, before)
    if sources == list(operands):
        return None
    x, y = sources
    result: Tensor = builder.emit("dot", x, y, contract=tuple(contract), batch=tuple(batch))
    return result


@rule("transpose")
def transpose_of_dot(builder: Builder, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    """A product whose factors' axes change places is the product of the exchanged factors."""
    product = made_by(operands[0], "dot")
    if product is None or not is_read_once(operands[0]):
        return None
    contract, batch = product.attrs["contract"], product.attrs["batch"]
    x, y = (builder.tensor(value) for value in product.operands)
    lead = len(batch[0])
    split = x.rank - len(contract[0])
    end = operands[0].rank
    exchanged = (*range(lead), *range(split, end), *range(lead, split))
    if node.attrs["perm"] != exchanged:
        return None
    result: Tensor = builder.emit("dot", y, x, contract=contract[::-1], batch=batch[::-1])
    return result


#: those for elementwise ops
ELEMENTWISE: list[Rule] = [above_broadcast]
#: all that are tried on an op, in this order, before those of the algebra
RULES_OF: dict[str, list[Rule]] = {
    name: RULES.get(name, []) + ELEMENTWISE * (op.family == "elementwise")
    for name, op in OPS.items()
}

simplify = Pass("simplify", run, "apply algebraic rules and collapse shape operations")
