"""Attention: softmax of scaled, masked products of queries and keys, times values."""

from __future__ import annotations

from collections.abc import Sequence

from nnc.ir.builder import Builder, Tensor
from nnc.ir.dims import equal
from nnc.ir.graph import Node, Value
from nnc.ops.attention import UNSEEN
from nnc.passes.formulas.found import Found
from nnc.passes.views import View, long_axes, scaled


def attention(builder: Builder, view: View, root: Node, p: Node) -> Found | None:
    """softmax(q @ k^T * scale) @ v, with scores of -1e30 where a query may not see a key."""
    if root.op != "dot" or root.operands[0] != Value(p.id) or p.attrs["axis"] != p.type.rank - 1:
        return None
    lead, last = tuple(range(p.type.rank - 2)), p.type.rank - 1
    contract, batch = root.attrs["contract"], root.attrs["batch"]
    if contract[0] != (last,) or batch[0] != lead:
        return None
    view.through(p)
    v = as_matrices(builder, root.operands[1], batch[1], contract[1], summed_last=False)
    causal, conditions, scores = shown(view, p.operands[0])
    found = products(builder, view, scores)
    if v is None or found is None:
        return None
    q, k, scale = found
    mask = [combined(builder, view, conditions)] if conditions else []
    return Found(root, "attention", [q, k, v, *mask], {"scale": scale, "causal": causal})


def as_matrices(
    builder: Builder, value: Value, batch: Sequence[int], summed: Sequence[int], summed_last: bool
) -> Tensor | None:
    """An operand of a `dot` with its axes in order: `batch`, the one left, the one summed over, or
    these two exchanged."""
    x = builder.tensor(value)
    rest = [axis for axis in range(x.rank) if axis not in (*batch, *summed)]
    if len(rest) != 1 or len(summed) != 1:
        return None
    return x.transpose((*batch, *((*rest, *summed) if summed_last else (*summed, *rest))))


def shown(view: View, value: Value) -> tuple[bool, list[tuple[Value, bool]], Value]:
    """Whether the scores `value` are causal, the other conditions under which a score counts, each
    with whether it has to hold, and the scores below them."""
    causal, conditions = False, []
    while (choice := view.node(value, "where")) is not None:
        condition, yes, no = choice.operands
        if view.number(no) == UNSEEN:
            value, holds = yes, True
        elif view.number(yes) == UNSEEN:
            value, holds = no, False
        else:
            break
        view.through(choice)
        if holds and is_causal(view, condition):
            causal = True
        else:
            conditions.append((condition, holds))
    return causal, conditions, value


def is_causal(view: View, condition: Value) -> bool:
    """Whether `condition` [..., T, T] says that the key does not come after the query."""
    shape = view.graph.type(condition).shape
    if equal(shape[-2], shape[-1]) is not True:
        return False
    spread = view.spread(condition)
    node = view.node(spread.base, "le", "ge")
    if node is None or spread.axes != (len(shape) - 2, len(shape) - 1):
        return False
    smaller, larger = node.operands if node.op == "le" else node.operands[::-1]
    query, key = long_axes(node.type)
    return (counted(view, smaller), counted(view, larger)) == (key, query)


def counted(view: View, value: Value) -> int | None:
    """The axis along which `value` counts 0, 1, 2, ..."""
    spread = view.spread(value)
    node = view.node(spread.base, "iota")
    if node is None:
        return None
    return dict(zip(long_axes(node.type), spread.axes, strict=True)).get(node.attrs["axis"])


def products(builder: Builder, view: View, scores: Value) -> tuple[Tensor, Tensor, float] | None:
    """q, k and the scale where `scores` are their products, scaled before or after."""
    inner, scale = scaled(view, scores)
    dot = view.node(inner, "dot")
    if dot is None:
        return None
    view.through(dot)
    contract, batch = dot.attrs["contract"], dot.attrs["batch"]
    sides = []
    for value, of_batch, summed in zip(dot.operands, batch, contract, strict=True):
        if len(view.graph.users(value)) == 1:
            value, factor = scaled(view, value)
            scale *= factor
        sides.append(as_matrices(builder, value, of_batch, summed, summed_last=True))
    q, k = sides
    return None if q is None or k is None else (q, k, scale)


def combined(builder: Builder, view: View, conditions: Sequence[tuple[Value, bool]]) -> Tensor:
    """All `conditions` as one mask, with 1 for axes along which it is the same."""
    masks = []
    for value, holds in conditions:
        spread, shape = view.spread(value), view.graph.type(value).shape
        mask = builder.tensor(value)
        if spread.axes == tuple(sorted(spread.axes)) and len(conditions) == 1:
            narrow = tuple(dim if a in spread.axes else 1 for a, dim in enumerate(shape))
            mask = builder.tensor(spread.base).reshape(narrow)
        masks.append(mask if holds else mask.emit("not"))
    total = masks[0]
    for mask in masks[1:]:
        total = total.binary("and", mask)
    return total
