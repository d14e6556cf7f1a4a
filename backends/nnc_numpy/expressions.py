"""Python expressions as text that knows how strongly it binds, so that brackets are the fewest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnc.ir.dims import Dim, FloorDiv, Poly
from nnc.ir.types import FLOATS, NUMPY_DTYPES

# Binding strengths of Python's operators.
COMPARE, OR, XOR, AND, SHIFT, ADD, MUL, UNARY, POWER, ATOM = range(1, 11)


@dataclass(frozen=True)
class Expr:
    """`weak` is the element type of a Python scalar, which takes that of the array it meets.

    `size` counts operations.  `kept` is, for a reduction, its axes and the same text with
    `keepdims=True`.
    """

    text: str
    level: int = ATOM
    weak: str = ""
    size: int = 0
    kept: tuple[tuple[int, ...], str] | None = None

    def at(self, level: int) -> str:
        """The text as an operand that must bind at least as strongly as `level`."""
        return self.text if self.level >= level else f"({self.text})"

    @property
    def is_name(self) -> bool:
        return self.text.isidentifier()

    @property
    def is_simple(self) -> bool:
        """A name or a number, which may stand anywhere any number of times."""
        return self.is_name or bool(self.weak)


def dtype_text(dtype: str) -> str:
    """`np.float32`; nnc's bool is Python's."""
    return "bool" if dtype == "bool" else f"np.{NUMPY_DTYPES[dtype].__name__}"


def literal(value: Any, dtype: str) -> Expr:
    """A scalar constant as a Python number: the shortest text that rounds to it in `dtype`."""
    if dtype not in FLOATS:
        return Expr(repr(value), UNARY if value < 0 else ATOM, dtype)
    number = float(value)
    if math.isnan(number):
        return Expr("np.nan", ATOM, dtype)
    if math.isinf(number):
        return Expr("np.inf" if number > 0 else "-np.inf", ATOM if number > 0 else UNARY, dtype)
    scalar = NUMPY_DTYPES[dtype]
    mantissa, exponent = math.frexp(number)
    if mantissa == 0.5 and exponent < -14:
        return Expr(f"2.0**{exponent - 1}", POWER, dtype)
    text = repr(float(str(scalar(number)))) if dtype != "f64" else repr(number)
    if scalar(float(text)) != scalar(number):
        text = repr(number)
    return Expr(text, UNARY if text.startswith("-") else ATOM, dtype)


def strong(x: Expr) -> Expr:
    """`x` with its element type made explicit, where it is a Python scalar of another."""
    if x.weak in ("", "bool", "f64", "i64"):
        return replace(x, weak="")
    return replace(x, text=f"{dtype_text(x.weak)}({x.text})", level=ATOM, weak="")


def sized(*xs: Expr) -> int:
    return 1 + sum(x.size for x in xs)


def binary(symbol: str, level: int, x: Expr, y: Expr) -> Expr:
    """`x symbol y`, left-associative; comparisons do not associate at all."""
    weak = x.weak if x.weak and y.weak else ""
    if weak in FLOATS:
        x, weak = replace(strong(x), text=f"{dtype_text(weak)}({x.text})", level=ATOM), ""
    left = x.at(level + 1 if level == COMPARE else level)
    if level == COMPARE and weak:
        weak = "bool"
    return Expr(f"{left} {symbol} {y.at(level + 1)}", level, weak, sized(x, y))


def call(function: str, *xs: Expr, **options: Any) -> Expr:
    """`function(x, ..., option=value, ...)`, options as they print."""
    parts = [strong(x).text for x in xs]
    parts += [f"{name}={value}" for name, value in options.items()]
    return Expr(f"{function}({', '.join(parts)})", size=sized(*xs))


def method(x: Expr, name: str, *arguments: str) -> Expr:
    return Expr(f"{strong(x).at(ATOM)}.{name}({', '.join(arguments)})", size=sized(x))


def subscript(x: Expr, places: list[str]) -> Expr:
    """`x[places]` without whole axes at the end."""
    while places and places[-1] == ":":
        places = places[:-1]
    if not places:
        return x
    return Expr(f"{strong(x).at(ATOM)}[{', '.join(places)}]", size=x.size)


def tuple_text(items: list[str]) -> str:
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def shape_text(shape: tuple[Dim, ...]) -> str:
    """A shape as an argument: a lone dim stands without brackets."""
    texts = [dim_text(dim) for dim in shape]
    return texts[0] if len(texts) == 1 else tuple_text(texts) if texts else "()"


def dim_text(dim: Dim) -> str:
    return dim_expr(dim).text


def dim_expr(dim: Dim) -> Expr:
    """A dim over the local variables that hold the sizes of its names (lower case)."""
    if isinstance(dim, int):
        return Expr(str(dim), ATOM if dim >= 0 else UNARY)
    result: Expr | None = None
    for monomial, coefficient in reversed(dim.terms):
        factors = [_power(atom, power) for atom, power in monomial]
        if abs(coefficient) != 1 or not factors:
            factors.insert(0, Expr(str(abs(coefficient))))
        term = factors[0]
        for factor in factors[1:]:
            term = binary("*", MUL, term, factor)
        if result is None:
            result = term if coefficient > 0 else Expr(f"-{term.at(UNARY)}", UNARY)
        else:
            result = binary("+" if coefficient > 0 else "-", ADD, result, term)
    assert result is not None, "a Poly has terms"
    return result


def _power(atom: str | FloorDiv, power: int) -> Expr:
    base = Expr(size_name(atom)) if isinstance(atom, str) else _floordiv(atom)
    return base if power == 1 else Expr(f"{base.at(ATOM)} ** {power}", POWER)


def _floordiv(atom: FloorDiv) -> Expr:
    return binary("//", MUL, dim_expr(atom.numerator), dim_expr(atom.denominator))


def size_name(symbol: str) -> str:
    """The local variable that holds the size called `symbol`."""
    return "".join(c if c.isalnum() else "_" for c in symbol).lower()


def is_symbol(dim: Dim) -> bool:
    """Whether `dim` is a name alone, which an array's shape can bind."""
    return isinstance(dim, Poly) and str(dim).isidentifier()


def array_text(data: np.ndarray) -> str:
    """An array constant as nested lists."""
    dtype = next(name for name, scalar in NUMPY_DTYPES.items() if data.dtype == scalar)

    def nested(part: Any) -> str:
        if isinstance(part, list):
            return f"[{', '.join(map(nested, part))}]"
        return literal(part, dtype).text

    return f"np.array({nested(data.tolist())}, dtype={dtype_text(dtype)})"
