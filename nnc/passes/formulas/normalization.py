"""LayerNorm and BatchNorm: values less their mean, over the root of their variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Node, Value
from nnc.passes.formulas.found import Found
from nnc.passes.views import Centred, Spread, View, long_axes


@dataclass
class Product:
    """The factors of a product: x - mean(x), the deviation that it is divided by, the others."""

    centred: list[tuple[Centred, Spread]] = field(default_factory=list)
    deviation: list[tuple[Node, Spread]] = field(default_factory=list)
    others: list[Spread] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.centred or self.deviation)


def factors(view: View, value: Value, axes: tuple[int, ...] | None = None) -> Product:
    """The factors of `value`, whose long axes stand at `axes` of the whole."""
    spread = view.spread(value)
    if axes is not None:
        at = dict(zip(long_axes(view.graph.type(value)), axes, strict=True))
        spread = Spread(spread.base, tuple(at[axis] for axis in spread.axes))
    centred = view.centred(spread.base)
    if centred is not None:
        return Product(centred=[(centred, spread)])
    node = view.graph.producer(spread.base)
    if node.op == "rsqrt":
        return Product(deviation=[(node, spread)])
    if node.op in ("mul", "div"):
        made = _factors_of(view, node, spread)
        if made:
            view.through(node)
            return made
    return Product(others=[spread])


def _factors_of(view: View, node: Node, spread: Spread) -> Product:
    left, right = node.operands
    made = factors(view, left, spread.axes)
    if node.op == "div":
        below = view.spread(right)
        root = view.node(below.base, "sqrt")
        if root is None:
            return Product()
        at = dict(zip(long_axes(node.type), spread.axes, strict=True))
        places = tuple(at[axis] for axis in below.axes)
        made.deviation.append((root, Spread(below.base, places)))
        return made
    more = factors(view, right, spread.axes)
    return Product(
        made.centred + more.centred, made.deviation + more.deviation, made.others + more.others
    )


def normalization(builder: Builder, view: View, root: Node, anchor: Node) -> Found | None:
    """(x - mean(x)) / sqrt(var(x) + eps) * gain + bias, the last two for each channel or absent."""
    if root.op not in ("mul", "div", "add"):
        return None
    for product, bias in _with_bias(view, root):
        made = factors(view, product)
        if len(made.centred) == 1 and [node.id for node, _ in made.deviation] == [anchor.id]:
            return _normalization(builder, view, root, made, bias)
    return None


def _with_bias(view: View, root: Node) -> list[tuple[Value, Value | None]]:
    if root.op != "add":
        return [(Value(root.id), None)]
    left, right = root.operands
    return [(left, right), (right, left)]


def _normalization(
    builder: Builder, view: View, root: Node, made: Product, bias: Value | None
) -> Found | None:
    (((centred, of_centred),), ((node, of_deviation),)) = made.centred, made.deviation
    x = builder.tensor(centred.x)
    found = _deviation(view, node)
    if found is None or found[0] != (centred.x, centred.axes):
        return None
    _, eps, var, means = found
    whole = of_centred.axes == long_axes(x.type) and root.type == x.type
    if not whole or not view.is_kept(of_deviation, centred.x, centred.axes):
        return None
    gain = channels(builder, x, made.others)
    shift = channels(builder, x, [] if bias is None else [view.spread(bias)], neutral=-0.0)
    if gain is None or shift is None:
        return None
    op = OF_AXES.get((centred.axes == (x.rank - 1,), centred.axes == tuple(range(x.rank - 1))))
    if op is None:
        return None
    known = [(mean, 1) for mean in dict.fromkeys([centred.mean, *means])]
    if op == "batch_norm":
        known.append((var, 2))
    elif node.op == "rsqrt":
        known.append((Value(node.id), 2))
    return Found(root, op, [x, gain, shift], {"eps": eps}, known)


#: (moments over the last axis, over all others) -> op
OF_AXES = {(True, False): "layer_norm", (False, True): "batch_norm"}


def _deviation(
    view: View, node: Node
) -> tuple[tuple[Value, Any], float, Value, list[Value]] | None:
    """x and axes, eps, the variance and the means in it where `node` is a root of var(x) + eps."""
    sum = view.node(view.spread(node.operands[0]).base, "add")
    if sum is None:
        return None
    for left, right in (sum.operands, sum.operands[::-1]):
        eps, base = view.number(right), view.spread(left).base
        found = view.variance(base) if eps is not None and eps > 0 else None
        if found is not None and eps is not None:
            view.through(node, sum)
            x, axes, means = found
            return (x, axes), eps, base, means
    return None


def channels(
    builder: Builder, x: Tensor, factors: Sequence[Spread], neutral: float = 1.0
) -> Tensor | None:
    """The product of `factors` as one number for each index of the last axis of x; None if it is
    none.  Of none it is `neutral`, which changes no float: x * 1, x + -0.0."""
    total: Tensor | None = None
    for each in factors:
        if each.axes not in ((), (x.rank - 1,)):
            return None
        shape = x.shape[-1:] if each.axes else ()
        factor = builder.tensor(each.base).reshape(shape).expand(x.shape[-1:])
        total = factor if total is None else total * factor
    return builder.full(neutral, x.dtype, x.shape[-1:]) if total is None else total
