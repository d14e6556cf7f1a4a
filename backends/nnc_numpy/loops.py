"""Loops: a matrix that every iteration multiplies with is laid out for that before the loop.

OpenBLAS packs its operands in each product, which takes as long as to multiply a few rows, except
in products of less than a million terms.  So the matrix is cut into blocks of columns that make
such products.
"""

from __future__ import annotations

from collections.abc import Iterator

from nnc.emit import LOOPS, Expr, Printer
from nnc.ir.graph import Graph, Node, Value
from nnc_numpy import runtime
from nnc_numpy.inplace import InPlacePrinter

#: terms of a product that OpenBLAS computes without packing
SMALL_PRODUCT = 10**6
#: columns that a block has at least
NARROWEST = 16


def print_scan(printer: Printer, node: Node) -> None:
    if isinstance(printer, InPlacePrinter):
        for dot, capture, count in blocked(node):
            prepare(printer, node, dot, capture, count)
    LOOPS["scan"](printer, node)


def prepare(printer: InPlacePrinter, scan: Node, dot: Node, capture: Value, count: int) -> None:
    """Print `u_blocks = column_blocks(u, count)` and let the loop's `dot` read it."""
    matrix = printer.variable(capture)
    text = matrix.text if dot.attrs["contract"][1] == (0,) else f"{matrix.text}.T"
    key = (capture, text, count)
    if key not in printer.made:
        name = printer.names.new(f"{matrix.text}_blocks")
        call = f"{printer.helper(runtime.column_blocks)}({text}, {count})"
        printer.place(scan)
        printer.body.add(printer.depth, f"{name} = {call}")
        printer.made[key] = name
    printer.blocks[id(scan.attrs["body"]), dot.id] = Expr(printer.made[key])


def blocked(scan: Node) -> Iterator[tuple[Node, Value, int]]:
    """Products of the loop's body with a matrix from outside, that matrix, and its blocks."""
    body: Graph = scan.attrs["body"]
    first = 1 + scan.attrs["carries"] + scan.attrs["sequences"]
    captures = dict(zip(body.inputs[first:], scan.operands[first - 1 :], strict=True))
    for node in body:
        if node.op == "dot" and node.operands[1].node in captures:
            count = blocks_of(body, node)
            if count > 1 and node.operands[0].node not in captures:
                yield node, captures[node.operands[1].node], count


def blocks_of(graph: Graph, dot: Node) -> int:
    """Into how many blocks the right matrix of `dot` is cut; 1 where that does not pay."""
    x, y = (graph.type(value) for value in dot.operands)
    contract = dot.attrs["contract"]
    if x.rank != 2 or y.rank != 2 or contract[0] != (1,) or len(contract[1]) != 1:
        return 1
    (rows, depth), columns = x.shape, y.shape[1 - contract[1][0]]
    if not (isinstance(rows, int) and isinstance(depth, int) and isinstance(columns, int)):
        return 1
    count = 1
    while rows * depth * columns > SMALL_PRODUCT * count and columns % (2 * count) == 0:
        count *= 2
    fits = rows * depth * columns <= SMALL_PRODUCT * count
    return count if fits and columns // count >= NARROWEST else 1
