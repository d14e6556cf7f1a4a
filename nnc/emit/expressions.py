"""Python expressions as text that knows how strongly it binds, so that brackets are the fewest."""

from __future__ import annotations

from dataclasses import dataclass

from nnc.ir.dims import Dim, FloorDiv, Poly

# Binding strengths of Python's operators.
COMPARE, OR, XOR, AND, SHIFT, ADD, MUL, UNARY, POWER, ATOM = range(1, 11)


@dataclass(frozen=True)
class Expr:
    """`weak` is the element type of a Python scalar, which takes that of the array it meets.

    `size` counts operations.  `kept` is, for a reduction, its axes and the same text with
    `keepdims=True`.  What is `fused` is one kernel for a node and for an operand that is
    written inside it, and so is not divided, however long it is.  The array of what `is_new` was
    made by the expression itself, so that nothing else reads it.
    """

    text: str
    level: int = ATOM
    weak: str = ""
    size: int = 0
    kept: tuple[tuple[int, ...], str] | None = None
    fused: bool = False
    is_new: bool = False

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


def sized(*xs: Expr) -> int:
    return 1 + sum(x.size for x in xs)


def infix(symbol: str, level: int, x: Expr, y: Expr) -> Expr:
    """`x symbol y`, left-associative; comparisons do not associate at all."""
    left = x.at(level + 1 if level == COMPARE else level)
    return Expr(f"{left} {symbol} {y.at(level + 1)}", level, "", sized(x, y))


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
            term = infix("*", MUL, term, factor)
        if result is None:
            result = term if coefficient > 0 else Expr(f"-{term.at(UNARY)}", UNARY)
        else:
            result = infix("+" if coefficient > 0 else "-", ADD, result, term)
    assert result is not None, "a Poly has terms"
    return result


def _power(atom: str | FloorDiv, power: int) -> Expr:
    base = Expr(size_name(atom)) if isinstance(atom, str) else _floordiv(atom)
    return base if power == 1 else Expr(f"{base.at(ATOM)} ** {power}", POWER)


def _floordiv(atom: FloorDiv) -> Expr:
    return infix("//", MUL, dim_expr(atom.numerator), dim_expr(atom.denominator))


def size_name(symbol: str) -> str:
    """The local variable that holds the size called `symbol`."""
    return "".join(c if c.isalnum() else "_" for c in symbol).lower()


def is_symbol(dim: Dim) -> bool:
    """Whether `dim` is a name alone, which an array's shape can bind."""
    return isinstance(dim, Poly) and str(dim).isidentifier()
