"""Dimensions: integers, or integer polynomials over named sizes with `//` as an opaque atom.

A training graph has concrete sizes; evaluation and inference leave the batch size (and whatever
else a model leaves free) symbolic.  Every dimension is an `int` where it is known and a `Poly`
where it is not; arithmetic on either gives whichever fits.  Equality of two dimensions is
*proved*, *refuted* or *unknown* (`equal` gives True, False or None).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class FloorDiv:
    """The opaque atom `numerator // denominator`."""

    numerator: Poly
    denominator: Dim

    def __str__(self) -> str:
        return f"({self.numerator}) // {_in_product(self.denominator)}"


Atom: TypeAlias = "str | FloorDiv"
Monomial = tuple[tuple[Atom, int], ...]


@dataclass(frozen=True, slots=True)
class Poly:
    """A non-constant polynomial: monomial -> coefficient, sorted, no zero coefficients."""

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: Dim) -> Dim:
        return _sum((self, other))

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return _sum((self, other * -1))

    def __rsub__(self, other: int) -> Dim:
        return _sum((other, self * -1))

    def __mul__(self, other: Dim) -> Dim:
        result: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                monomial = _times(left, right)
                result[monomial] = result.get(monomial, 0) + a * b
        return _normal(result)

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        if other == 1:
            return self
        if isinstance(other, int) and other != 0:
            # Move whole multiples out, (5*N + 7) // 4 = N + 1 + (N + 3) // 4, so that formulas
            # that differ by them, (N - 1) // 2 + 1 and (N + 1) // 2, are proved equal.
            whole = {m: c // other for m, c in self.terms}
            rest = _normal({m: c % other for m, c in self.terms})
            if isinstance(rest, int):
                return _normal(whole) + rest // other
            return _normal(whole) + Poly(((((FloorDiv(rest, other), 1),), 1),))
        if other == self:
            return 1
        quotient = _exact_quotient(self, other)
        if quotient is not None:
            return quotient
        return Poly(((((FloorDiv(self, other), 1),), 1),))

    def __rfloordiv__(self, other: int) -> Dim:
        if other == 0:
            return 0
        constant: Poly = Poly((((), other),))
        return Poly(((((FloorDiv(constant, self), 1),), 1),))

    def __mod__(self, other: Dim) -> Dim:
        return self - (self // other) * other

    def __rmod__(self, other: int) -> Dim:
        return other - (other // self) * self

    def __pow__(self, exponent: int) -> Dim:
        result: Dim = 1
        for _ in range(exponent):
            result = result * self
        return result

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in reversed(self.terms):
            sign = "-" if coefficient < 0 else "+"
            body = _monomial_text(monomial, abs(coefficient))
            text += (
                body if not text and sign == "+" else f"-{body}" if not text else f" {sign} {body}"
            )
        return text

    __repr__ = __str__


Dim: TypeAlias = "int | Poly"


def symbol(name: str) -> Poly:
    """The dimension called `name`."""
    return Poly(((((name, 1),), 1),))


def equal(a: Dim, b: Dim) -> bool | None:
    """True where `a == b` for all sizes, False where for none, None where it depends."""
    if a == b:
        return True
    difference = a - b
    return difference == 0 if isinstance(difference, int) else None


def product(dims: tuple[Dim, ...] | list[Dim]) -> Dim:
    result: Dim = 1
    for dim in dims:
        result = result * dim
    return result


def symbols(dim: Dim) -> set[str]:
    """The names that `dim` depends on."""
    names: set[str] = set()
    if isinstance(dim, Poly):
        for monomial, _ in dim.terms:
            for atom, _ in monomial:
                if isinstance(atom, str):
                    names.add(atom)
                else:
                    names |= symbols(atom.numerator) | symbols(atom.denominator)
    return names


def substitute(dim: Dim, sizes: Mapping[str, Dim]) -> Dim:
    """`dim` with names replaced by `sizes`; names that are not in it stay."""
    if isinstance(dim, int):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        term: Dim = coefficient
        for atom, power in monomial:
            if isinstance(atom, str):
                value: Dim = sizes.get(atom, symbol(atom))
            else:
                value = substitute(atom.numerator, sizes) // substitute(atom.denominator, sizes)
            term = term * value**power
        total = total + term
    return total


def shape_text(shape: tuple[Dim, ...]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    return dim.terms if isinstance(dim, Poly) else (((), dim),)


def _sum(dims: tuple[Dim, ...]) -> Dim:
    result: dict[Monomial, int] = {}
    for dim in dims:
        for monomial, coefficient in _terms(dim):
            result[monomial] = result.get(monomial, 0) + coefficient
    return _normal(result)


def _normal(terms: dict[Monomial, int]) -> Dim:
    kept = {m: c for m, c in terms.items() if c}
    if not kept:
        return 0
    if kept.keys() == {()}:
        return kept[()]
    return Poly(tuple(sorted(kept.items(), key=lambda term: _order(term[0]))))


def _order(monomial: Monomial) -> tuple[int, str]:
    return sum(power for _, power in monomial), str(monomial)


def _times(left: Monomial, right: Monomial) -> Monomial:
    powers: dict[Atom, int] = dict(left)
    for atom, power in right:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=lambda item: str(item[0])))


def _exact_quotient(numerator: Poly, denominator: Dim) -> Dim | None:
    """Quotient by a single monomial where every term is divisible by it."""
    if not isinstance(denominator, Poly) or len(denominator.terms) != 1:
        return None
    ((divisor, by),) = denominator.terms
    result: dict[Monomial, int] = {}
    for monomial, coefficient in numerator.terms:
        powers = dict(monomial)
        for atom, power in divisor:
            powers[atom] = powers.get(atom, 0) - power
        if coefficient % by or any(power < 0 for power in powers.values()):
            return None
        kept = tuple((atom, power) for atom, power in powers.items() if power)
        result[kept] = coefficient // by
    return _normal(result)


def _monomial_text(monomial: Monomial, coefficient: int) -> str:
    factors = [str(coefficient)] if coefficient != 1 or not monomial else []
    alone = not factors and len(monomial) == 1 and monomial[0][1] == 1
    for atom, power in monomial:
        base = str(atom) if isinstance(atom, str) or alone else f"({atom})"
        factors.append(base if power == 1 else f"{base}^{power}")
    return " * ".join(factors)


def _in_product(dim: Dim) -> str:
    return str(dim) if str(dim).isalnum() else f"({dim})"
