"""Rewrites of legal graphs that pay in PyTorch."""

from __future__ import annotations

from nnc_numpy.rewrites import sum_of_pads

from nnc.backend import Rewriter, replace_lstms
from nnc.ir.builder import Tensor
from nnc.ir.graph import Graph, Node
from nnc_torch.activations import by_result
from nnc_torch.emitters import EMITTERS
from nnc_torch.fused import in_parts
from nnc_torch.loops import STATEMENTS


def by_long_index(rewriter: Rewriter, node: Node) -> Tensor | None:
    """Places as the i64 that `gather` and `scatter` want, converted once for all that read them."""
    x, index, *update = rewriter.operands(node)
    if index.dtype == "i64":
        return None
    operands = (x, index.cast("i64"), *update)
    return rewriter.builder.emit(node.op, *operands, **node.attrs)


RULES = {
    "add": sum_of_pads,
    "where": by_result,
    "attention": in_parts,
    "attention_grad": in_parts,
    "take_along": by_long_index,
    "scatter_add_along": by_long_index,
}


def rewrite(graph: Graph) -> bool:
    """Apply all of them in place, and find LSTMs; True if there was anything to rewrite."""
    changed = apply_rules(graph)
    emitters = frozenset({*EMITTERS, *STATEMENTS})
    return replace_lstms(Rewriter(graph), apply_rules, emitters) or changed


def apply_rules(graph: Graph) -> bool:
    """Apply `RULES` in place; True if any did."""
    rewriter = Rewriter(graph)
    changed = False
    for node in rewriter:
        rule = RULES.get(node.op)
        if rule is not None:
            with rewriter.builder.at(node.origin):
                result = rule(rewriter, node)
            if result is not None:
                results = result if isinstance(result, tuple) else (result,)
                rewriter.replace_node(node, results)
                changed = True
    return changed
