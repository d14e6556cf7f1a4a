"""Sums of terms `number * a`, `number * a * b` and `number * a / b` of lists of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nnc.emit import ADD, MUL, UNARY, Dialect, Expr

ONE = Expr("1", weak="f64")


class Unsupported(Exception):
    """A formula that these kernels do not compute."""


@dataclass(frozen=True)
class Term:
    """`a * b` or `a / b`, or `a` alone, times `factor / divisor`, either of which may be none."""

    a: str
    b: str = ""
    is_quotient: bool = False
    factor: Expr | None = None
    divisor: Expr | None = None

    @property
    def names(self) -> set[str]:
        return {self.a, self.b} - {""}

    @property
    def is_scaled(self) -> bool:
        return self.factor is not None or self.divisor is not None

    def scale(self, dialect: Dialect) -> Expr:
        """The number before the lists."""
        factor = self.factor or ONE
        return factor if self.divisor is None else dialect.binary("/", MUL, factor, self.divisor)


@dataclass(frozen=True)
class Sum:
    """Terms and a number."""

    terms: tuple[Term, ...]
    number: Expr | None = None

    @property
    def names(self) -> set[str]:
        return {name for term in self.terms for name in term.names}


# ---------------------------------------------------------------- numbers
def is_variable(x: Sum) -> bool:
    """Whether `x` is a list as it stands."""
    return len(x.terms) == 1 and x.number is None and x.terms[0] == Term(x.terms[0].a)


def negative(x: Expr | None) -> Expr:
    if x is None:
        return Expr("-1", UNARY, "f64")
    if x.text.startswith("-") and x.level == UNARY:
        return Expr(x.text[1:], weak=x.weak)
    return Expr(f"-{x.at(UNARY)}", UNARY, x.weak)


def product(dialect: Dialect, x: Expr | None, y: Expr | None) -> Expr | None:
    if x is None or y is None:
        return x or y
    return dialect.binary("*", MUL, x, y)


def plus(dialect: Dialect, x: Expr | None, y: Expr | None) -> Expr | None:
    if x is None or y is None:
        return x or y
    if y.text.startswith("-") and y.level <= UNARY:
        return dialect.binary("-", ADD, x, negative(y))
    return dialect.binary("+", ADD, x, y)


def merged(dialect: Dialect, terms: Sequence[Term]) -> tuple[Term, ...]:
    """Terms of the same lists as one, the sum of their numbers before it."""
    found: dict[Term, Term] = {}
    for term in terms:
        key = Term(term.a, term.b, term.is_quotient)
        if key in found:
            scale = plus(dialect, found[key].scale(dialect), term.scale(dialect))
            found[key] = replace(key, factor=scale)
        else:
            found[key] = term
    return tuple(found.values())


def scaling(dialect: Dialect, term: Term, place: str) -> str:
    """`mul_(m, 0.9)` or `div_(v, c2)`."""
    if term.factor is None and term.divisor is not None:
        return f"div{place}({term.a}, {term.divisor.text})"
    return f"mul{place}({term.a}, {term.scale(dialect).text})"


def addition(dialect: Dialect, name: str, term: Term, place: str) -> str:
    """`add_(p, g, alpha=-lr)` and the like."""
    value = term.scale(dialect).text if term.is_scaled else ""
    if not term.b:
        return f"add{place}({name}, {term.a}{f', alpha={value}' if value else ''})"
    function = "addcdiv" if term.is_quotient else "addcmul"
    return f"{function}{place}({name}, {term.a}, {term.b}{f', {value}' if value else ''})"
