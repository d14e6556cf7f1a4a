"""Adding rows up by their index, the gradient of picking them: sorted, the rows of one are a run.

`np.add.at` goes through them one by one.
"""

from __future__ import annotations

from nnc.backend import splat
from nnc.emit import Expr, Printer
from nnc.emit.spellings import copied, dims_text
from nnc.ir.graph import Node, Value
from nnc_numpy import runtime

add_one_by_one = copied("axis")


def print_scatter(printer: Printer, node: Node) -> None:
    """`row_sums(...)` into zeros; what is sorted for an index is so once for all who use it."""
    zero, index, update = node.operands
    value = splat(printer.graph, zero)
    if value is None or value != 0 or node.attrs["axis"] or not node.type.is_float:
        printer.assign(Value(node.id), printer.expression(node))
        return
    rows = dims_text(node.type.shape[:1])[1:-2]
    key = (index, rows)
    if key not in printer.made:
        name = printer.names.new("runs_of_rows")
        call = printer.dialect.call(printer.helper(runtime.runs), printer.read(index), Expr(rows))
        printer.place(node)
        printer.body.add(printer.depth, f"{name} = {call.text}")
        printer.made[key] = name
    helper = printer.helper(runtime.row_sums)
    shape, runs = Expr(dims_text(node.type.shape)), Expr(f"*{printer.made[key]}")
    printer.assign(Value(node.id), printer.dialect.call(helper, shape, printer.read(update), runs))
