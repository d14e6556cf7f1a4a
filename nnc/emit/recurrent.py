"""An LSTM and its gradient as calls of a backend's kernels, of which one leaves to the other.

    hs, kept = lstm(x, w, u, b)
    d_x, d_w, d_u, d_b = lstm_grad(d_hs, kept)

`kept` is whatever these two agree upon, and is used up by the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nnc.emit.dialect import Statement
from nnc.emit.expressions import Expr
from nnc.emit.function import Printer
from nnc.ir.graph import Graph, Node, Value


@dataclass(frozen=True)
class Layer(Expr):
    """All h; `residual` is the variable of what the gradient needs."""

    residual: str = ""


def recurrent(lstm: Callable[..., Any], lstm_grad: Callable[..., Any]) -> dict[str, Statement]:
    """How `lstm` and `lstm_grad` are printed by these functions, which go into the file."""

    def print_lstm(printer: Printer, node: Node) -> None:
        operands = ", ".join(map(printer.explicit, node.operands))
        call = f"{printer.helper(lstm)}({operands})"
        if len(partners(printer.graph, "lstm_grad", node.operands)) != 1:
            printer.assign(Value(node.id), Expr(f"{call}[0]"))
            return
        name, kept = printer.names.new("hs"), printer.names.new("kept")
        printer.place(node)
        printer.body.add(printer.depth, f"{name}, {kept} = {call}")
        printer.bind(Value(node.id), Layer(name, residual=kept))

    def print_lstm_grad(printer: Printer, node: Node) -> None:
        dy, *operands = map(printer.explicit, node.operands)
        kept = residual(printer, node)
        given = kept or f"{printer.helper(lstm)}({', '.join(operands)})[1]"
        made = Expr(f"{printer.helper(lstm_grad)}({dy}, {given})")
        printer.unpack(node, made)
        if kept:
            printer.body.add(printer.depth, f"del {kept}")

    return {"lstm": print_lstm, "lstm_grad": print_lstm_grad}


def residual(printer: Printer, node: Node) -> str:
    """What the `lstm` of a `lstm_grad` has left, where there is one before it."""
    for layer in partners(printer.graph, "lstm", node.operands[1:]):
        expr = printer.exprs.get(Value(layer.id))
        if isinstance(expr, Layer):
            return expr.residual
    return ""


def partners(graph: Graph, op: str, operands: tuple[Value, ...]) -> list[Node]:
    """The nodes of `op` that have these last operands, x, w, u and b."""
    users = {user.id: user for user, _ in graph.users(operands[0])}
    return [user for user in users.values() if user.op == op and user.operands[-4:] == operands]
