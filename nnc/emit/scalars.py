"""`STEP_scalars`: schedules and bias corrections as Python statements.

A choice becomes an `if` statement, so that only the branch taken is computed and every line is
short.  What the program has a name for becomes a variable, made once for all scalars that use it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from nnc.emit.layout import string
from nnc.emit.names import Names, identifier
from nnc.ir.host import HostConst, HostExpr, HostIf, HostOp, HostVar, python_text

COUNTERS = ("step", "updates", "seed", "draw")


@dataclass
class Writer:
    """Lines so far, and the variables that hold choices already made."""

    names: Names
    lines: list[tuple[int, str]] = field(default_factory=list)

    def expression(self, expr: HostExpr, known: dict[HostExpr, str], depth: int, wish: str) -> str:
        """The text of `expr`, after the statements for the choices in it."""
        return python_text(self.without_choices(expr, known, depth, wish))

    def without_choices(
        self, expr: HostExpr, known: dict[HostExpr, str], depth: int, wish: str
    ) -> HostExpr:
        if isinstance(expr, HostOp):
            args = tuple(self.in_variables(a, known, depth, wish) for a in expr.args)
            return replace(expr, args=args)
        return self.in_variables(expr, known, depth, wish)

    def in_variables(
        self, expr: HostExpr, known: dict[HostExpr, str], depth: int, wish: str
    ) -> HostExpr:
        """`expr` where it stands in another one: choices and what has a name are variables."""
        is_op = isinstance(expr, HostOp)
        if isinstance(expr, (HostConst, HostVar)) or (is_op and not expr.name):
            return self.without_choices(expr, known, depth, wish) if is_op else expr
        if expr not in known:
            name = self.names.new(identifier(expr.name) if expr.name else wish)
            if isinstance(expr, HostIf):
                self.choice(expr, known, depth, name, "if")
            else:
                text = self.expression(expr, known, depth, wish)
                self.lines.append((depth, f"{name} = {text}"))
            known[expr] = name
        return HostVar(known[expr])

    def choice(
        self, expr: HostIf, known: dict[HostExpr, str], depth: int, name: str, keyword: str
    ) -> None:
        """An `if` statement that sets `name`; `known` holds what is computed in any case."""
        condition = self.expression(expr.condition, known, depth, name)
        self.lines.append((depth, f"{keyword} {condition}:"))
        self.branch(expr.then, dict(known), depth + 1, name)
        if isinstance(expr.orelse, HostIf) and not _has_choice(expr.orelse.condition):
            self.choice(expr.orelse, known, depth, name, "elif")
        else:
            self.lines.append((depth, "else:"))
            self.branch(expr.orelse, dict(known), depth + 1, name)

    def branch(self, expr: HostExpr, known: dict[HostExpr, str], depth: int, name: str) -> None:
        if isinstance(expr, HostIf) and expr not in known:
            self.choice(expr, known, depth, name, "if")
        else:
            text = self.expression(expr, known, depth, name)
            self.lines.append((depth, f"{name} = {text}"))


def scalar_lines(
    scalars: dict[str, HostExpr], typed: Callable[[str, str], str]
) -> list[tuple[int, str]]:
    """The body of a function of the counters that returns the scalars as a dictionary.

    `typed(scalar, text)` is the text as the dialect wants it in the dictionary.
    """
    writer = Writer(Names(COUNTERS))
    known: dict[HostExpr, str] = {}
    # A scalar that is a choice itself comes first, so that others can use it by its name.
    for name, expr in sorted(scalars.items(), key=lambda item: not isinstance(item[1], HostIf)):
        writer.expression(expr, known, 1, identifier(name))
    pairs = [
        f"{string(name)}: {typed(name, writer.expression(expr, known, 1, identifier(name)))}"
        for name, expr in scalars.items()
    ]
    return [*writer.lines, (1, f"return {{{', '.join(pairs)}}}")]


def _has_choice(expr: HostExpr) -> bool:
    if isinstance(expr, HostOp):
        return any(map(_has_choice, expr.args))
    return isinstance(expr, HostIf)
