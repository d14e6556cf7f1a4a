"""Dims are integer polynomials: a ring, with `//` rounded down as in Python."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnc.ir.dims import Dim, equal, product, substitute, symbol, symbols
from tests.ir.strategies import NAMES

# An expression is an int, a name, or (operator, left, right); divisors are positive by their form.
Expression = Any
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}
leaves = st.one_of(st.integers(-5, 5), st.sampled_from(NAMES))
divisors = st.one_of(
    st.integers(1, 6),
    st.sampled_from(NAMES),
    st.tuples(st.just("+"), st.sampled_from(NAMES), st.integers(0, 3)),
    st.tuples(st.just("*"), st.integers(1, 3), st.sampled_from(NAMES)),
)
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from("+-*"), inner, inner),
        st.tuples(st.sampled_from(["//", "%"]), inner, divisors),
    ),
    max_leaves=8,
)
sizes = st.fixed_dictionaries({name: st.integers(1, 50) for name in NAMES})


def build(expression: Expression, leaf: Callable[[str], Any]) -> Any:
    """The value of an expression where names stand for `leaf(name)`."""
    if isinstance(expression, tuple):
        sign, left, right = expression
        return OPERATORS[sign](build(left, leaf), build(right, leaf))
    return leaf(expression) if isinstance(expression, str) else expression


dims: st.SearchStrategy[Dim] = expressions.map(lambda e: build(e, symbol))
few = settings(max_examples=60, deadline=None)


@few
@given(expressions, sizes)
def test_arithmetic_commutes_with_substitution(
    expression: Expression, values: dict[str, int]
) -> None:
    assert substitute(build(expression, symbol), values) == build(expression, values.__getitem__)


@few
@given(dims, dims, dims)
def test_dims_are_a_commutative_ring(a: Dim, b: Dim, c: Dim) -> None:
    assert a + b == b + a
    assert a * b == b * a
    assert (a + b) + c == a + (b + c)
    assert (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert a + 0 == a
    assert a * 1 == a
    assert a - a == 0
    assert a * 0 == 0


@few
@given(dims, dims, sizes)
def test_what_is_proved_is_so(a: Dim, b: Dim, values: dict[str, int]) -> None:
    verdict = equal(a, b)
    same = substitute(a, values) == substitute(b, values)
    assert verdict is None or verdict == same


@few
@given(dims, st.integers(-20, 20), st.integers(1, 6))
def test_whole_multiples_leave_a_floor(a: Dim, whole: int, by: int) -> None:
    assert (a + whole * by) // by == a // by + whole
    assert (a * by) // by == a


N, H = symbol("N"), symbol("H")


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (N, "N"),
        (N + 1, "N + 1"),
        (1 - N, "-N + 1"),
        (2 * N * H - 3, "2 * H * N - 3"),
        (N * N, "N^2"),
        ((N + 1) // 2, "(N + 1) // 2"),
        ((4 * N + 7) // 4, "N + 1"),
        (2 * (N // 3) + 1, "2 * ((N) // 3) + 1"),
        (N // (2 * H), "(N) // (2 * H)"),
        (7 // N, "(7) // N"),
    ],
)
def test_text(dim: Dim, text: str) -> None:
    assert str(dim) == text


def test_products_and_names() -> None:
    assert product((2, N, 3)) == 6 * N
    assert product(()) == 1
    assert symbols((N + 1) // H) == {"H", "N"}
    assert symbols(3) == set()


def test_exact_quotients_by_a_dim() -> None:
    assert (6 * N * H) // (2 * N) == 3 * H
    assert (N * H + N) // N == H + 1
    assert equal(N // H, 1) is None
    assert equal(N + 1, N) is False
