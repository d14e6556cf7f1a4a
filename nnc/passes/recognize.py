"""Finds formulas (normalization, attention, gelu, silu), and puts composites in their place.

Programs say LayerNorm, BatchNorm, attention and gelu in the language itself (`nnc/std`), and so may
any other program.  As one node each they have gradients in closed form, and frameworks have kernels
for them.  The pass runs on what a program computes, before it is differentiated.

A formula is left as it is where anything else reads a value inside it that the composite does not
have as a result.  Results may differ by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Node, Value
from nnc.ops.registry import OPS
from nnc.passes.base import BEFORE, Pass, Rewriter, run_on_bodies
from nnc.passes.formulas.activations import gelu, silu
from nnc.passes.formulas.attention import attention
from nnc.passes.formulas.found import Found
from nnc.passes.formulas.normalization import normalization
from nnc.passes.views import View


@dataclass(frozen=True)
class Pattern:
    """A kind of formula: what its end and one of the `anchors` inside it are matched by, what may
    stand between these two, what ends it where it is met, and how many steps away it may end."""

    anchors: frozenset[str]
    matcher: Callable[[Builder, View, Node, Node], Found | None]
    steps: frozenset[str]
    last: frozenset[str]
    farthest: int


SHAPES = frozenset({"broadcast", "reshape"})
PRODUCTS = frozenset({"mul", "div"})
SUM, PRODUCT = frozenset({"add"}), frozenset({"dot"})
PATTERNS = (
    Pattern(frozenset({"rsqrt", "sqrt"}), normalization, SHAPES | PRODUCTS | SUM, SUM, 8),
    Pattern(frozenset({"softmax"}), attention, SHAPES | PRODUCTS | PRODUCT, PRODUCT, 8),
    Pattern(frozenset({"erf"}), gelu, PRODUCTS | SUM, frozenset(), 5),
    Pattern(frozenset({"sigmoid"}), silu, frozenset({"mul"}), frozenset(), 1),
)


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
        if found is not None and is_whole(rewriter, view, found):
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


def is_whole(rewriter: Rewriter, view: View, found: Found) -> bool:
    """Whether the composite can take the place of all that was looked through."""
    view.inner.add(found.root.id)
    known = {value for value, _ in found.known}
    if not view.is_alone(found.root, known, rewriter.gives_output):
        return False
    return not view.reaches(found.root, {operand.value.node for operand in found.operands})


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


recognize = Pass(
    "recognize", run, "find the formulas that there are composites for", BEFORE, exact=False
)
