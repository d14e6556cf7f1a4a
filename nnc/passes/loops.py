"""Moves work out of `scan`: one large product instead of many small ones.

Three things need not happen round by round.  What does not depend on the round is computed before
the loop; so is a product of a sequence with something that stays, as one product over all rounds
(the input projection of a recurrent layer).  A product that is only collected is computed after the
loop.  And what a carry merely adds up (the gradient of a weight) is summed after the loop: the sum
over rounds of `a.T @ b` is one product that contracts over the rounds too.

Sums over rounds change their order and so their rounding, no more.
"""

from __future__ import annotations

from dataclasses import dataclass

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node, Value
from nnc.passes.base import Pass, run_on_bodies
from nnc.passes.fold_constants import splat
from nnc.passes.open_loop import OpenLoop, reachable

Axes = tuple[int, ...]

#: not worth a name of their own outside: views and numbers
TRIVIAL = frozenset({"const", "iota", "size", "broadcast", "reshape", "transpose", "input"})


def run(graph: Graph) -> None:
    run_on_bodies(graph, run)
    for node in [node for node in graph if node.op == "scan"]:
        loop = OpenLoop(graph, node)
        hoist_invariants(loop)
        hoist_products(loop)
        totals = [total for k in range(loop.carries) if (total := accumulated(loop, k))]
        late = [product for k in loop.stacks if (product := collected(loop, k))]
        if loop.changed:
            close(loop, totals, late)


# ---------------------------------------------------------------- before the loop
def hoist_invariants(loop: OpenLoop) -> None:
    """Compute what is the same in every round once, outside, where it is more than a view."""
    outside = {loop.port(i): x for i, x in enumerate(loop.operands)}
    for node in list(loop.body):
        if node.id in loop.varying or node.op == "input" or "body" in node.attrs:
            continue
        if any(value not in outside for value in node.operands):
            continue
        with loop.outer.at(node.origin):
            made = loop.outer.emit(
                node.op, *(outside[v] for v in node.operands), name=node.name, **node.attrs
            )
        results = made if isinstance(made, tuple) else (made,)
        for index, x in enumerate(results):
            old = Value(node.id, index)
            outside[old] = x
            readers = {user.id for user, _ in loop.body.users(old)}
            seen = readers & loop.varying or old in loop.body.outputs.values()
            if node.op not in TRIVIAL and seen:
                loop.replace(old, loop.add_capture(x, node.name or node.op))


def hoist_products(loop: OpenLoop) -> None:
    """One product over all rounds for each product of a sequence with what stays."""
    for node in list(loop.body):
        if node.op != "dot":
            continue
        for side in (0, 1):
            found = loop.sequence(node.operands[side])
            other = loop.operand(node.operands[1 - side])
            if found is None or other is None or not loop.is_invariant(node.operands[1 - side]):
                continue
            with loop.outer.at(node.origin):
                whole, axis = product_over_rounds(
                    loop.outer, node, side, *found, loop.operands[other]
                )
            name = node.name or loop.body.producer(node.operands[side]).attrs["name"]
            loop.replace(Value(node.id), loop.add_sequence(whole, axis, name))
            break


def product_over_rounds(
    builder: Builder, node: Node, side: int, sequence: Tensor, axis: int, other: Tensor
) -> tuple[Tensor, int]:
    """The `dot` of `node` for all rounds; operand `side` is a sequence along `axis`.  Also the axis
    of the result that counts the rounds."""
    contract, batch = (shifted(node.attrs[key], {side: axis}) for key in ("contract", "batch"))
    operands = (sequence, other) if side == 0 else (other, sequence)
    whole: Tensor = builder.emit("dot", *operands, contract=contract, batch=batch)
    used = {*contract[side], *batch[side]}
    place = len(batch[0]) + sum(a not in used for a in range(axis))
    if side == 1:
        place += other.rank - len(contract[0]) - len(batch[0])
    return whole, place


def shifted(pairs: tuple[Axes, Axes], at: dict[int, int]) -> tuple[Axes, Axes]:
    """Pairs of axes where operand `side` has one more axis, at `at[side]`."""
    left, right = (
        tuple(axis + (side in at and axis >= at[side]) for axis in axes)
        for side, axes in enumerate(pairs)
    )
    return left, right


# ---------------------------------------------------------------- after the loop
@dataclass(frozen=True)
class Part:
    """What of one operand of a moved op is known outside: a stack, or a sequence with its axis."""

    stack: int | None = None
    sequence: tuple[Tensor, int] | None = None

    def whole(self, loop: OpenLoop, results: tuple[Tensor, ...]) -> tuple[Tensor, int]:
        if self.sequence is not None:
            return self.sequence
        assert self.stack is not None
        return results[self.stack], loop.out_axes[self.stack - loop.carries]


def part(loop: OpenLoop, value: Value, axis: int = 0) -> Part:
    """`value` of all rounds; a new stack of it lies along `axis`, if it has so many."""
    sequence = loop.sequence(value)
    if sequence is not None:
        return Part(sequence=sequence)
    return Part(loop.add_stack(value, min(axis, loop.body.type(value).rank)))


@dataclass(frozen=True)
class Total:
    """A carry whose `terms` are added up outside; `rest` is whether it keeps others."""

    carry: int
    terms: list[tuple[Node, tuple[Part, ...]]]
    rest: bool


def accumulated(loop: OpenLoop, carry: int) -> Total | None:
    """The terms that `carry` adds up and that can be summed after the loop."""
    port = loop.port(carry)
    terms = added(loop, carry)
    movable = [v for v in terms or () if is_movable(loop, v)]
    if not movable:
        return None
    assert terms is not None
    rest = [value for value in terms if value not in movable]
    kept = loop.inner.tensor(port)
    for value in rest:
        kept = kept + loop.inner.tensor(value)
    loop.set_output(carry, kept.value)
    loop.changed = True
    found = []
    for value in movable:
        node = loop.body.producer(value)
        axes = [s[1] for v in node.operands if (s := loop.sequence(v)) is not None]
        parts = tuple(part(loop, v, axes[0] if axes else 0) for v in node.operands)
        found.append((node, parts))
    return Total(carry, found, bool(rest))


def added(loop: OpenLoop, carry: int) -> list[Value] | None:
    """The terms `t` of a carry that only becomes `carry + t + ...`; None for any other."""
    body, port = loop.body, loop.port(carry)
    after = reachable(body, [port.node])
    outputs = list(body.outputs.values())
    terms: list[Value] = []
    value = loop.output(carry)
    while value != port:
        node = body.producer(value)
        leading = [v for v in node.operands if v.node in after]
        if node.op != "add" or len(leading) != 1:
            return None
        if value != loop.output(carry) and (value in outputs or body.nx.out_degree(node.id) > 1):
            return None
        terms += summands(body, next(v for v in node.operands if v != leading[0]))
        value = leading[0]
    only = body.nx.out_degree(port.node) <= 1 and outputs.count(port) <= (not terms)
    return terms if only and outputs.count(loop.output(carry)) == 1 else None


def summands(body: Graph, value: Value) -> list[Value]:
    """The terms of a sum that nothing else reads."""
    terms: list[Value] = []
    stack = [value]
    while stack:
        term = stack.pop()
        node = body.producer(term)
        is_alone = body.nx.out_degree(node.id) <= 1 and term not in body.outputs.values()
        if node.op == "add" and is_alone:
            stack += reversed(node.operands)
        else:
            terms.append(term)
    return terms


def is_movable(loop: OpenLoop, value: Value) -> bool:
    """Whether the sum of `value` over all rounds is one op: a product or a sum of what varies."""
    node = loop.body.producer(value)
    if node.op not in ("dot", "sum"):
        return False
    return not any(loop.is_invariant(operand) for operand in node.operands)


@dataclass(frozen=True)
class Late:
    """A stack whose product with something that stays is computed after the loop."""

    stack: int
    node: Node
    side: int
    part: Part
    other: Tensor
    axis: int  # where the stack had the rounds


def collected(loop: OpenLoop, stack: int) -> Late | None:
    """A product that is only collected in `stack`, as one over all rounds."""
    value = loop.output(stack)
    node = loop.body.producer(value)
    is_read = loop.body.nx.out_degree(node.id) or list(loop.body.outputs.values()).count(value) > 1
    if node.op != "dot" or is_read:
        return None
    for side in (0, 1):
        other = loop.operand(node.operands[1 - side])
        varies = not loop.is_invariant(node.operands[side])
        if varies and other is not None and loop.is_invariant(node.operands[1 - side]):
            axis = loop.out_axes[stack - loop.carries]
            found = part(loop, node.operands[side], axis)
            return Late(stack, node, side, found, loop.operands[other], axis)
    return None


def close(loop: OpenLoop, totals: list[Total], late: list[Late]) -> None:
    """Put the changed loop in the place of the old one, and what was moved around it."""
    results = loop.emit()
    values = [x.value for x in results[: len(loop.node.types)]]
    for total in totals:
        initial = loop.operands[total.carry]
        base = results[total.carry] if total.rest else initial
        is_zero = not total.rest and splat(loop.graph, initial.value) == 0
        values[total.carry] = summed(loop, total, results, None if is_zero else base).value
    for product in late:
        with loop.outer.at(product.node.origin):
            sequence, axis = product.part.whole(loop, results)
            whole, place = product_over_rounds(
                loop.outer, product.node, product.side, sequence, axis, product.other
            )
            values[product.stack] = moved(whole, place, product.axis).value
    loop.graph.replace_results(loop.node, values)
    loop.graph.remove(loop.node.id)


def summed(loop: OpenLoop, total: Total, results: tuple[Tensor, ...], sum: Tensor | None) -> Tensor:
    """`sum` and the terms of `total` in all rounds."""
    for node, parts in total.terms:
        wholes = [each.whole(loop, results) for each in parts]
        with loop.outer.at(node.origin):
            term = over_rounds(loop.outer, node, wholes)
            sum = term if sum is None else sum + term
    assert sum is not None
    return sum


def over_rounds(builder: Builder, node: Node, wholes: list[tuple[Tensor, int]]) -> Tensor:
    """The sum over all rounds of a `dot` or `sum`."""
    (x, axis), *others = wholes
    if node.op == "sum":
        axes = (axis, *(a + (a >= axis) for a in node.attrs["axes"]))
        result: Tensor = x.emit("sum", axes=tuple(sorted(axes)))
        return result
    ((y, other),) = others
    contract = shifted(node.attrs["contract"], {0: axis, 1: other})
    pairs = sorted([(axis, other), *zip(*contract, strict=True)])
    contract = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    batch = shifted(node.attrs["batch"], {0: axis, 1: other})
    product: Tensor = builder.emit("dot", x, y, contract=contract, batch=batch, name=node.name)
    return product


def moved(x: Tensor, source: int, target: int) -> Tensor:
    """`x` with its axis `source` at `target`."""
    order = [axis for axis in range(x.rank) if axis != source]
    order.insert(target, source)
    return x.transpose(tuple(order))


loops = Pass("loops", run, "move products out of loops: before them, or after as one", exact=False)
