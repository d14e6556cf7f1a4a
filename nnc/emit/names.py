"""Local variable names: from the program where it has one, else from what an op makes."""

from __future__ import annotations

import builtins
import keyword
import re
from collections import defaultdict
from collections.abc import Iterable

from nnc.ir.graph import Array, Graph, Node, Value
from nnc.ir.types import SHORT_FLOATS

#: what the result of an op is called where nothing in the program names it
NOUNS = {
    "add": "total", "sub": "difference", "mul": "product", "div": "quotient", "neg": "negative",
    "exp": "exps", "log": "logs", "sqrt": "root", "rsqrt": "inverse_root", "pow": "power",
    "abs": "size", "dot": "product", "sum": "total", "prod": "product", "max": "top",
    "min": "bottom", "argmax": "best", "argmin": "best", "where": "chosen", "take": "rows",
    "take_along": "picked", "scatter_add": "scattered", "scatter_add_along": "scattered",
    "random_bits": "bits", "reshape": "reshaped", "transpose": "turned", "broadcast": "spread",
    "concat": "joined", "slice": "part", "window": "windows", "cast": "converted",
    "round_to": "rounded",
    "eq": "same", "ne": "different", "lt": "below", "le": "at_most", "gt": "above",
    "ge": "at_least", "and": "both", "or": "either", "not": "negated", "const": "table",
    "conv": "features", "conv_input_grad": "d_features", "conv_filter_grad": "d_filter",
    "max_pool": "pooled", "max_pool_grad": "d_pooled", "sum_pool": "pooled",
    "layer_norm": "normed", "batch_norm": "normed", "attention": "mixed",
    "attention_with_weights": "mixed",
    "softmax": "p", "log_softmax": "log_p", "softmax_grad": "d_x", "log_softmax_grad": "d_x",
    "gelu_grad": "d_x", "silu_grad": "d_x", "sigmoid": "gate", "tanh": "squashed",
    "maximum": "larger", "minimum": "smaller", "iota": "counts", "pad": "padded",
    "shift_right": "shifted", "stream_tags": "tags",
}  # fmt: skip

#: the results of ops of several; "" is the noun of the op
RESULTS = {
    "max_pool": ("", "pooled_index"),
    "gelu_with_slope": ("", "slope"), "pick_log_softmax": ("picked", "softmax"),
    "layer_norm": ("", "mean", "rstd"), "layer_norm_grad": ("d_x", "d_gain", "d_bias"),
    "batch_norm": ("", "mean", "var"), "batch_norm_grad": ("d_x", "d_gain", "d_bias"),
    "lstm_grad": ("d_x", "d_w", "d_u", "d_b"),
    "attention": ("", "logsumexp"), "attention_grad": ("d_q", "d_k", "d_v"),
    "attention_with_weights": ("", "p"), "attention_weights_grad": ("d_q", "d_k", "d_v"),
}  # fmt: skip

#: ops that stand for the layer they end, so that its name suits them
LAYER_OPS = {"add", "dot", "conv"}

RESERVED = frozenset(
    {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "math"}
    | {"state", "batch", "scalars", "accumulators", "path"}
)


def identifier(text: str) -> str:
    """`text` as a Python identifier in snake case: `net.dense_0.w` -> `net_dense_0_w`."""
    word = re.sub(r"\W+", "_", text).strip("_")
    word = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word).lower()
    return f"v_{word}" if not word or word[0].isdigit() else word


def noun(graph: Graph, node: Node, prefix: str = "") -> str:
    """A name for the result of `node`; `prefix` is what the paths of all weights begin with."""
    if node.name:
        return identifier(node.name.replace(prefix, "", 1) if prefix else node.name)
    if node.op in ("cast", "round_to") and node.attrs["dtype"] in SHORT_FLOATS:
        return f"{_source(graph, node, prefix)}_{node.attrs['dtype']}"
    if node.op == "lt" and graph.producer(node.operands[0]).op == "random_bits":
        return "keep"
    if node.op == "maximum" and is_zero(graph, node.operands[0]):
        return "relu"
    if node.op == "mul" and any(is_mask(graph, value) for value in node.operands):
        return "mask" if is_mask(graph, Value(node.id)) else "masked"
    if node.op == "mul" and not node.type.rank:
        return "factor"
    scope = node.origin[0].scope.rsplit(".", 1)[-1] if node.origin else ""
    if scope and node.op in LAYER_OPS:
        return identifier(scope)
    return NOUNS.get(node.op, identifier(node.op))


def is_mask(graph: Graph, value: Value) -> bool:
    """Whether `value` is 1, or another constant, where something holds and 0 elsewhere."""
    node = graph.producer(value)
    if node.op == "mul":
        x, y = node.operands
        return is_constant(graph, y) and is_mask(graph, x)
    return node.op == "cast" and graph.type(node.operands[0]).dtype == "bool"


def is_constant(graph: Graph, value: Value) -> bool:
    node = graph.producer(value)
    return graph.producer(node.operands[0] if node.op == "broadcast" else value).op == "const"


def is_zero(graph: Graph, value: Value) -> bool:
    """Whether `value` is a constant full of zeros."""
    node = graph.producer(value)
    while node.op == "broadcast":
        node = graph.producer(node.operands[0])
    return (
        node.op == "const"
        and not isinstance(node.attrs["value"], Array)
        and not node.attrs["value"]
    )


def _source(graph: Graph, node: Node, prefix: str) -> str:
    """A name for what `node` rounds; a field of the data is called without its source."""
    before = graph.producer(node.operands[0])
    if before.op == "input" and before.attrs["kind"] == "batch":
        return identifier(before.attrs["name"].rsplit(".", 1)[-1])
    return noun(graph, before, prefix)


class Names:
    """The names in use in one function."""

    def __init__(self, taken: Iterable[str] = (), prefix: str = ""):
        self._taken = set(taken) | RESERVED
        self.prefix = prefix
        self._times: list[str] = []
        self._numbers: defaultdict[str, int] = defaultdict(lambda: 1)

    def of(self, graph: Graph, node: Node, index: int = 0) -> str:
        """A new name for a result of `node`."""
        results = RESULTS.get(node.op, ())
        wish = results[index] if index < len(results) else ""
        return self.new(wish or noun(graph, node, self.prefix))

    def time(self, nesting: int) -> str:
        """The counter of a loop inside `nesting` others; loops after one another share theirs."""
        while len(self._times) <= nesting:
            self._times.append(self.new("t"))
        return self._times[nesting]

    def new(self, wish: str) -> str:
        """`wish`, or `wish_2`, `wish_3`, ... where it is taken."""
        name = wish
        while name in self._taken:
            self._numbers[wish] += 1
            name = f"{wish}_{self._numbers[wish]}"
        self._taken.add(name)
        return name

    def family(self, wish: str, parts: Iterable[str]) -> str:
        """A new name such that what `parts` make of it are new ones too."""
        while True:
            name = self.new(wish)
            others = {part.format(name) for part in parts}
            if not others & self._taken:
                self._taken |= others
                return name


def shared_prefix(paths: Iterable[str]) -> str:
    """`net.` where that is how all paths begin (those with `@` do not count), else nothing."""
    weights = [path for path in paths if not path.startswith("@")]
    first = {path.split(".", 1)[0] for path in weights}
    return f"{first.pop()}." if len(first) == 1 and all("." in path for path in weights) else ""
