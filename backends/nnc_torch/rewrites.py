"""Rewrites of legal graphs that pay in PyTorch."""

from __future__ import annotations

from nnc_numpy.rewrites import sum_of_pads

from nnc.backend import Rewriter
from nnc.ir.graph import Graph


def rewrite(graph: Graph) -> bool:
    """Join pieces that are padded with zeros and added up; True if there were any."""
    rewriter = Rewriter(graph)
    changed = False
    for node in rewriter:
        if node.op == "add":
            with rewriter.builder.at(node.origin):
                result = sum_of_pads(rewriter, node)
            if result is not None:
                rewriter.replace_node(node, (result,))
                changed = True
    return changed
