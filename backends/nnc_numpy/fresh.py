"""Which expressions of NumPy make an array that nothing else has."""

from __future__ import annotations

from nnc.ir.graph import Graph, Node
from nnc.ops.registry import OPS

#: ops whose results are arrays of their own, beside the elementwise ones
FRESH = frozenset((
    "dot", "concat", "sum", "max", "min", "prod", "take_along", "softmax", "log_softmax",
    "logsumexp", "sigmoid", "softplus", "log_sigmoid", "gelu", "gelu_grad", "conv",
    "conv_input_grad", "conv_filter_grad", "scatter_add", "scatter_add_along",
))  # fmt: skip
#: the same for ops of several results
SEVERAL = frozenset((
    "gelu_with_slope", "layer_norm", "layer_norm_grad", "batch_norm", "batch_norm_grad",
    "lstm_grad", "pick_log_softmax",
    "attention", "attention_grad", "attention_with_weights", "attention_weights_grad",
))  # fmt: skip


def is_fresh(graph: Graph, node: Node) -> bool:
    """Whether what is printed for `node` makes new arrays, which can be written into."""
    return is_new(graph, node) and bool(len(node.types) > 1 or node.type.rank)


def is_new(graph: Graph, node: Node) -> bool:
    """Whether what is printed for `node` makes new arrays or numbers, and no view of an old one."""
    if len(node.types) > 1:
        return node.op in SEVERAL
    if node.op == "bitcast":
        return False
    if node.op == "take":
        return bool(graph.type(node.operands[1]).rank)
    return node.op in FRESH or OPS[node.op].family == "elementwise"
