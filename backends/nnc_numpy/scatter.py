"""Picking elements by an index, and adding to what was picked, the gradient of it.

`np.add.at` goes through rows one by one; sorted, those of one index lie side by side.  An index
that picks one element of each row is one of NumPy's own, which costs half of `take_along_axis`.
"""

from __future__ import annotations

from dataclasses import replace

from nnc.backend import splat
from nnc.emit import ATOM, Dialect, Expr, Printer, Site, dim_text, sized
from nnc.emit.spellings import copied, dims_text
from nnc.ir.dims import equal
from nnc.ir.graph import Node, Value
from nnc.ir.types import TensorType
from nnc_numpy import runtime
from nnc_numpy.fresh import is_fresh
from nnc_numpy.inplace import InPlacePrinter

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
    shape, runs = Expr(dims_text(node.type.shape)), Expr(printer.made[key])
    printer.assign(Value(node.id), printer.dialect.call(helper, shape, printer.read(update), runs))


def take(site: Site, node: Node, x: Expr, index: Expr) -> Expr:
    if not site.types[1].rank:
        return site.dialect.subscript(x, [":"] * node.attrs["axis"] + [index.text])
    return site.dialect.call(
        f"{site.dialect.strong(x).at(ATOM)}.take", index, axis=node.attrs["axis"]
    )


def take_along(site: Site, node: Node, x: Expr, index: Expr) -> Expr:
    """`x[np.arange(N)[:, None], index]`."""
    places = along(site.dialect, site.types[0], node.attrs["axis"], index)
    return replace(site.dialect.subscript(x, places), size=sized(x, index))


def along(
    dialect: Dialect, x: TensorType, axis: int, index: Expr, is_short: bool = False
) -> list[str]:
    """What picks those elements of `x` that `index` gives for each place of the other axes.

    Where it is short, `index` lacks the axis along which it picks one.
    """
    places = []
    for other, dim in enumerate(x.shape):
        counts = f"np.arange({dim_text(dim)})"
        inner = x.rank - 1 - other - (is_short and other < axis)
        spread = f"{counts}[{', '.join([':'] + ['None'] * inner)}]" if inner else counts
        places.append(index.text if other == axis else spread)
    return places


def print_scatter_along(printer: Printer, node: Node) -> None:
    """`x[...] += update`, where the index has one place for each row."""
    value, (x, index, update) = Value(node.id), node.operands
    axis, type = node.attrs["axis"], node.type
    if equal(printer.graph.type(index).shape[axis], 1) is not True:
        printer.assign(value, printer.expression(node))
        return
    read = printer.read(x)
    if isinstance(printer, InPlacePrinter) and printer.is_free(read.text, node):
        printer.bind(value, read)
    elif read.is_name or not is_fresh(printer.graph, printer.graph.producer(x)):
        printer.assign(value, printer.dialect.method(read, "copy"))
    else:
        printer.assign(value, read)
    number = splat(printer.graph, update)
    short = shortened(printer, node) if number is not None else None
    places = along(printer.dialect, type, axis, short or printer.read(index), short is not None)
    if number is None:
        sign, added = "+", printer.read(update)
    else:
        sign = "-" if number < 0 else "+"
        added = printer.dialect.literal(abs(number.item()), type.dtype)
    line = f"{printer.read(value).text}[{', '.join(places)}] {sign}= {added.text}"
    printer.body.add(printer.depth, line)


def shortened(printer: Printer, node: Node) -> Expr | None:
    """The index of `node` as it was before it got the axis along which it picks."""
    index = printer.graph.producer(node.operands[1])
    if index.op != "reshape" or index.operands[0] not in printer.exprs:
        return None
    axis, shape = node.attrs["axis"], index.type.shape
    given = printer.graph.type(index.operands[0]).shape
    return printer.read(index.operands[0]) if given == shape[:axis] + shape[axis + 1 :] else None
