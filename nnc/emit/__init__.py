"""Printing a program as Python source: what backends share.

A backend describes its framework as a `Dialect` (spellings, names, what its numbers and arrays look
like) and calls `module_text(legalized(training, backend), dialect)`.
"""

from nnc.emit.dialect import Dialect, Emitter, Helper, Site, Statement
from nnc.emit.expressions import (
    ADD,
    AND,
    ATOM,
    COMPARE,
    MUL,
    OR,
    POWER,
    SHIFT,
    UNARY,
    XOR,
    Expr,
    dim_text,
    infix,
    shape_text,
    sized,
    tuple_text,
)
from nnc.emit.function import Body, Printer
from nnc.emit.layout import WIDTH, statement, string
from nnc.emit.loops import STATEMENTS as LOOPS
from nnc.emit.loops import print_call
from nnc.emit.module import module_text
from nnc.emit.names import Names, identifier
from nnc.emit.recurrent import recurrent
from nnc.ir.order import needed, reads, sources

__all__ = [
    "ADD",
    "AND",
    "ATOM",
    "COMPARE",
    "LOOPS",
    "MUL",
    "OR",
    "POWER",
    "SHIFT",
    "UNARY",
    "WIDTH",
    "XOR",
    "Body",
    "Dialect",
    "Emitter",
    "Expr",
    "Helper",
    "Names",
    "Printer",
    "Site",
    "Statement",
    "dim_text",
    "identifier",
    "infix",
    "module_text",
    "needed",
    "print_call",
    "reads",
    "recurrent",
    "shape_text",
    "sized",
    "sources",
    "statement",
    "string",
    "tuple_text",
]
