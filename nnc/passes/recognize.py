"""Finds formulas (normalization, attention, gelu, silu), and puts composites in their place.

Programs say LayerNorm, BatchNorm, attention and gelu in the language itself (`nnc/std`), and so may
any other program.  As one node each they have gradients in closed form, and frameworks have kernels
for them.  The pass runs on what a program computes, before it is differentiated.

A formula is left as it is where anything else reads a value inside it that the composite does not
have as a result.  Results may differ by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nnc.ir.builder import Builder, Tensor
from nnc.ir.dims import equal
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.reverse import ancestors
from nnc.ops.activations import ROOT_HALF
from nnc.ops.attention import UNSEEN
from nnc.ops.registry import OPS
from nnc.passes.base import Pass, Rewriter, run_on_bodies
from nnc.passes.views import Centred, Spread, View, long_axes


@dataclass
class Found:
    """The composite whose first result is that of `root`.

    `known` are values inside the formula that are results of the composite, by their index.
    """

    root: Node
    op: str
    operands: list[Tensor]
    attrs: dict[str, Any]
    known: list[tuple[Value, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Pattern:
    """A kind of formula: what its end and one of the `anchors` inside it are matched by, what may
    stand between these two, what ends it where it is met, and how many steps away it may end."""

    anchors: frozenset[str]
    matcher: Callable[[Builder, View, Node, Node], Found | None]
    steps: frozenset[str]
    last: frozenset[str]
    farthest: int


def run(graph: Graph) -> None:
    run_on_bodies(graph, run)
    rewriter = Rewriter(graph)
    for node in list(graph):
        for pattern in PATTERNS:
            if node.op in pattern.anchors and node.id in graph.nx:
                replace_around(rewriter, pattern, node)


def replace_around(rewriter: Rewriter, pattern: Pattern, anchor: Node) -> None:
    """Replace the largest formula around `anchor` that is of `pattern`."""
    graph = rewriter.graph
    for root in roots(graph, pattern, anchor):
        view, first = View(graph), graph.next_id
        with rewriter.builder.at(root.origin):
            found = pattern.matcher(rewriter.builder, view, root, anchor)
        if found is not None and is_whole(view, found):
            replace(rewriter, found)
            return
        for id in range(graph.next_id - 1, first - 1, -1):
            graph.remove(id)


def roots(graph: Graph, pattern: Pattern, anchor: Node) -> list[Node]:
    """Where the formula around `anchor` may end, the farthest first."""
    reached, edge = {anchor.id: anchor}, [anchor]
    for _ in range(pattern.farthest):
        readers = [graph.node(id) for node in edge for id in graph.nx.adj[node.id]]
        new = {n.id: n for n in readers if n.op in pattern.steps and n.id not in reached}
        reached |= new
        edge = [node for node in new.values() if node.op not in pattern.last]
    return list(reached.values())[:0:-1]


def is_whole(view: View, found: Found) -> bool:
    """Whether the composite can take the place of all that was looked through."""
    view.inner.add(found.root.id)
    known = {value for value, _ in found.known}
    if not view.is_alone(found.root, known):
        return False
    behind = ancestors(view.graph, (operand.value for operand in found.operands))
    return not behind & view.inner


def replace(rewriter: Rewriter, found: Found) -> None:
    """Make `root` the composite; so it keeps its place, name and origin."""
    graph, root = rewriter.graph, found.root
    before = [graph.producer(value) for value in root.operands]
    inferred = OPS[found.op].infer(*(x.type for x in found.operands), **found.attrs)
    root.types = inferred if isinstance(inferred, tuple) else (inferred,)
    root.op, root.attrs = found.op, found.attrs
    graph.set_operands(root, (x.value for x in found.operands))
    for node in before:
        rewriter.remove_unread(node)
    with rewriter.builder.at(root.origin):
        for value, index in found.known:
            if value.node in graph.nx:
                result = rewriter.builder.tensor(Value(root.id, index))
                result = result.reshape(graph.type(value).shape)
                rewriter.replace(value, result.value)
                rewriter.remove_unread(graph.producer(value))


# ---------------------------------------------------------------- normalization
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


# ---------------------------------------------------------------- attention
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


def scaled(view: View, value: Value) -> tuple[Value, float]:
    """x and c where `value` is x * c or x / (1 / c) for a number c, else the value and 1."""
    node = view.node(value, "mul", "div")
    if node is None:
        return value, 1.0
    for x, factor in (node.operands, node.operands[::-1])[: 1 + (node.op == "mul")]:
        number = view.number(factor)
        if number:
            view.through(node)
            return x, number if node.op == "mul" else 1 / number
    return value, 1.0


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


# ---------------------------------------------------------------- activations
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


SHAPES = frozenset({"broadcast", "reshape"})
PRODUCTS = frozenset({"mul", "div"})
SUM, PRODUCT = frozenset({"add"}), frozenset({"dot"})
PATTERNS = (
    Pattern(frozenset({"rsqrt", "sqrt"}), normalization, SHAPES | PRODUCTS | SUM, SUM, 8),
    Pattern(frozenset({"softmax"}), attention, SHAPES | PRODUCTS | PRODUCT, PRODUCT, 8),
    Pattern(frozenset({"erf"}), gelu, PRODUCTS | SUM, frozenset(), 5),
    Pattern(frozenset({"sigmoid"}), silu, frozenset({"mul"}), frozenset(), 1),
)

recognize = Pass("recognize", run, "find the formulas that there are composites for")
