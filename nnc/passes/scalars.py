"""Scalars that follow from the counters of a step alone leave it: the host computes them.

What elaboration finds to be such (schedules, bias corrections) never enters a graph.  This is for
what passes make of them, as the quotient of a rate and a correction.  The host computes in float64
and rounds once, where the step would round each result; that is why it runs on request only
(`--fast-math`).  A division by a scalar that is 0 is an error there.
"""

from __future__ import annotations

from nnc.ir.graph import Array, Graph, Node, Value
from nnc.ir.host import HostConst, HostExpr, HostOp
from nnc.passes.base import Pass, Rewriter, Scalars

#: ops of graphs that the host has by the same name
ON_HOST = frozenset({
    "add", "sub", "mul", "div", "neg", "pow", "exp", "log", "sqrt", "sin", "cos", "tanh", "abs",
    "minimum", "maximum",
})  # fmt: skip


def nothing(graph: Graph) -> None:
    """Where no step is at hand, whose scalars could grow, all stays."""


def hoist(graph: Graph, known: Scalars) -> Scalars:
    """Replace scalars of `graph` that `known` ones make by new inputs; the expressions of these."""
    expressions: dict[Value, HostExpr] = {}
    found: list[Node] = []
    for node in graph:
        expression = _expression(node, expressions, known)
        if expression is not None:
            expressions[Value(node.id)] = expression
            if node.op not in ("input", "const") and _reads_counter(expression):
                found.append(node)
    rewriter = Rewriter(graph)
    added: Scalars = {}
    inputs: dict[tuple[HostExpr, str], Value] = {}
    for node in [node for node in found if _is_final(graph, node, expressions)]:
        key = expressions[Value(node.id)], node.type.dtype
        if key not in inputs:
            name = _name(node, {**known, **added})
            added[name] = key[0]
            inputs[key] = _input(rewriter, node, name)
        rewriter.replace(Value(node.id), inputs[key])
        rewriter.remove_unread(node)
    _remove_unread_inputs(graph)
    return added


def _expression(node: Node, made: dict[Value, HostExpr], known: Scalars) -> HostExpr | None:
    """What the host would compute for a scalar float."""
    if len(node.types) != 1 or node.type.rank or not node.type.is_float:
        return None
    if node.op == "const" and not isinstance(node.attrs["value"], Array):
        return HostConst(float(node.attrs["value"]))
    if node.op == "input" and node.attrs["kind"] == "scalar":
        return known.get(node.attrs["name"])
    if node.op not in ON_HOST or any(value not in made for value in node.operands):
        return None
    return HostOp(node.op, tuple(made[value] for value in node.operands))


def _reads_counter(expression: HostExpr) -> bool:
    if isinstance(expression, HostOp):
        return any(map(_reads_counter, expression.args))
    return not isinstance(expression, HostConst)


def _is_final(graph: Graph, node: Node, expressions: dict[Value, HostExpr]) -> bool:
    """Whether something reads `node` that stays in the graph."""
    readers = list(graph.nx.adj[node.id])
    return (
        any(Value(reader) not in expressions for reader in readers)
        or Value(node.id) in graph.outputs.values()
    )


def _name(node: Node, known: Scalars) -> str:
    """A name that no other scalar has."""
    hint = node.name or "factor"
    name, number = hint, 1
    while name in known:
        number += 1
        name = f"{hint}_{number}"
    return name


def _input(rewriter: Rewriter, node: Node, name: str) -> Value:
    with rewriter.builder.at(node.origin):
        return rewriter.builder.input(name, node.type, "scalar").value


def _remove_unread_inputs(graph: Graph) -> None:
    outputs = {value.node for value in graph.outputs.values()}
    for id in list(graph.inputs):
        is_scalar = graph.node(id).attrs["kind"] == "scalar"
        if is_scalar and not graph.nx.adj[id] and id not in outputs:
            graph.remove(id)


scalars = Pass(
    "scalars",
    nothing,
    "let the host compute scalars that follow from counters (--fast-math)",
    exact=False,
    hoist=hoist,
)
