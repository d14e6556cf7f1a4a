"""Rewrites of legal graphs that pay in PyTorch."""

from __future__ import annotations

from nnc_numpy.rewrites import sum_of_pads

from nnc.backend import Rewriter
from nnc.ir.graph import Graph
from nnc_torch.activations import by_result
from nnc_torch.fused import in_parts

RULES = {
    "add": sum_of_pads,
    "where": by_result,
    "attention": in_parts,
    "attention_grad": in_parts,
}


def rewrite(graph: Graph) -> bool:
    """Apply all of them in place; True if there was anything to rewrite."""
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
