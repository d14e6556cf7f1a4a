"""Short floats in NumPy: arrays of bf16 are float32 arrays whose values are those of bf16.

What an op gives is computed in float32 and then rounded, as hardware does it that multiplies short
floats and adds up in f32.  NumPy has f16, but multiplies its matrices in a plain loop, so products
of f16 go through float32 too.
"""

from __future__ import annotations

from nnc.backend import Rewriter
from nnc.ir.builder import Tensor
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.narrow import held

#: ops that give values they were given, or others that need no more digits
EXACT = frozenset((
    "input", "const", "neg", "abs", "sign", "floor", "ceil", "round", "where", "maximum", "minimum",
    "reshape", "transpose", "broadcast", "slice", "pad", "reverse", "concat", "window",
    "dynamic_slice", "dynamic_update", "take", "take_along", "max", "min", "max_pool",
    "stop_gradient", "with_gradient", "scan", "call",
))  # fmt: skip


def hold_bf16_in_f32(graph: Graph) -> bool:
    """Retype what is bf16, and round it where an op computes it; True if there was any."""
    rewriter = Rewriter(graph)
    narrow = [node for node in graph if any(type.dtype == "bf16" for type in node.types)]
    for node in narrow:
        node.types = tuple(t.with_dtype("f32") if t.dtype == "bf16" else t for t in node.types)
        if "dtype" in node.attrs:
            node.attrs = {**node.attrs, "dtype": "f32"}
        if node.op == "const":
            node.attrs = {**node.attrs, "value": held(node.attrs["value"], "bf16").item()}
    for node in narrow:
        if node.op not in EXACT:
            _round(rewriter, node)
    return bool(narrow)


def _round(rewriter: Rewriter, node: Node) -> None:
    """Let all who read `node` read its nearest value of bf16."""
    value, graph = Value(node.id), rewriter.graph
    readers = graph.users(value)
    outputs = [name for name, output in graph.outputs.items() if output == value]
    with rewriter.builder.at(node.origin):
        rounded = rewriter.builder.tensor(value).emit("round_to", dtype="bf16")
    graph.node(rounded.value.node).name, node.name = node.name, ""
    for user, _ in readers:
        operands = (rounded.value if v == value else v for v in user.operands)
        graph.set_operands(user, operands)
    graph.outputs |= dict.fromkeys(outputs, rounded.value)


# ---------------------------------------------------------------- rules
def product_in_f32(rewriter: Rewriter, node: Node) -> Tensor | None:
    """A product of f16, added up in f32 and rounded once."""
    if node.type.dtype != "f16":
        return None
    x, y = (operand.cast("f32") for operand in rewriter.operands(node))
    product: Tensor = rewriter.builder.emit(node.op, x, y, **node.attrs)
    return product.cast("f16")


def cast_there_and_back(rewriter: Rewriter, node: Node) -> Tensor | None:
    """Casting f32 to f16 and back is rounding, also where elements move in between."""
    moves, before = [], rewriter.graph.producer(node.operands[0])
    while before.op in ("reshape", "transpose"):
        moves.append(before)
        before = rewriter.graph.producer(before.operands[0])
    if node.type.dtype != "f32" or before.op != "cast" or before.type.dtype != "f16":
        return None
    x = rewriter.builder.tensor(before.operands[0])
    if x.dtype != "f32":
        return None
    rounded: Tensor = x.emit("round_to", dtype="f16")
    for move in reversed(moves):
        rounded = rounded.emit(move.op, **move.attrs)
    return rounded
