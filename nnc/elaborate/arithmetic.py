"""Operators over the binding times: static numbers, host scalars, tensors, trees of weights."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from nnc.elaborate.context import Context
from nnc.elaborate.values import (
    Duration,
    Host,
    Poison,
    Poisoned,
    TensorValue,
    WeightsValue,
    describe,
    is_int,
    is_number,
)
from nnc.ir.dims import Dim, Poly, equal
from nnc.ir.host import HOST_OPS, HostConst, HostExpr, HostOp
from nnc.ir.types import FLOATS, INTEGERS
from nnc.language.diagnostics import Label, NncError, error
from nnc.language.tree import Span

#: operator -> (op of the graph and of host expressions, Python's operator)
BINARY: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "+": ("add", operator.add),
    "-": ("sub", operator.sub),
    "*": ("mul", operator.mul),
    "/": ("div", operator.truediv),
    "//": ("floordiv", operator.floordiv),
    "%": ("rem", operator.mod),
    "^": ("pow", operator.pow),
    "==": ("eq", operator.eq),
    "!=": ("ne", operator.ne),
    "<": ("lt", operator.lt),
    "<=": ("le", operator.le),
    ">": ("gt", operator.gt),
    ">=": ("ge", operator.ge),
    "and": ("and", lambda a, b: a and b),
    "or": ("or", lambda a, b: a or b),
}
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
Operand = tuple[Any, Span]
MAX_INT = 1 << 64
MAX_TERMS = 200  # of a symbolic size
MAX_TEXT = 10_000


def binary(cx: Context, symbol: str, left: Operand, right: Operand, span: Span) -> Any:
    """`left symbol right`; `span` is the operator's own place."""
    a, b = left[0], right[0]
    if isinstance(a, Poison) or isinstance(b, Poison):
        raise Poisoned
    if symbol in ("==", "!=") and (a is None or b is None):
        return (a is b) == (symbol == "==")  # whether an optional argument was given is static
    if symbol == "@":
        return matmul(cx, left, right, span)
    if isinstance(a, WeightsValue) or isinstance(b, WeightsValue):
        return _weights(cx, symbol, left, right, span)
    if isinstance(a, TensorValue) or isinstance(b, TensorValue):
        return tensors(cx, symbol, left, right, span)
    if isinstance(a, Poly) != isinstance(b, Poly) and _fractional(symbol, a, b):
        return tensors(cx, symbol, left, right, span)
    if isinstance(a, Host) or isinstance(b, Host):
        return _host(symbol, left, right, span)
    return _static(symbol, left, right, span)


def negate(cx: Context, value: Any, span: Span) -> Any:
    if isinstance(value, Poison):
        raise Poisoned
    if isinstance(value, TensorValue):
        if value.dtype == "bool":
            raise error("E0315", f"`-` of {describe(value)}", span, help="`not` inverts a bool")
        return value.with_tensor(cx.emit(span, "neg", value.tensor))
    if isinstance(value, WeightsValue):
        return value.map(lambda leaf: negate(cx, leaf, span))
    if isinstance(value, Host):
        return Host(HostOp("neg", (value.expr,)), value.kind)
    if is_number(value):
        return -value
    raise error("E0315", f"`-` of {describe(value)}", span)


def invert(cx: Context, value: Any, span: Span) -> Any:
    if isinstance(value, Poison):
        raise Poisoned
    if isinstance(value, bool):
        return not value
    if isinstance(value, Host) and value.kind == "bool":
        return Host(HostOp("not", (value.expr,)), "bool")
    if isinstance(value, TensorValue) and value.dtype == "bool":
        return value.with_tensor(cx.emit(span, "not", value.tensor))
    raise error("E0315", f"`not` of {describe(value)}", span)


def as_tensor(cx: Context, value: Any, dtype: str, span: Span) -> TensorValue:
    """A number, host scalar or tensor as a tensor; numbers take `dtype`."""
    if isinstance(value, Poison):
        raise Poisoned
    if isinstance(value, TensorValue):
        return value
    with cx.at(span):
        if isinstance(value, Host):
            return TensorValue(cx.scalar(value, dtype), ())
        if is_number(value) or isinstance(value, bool):
            _check_literal(value, dtype, span)
            return TensorValue(cx.constant(value, dtype), ())
    raise error("E0311", f"a tensor is needed here; this is {describe(value)}", span)


# ---------------------------------------------------------------- static and host
def _static(symbol: str, left: Operand, right: Operand, span: Span) -> Any:
    a, b = left[0], right[0]
    if symbol in ("and", "or"):
        if isinstance(a, bool) and isinstance(b, bool):
            return BINARY[symbol][1](a, b)
        raise _no_operator(symbol, left, right, span)
    if symbol in ("==", "!="):
        same = _equal(a, b, span)
        return same if symbol == "==" else not same
    if isinstance(a, Duration) and is_number(b) and symbol in ("*", "/"):
        return Duration(BINARY[symbol][1](a.value, b), a.unit)
    if isinstance(a, str) and isinstance(b, str) and symbol == "+":
        return check_static(a + b, span)
    if not is_number(a) or not is_number(b):
        raise _no_operator(symbol, left, right, span)
    if symbol in COMPARISONS and (isinstance(a, Poly) or isinstance(b, Poly)):
        raise error("E0304", f"`{symbol}` of sizes that are not known here: {a} and {b}", span)
    if symbol == "^" and is_int(a) and is_int(b):
        _check_power(a, b, span)
    try:
        result = BINARY[symbol][1](a, b)
    except ZeroDivisionError:
        raise error("E0316", "division by zero", span, Label(right[1], "this is 0")) from None
    except (OverflowError, TypeError, ValueError):
        raise error("E0316", f"`{a} {symbol} {b}` has no finite value", span) from None
    return check_static(result, span)


def check_static(value: Any, span: Span) -> Any:
    """`value`, unless it is no number or too large for any use; E0316."""
    if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
        raise error("E0316", "this has no finite value", span)
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise error("E0316", f"a string of more than {MAX_TEXT:,} characters", span)
    numbers = [c for _, c in value.terms] if isinstance(value, Poly) else [value]
    large = any(isinstance(n, int) and abs(n) >= MAX_INT for n in numbers)
    if large or len(numbers) > MAX_TERMS:
        raise error("E0316", "this number is too large", span, help="ints are below 2^64")
    return value


def _check_power(base: Dim, exponent: Dim, span: Span) -> None:
    """A power is refused before it fills the memory."""
    small = isinstance(exponent, int) and exponent <= 64
    if isinstance(base, Poly):
        small = small and 0 <= exponent <= 16  # type: ignore[operator]
    elif small:
        small = base.bit_length() * exponent <= 128  # type: ignore[operator]
    if not small and base not in (0, 1, -1):
        raise error("E0316", "this number is too large", span, help="ints are below 2^64")


def _equal(a: Any, b: Any, span: Span) -> bool:
    if is_int(a) and is_int(b):
        same = equal(a, b)
        if same is None:
            raise error("E0304", f"whether {a} equals {b} is not known here", span)
        return same
    return bool(a == b)


def _fractional(symbol: str, a: Any, b: Any) -> bool:
    """Whether a symbolic size meets a fraction, so that only the device can compute it."""
    other = b if isinstance(a, Poly) else a
    return isinstance(other, float) or (symbol == "/" and is_number(other))


def host_expr(value: Any) -> HostExpr:
    return value.expr if isinstance(value, Host) else HostConst(value)


def host_kind(value: Any) -> str:
    if isinstance(value, Host):
        return value.kind
    return "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"


def _host(symbol: str, left: Operand, right: Operand, span: Span) -> Host:
    a, b = left[0], right[0]
    logical = symbol in ("and", "or")
    for value, place in (left, right):
        fits = (isinstance(value, Host) or is_number(value) or isinstance(value, bool)) and (
            (host_kind(value) == "bool") == logical
        )
        if not fits or isinstance(value, Poly):
            raise _no_operator(symbol, left, right, place)
    op = BINARY[symbol][0]
    expr = HostOp(op, (host_expr(a), host_expr(b)))
    if symbol in COMPARISONS or logical:
        return Host(expr, "bool")
    integral = host_kind(a) == host_kind(b) == "int" and symbol != "/"
    return Host(expr, "int" if integral else "float")


def host_call(op: str, args: list[Any]) -> Host | float | int:
    """A function of host scalars; folded where all arguments are static."""
    if not any(isinstance(arg, Host) for arg in args):
        return HOST_OPS[op][0](*args)
    kinds = {host_kind(arg) for arg in args}
    keeps = op in ("abs", "minimum", "maximum", "neg") and kinds == {"int"}
    kind = "int" if keeps or op in ("floor", "ceil", "i32") else "float"
    return Host(HostOp(op, tuple(host_expr(arg) for arg in args)), kind)


# ---------------------------------------------------------------- tensors
def tensors(cx: Context, symbol: str, left: Operand, right: Operand, span: Span) -> TensorValue:
    dtype = next((v.dtype for v, _ in (left, right) if isinstance(v, TensorValue)), "f32")
    a = as_tensor(cx, left[0], dtype, left[1])
    b = as_tensor(cx, right[0], dtype, right[1])
    _check_dtypes(symbol, a, b, left, right, span)
    a, b = broadcast_together(cx, a, b, left[1], right[1], span, f"`{symbol}`")
    with cx.at(span):
        tensor = cx.emit(span, BINARY[symbol][0], a.tensor, b.tensor)
    origins = (
        v.made
        for v, _ in (left, right)
        if isinstance(v, TensorValue) and v.made and v.shape == tensor.shape
    )
    return TensorValue(tensor, merge_names(a, b), next(origins, None))


def merge_names(a: TensorValue, b: TensorValue) -> tuple[str | None, ...]:
    return tuple(x or y for x, y in zip(a.names, b.names, strict=True))


def broadcast_together(
    cx: Context, a: TensorValue, b: TensorValue, span_a: Span, span_b: Span, span: Span, what: str
) -> tuple[TensorValue, TensorValue]:
    """Both at one shape: a lower rank as an exact suffix, literal-1 axes at equal rank."""
    if a.rank < b.rank:
        b, a = broadcast_together(cx, b, a, span_b, span_a, span, what)
        return a, b
    shape = _common_shape(a, b)
    if shape is None:
        raise _mismatch(a, b, span_a, span_b, span, what)
    with cx.at(span):
        return _expand(a, shape, a.names), _expand(b, shape, a.names)


def _common_shape(a: TensorValue, b: TensorValue) -> tuple[Dim, ...] | None:
    if a.rank == b.rank:
        shape = []
        for x, y in zip(a.shape, b.shape, strict=True):
            if not (equal(x, y) or x == 1 or y == 1):
                return None
            shape.append(y if x == 1 else x)
        return tuple(shape)
    suffix = a.shape[a.rank - b.rank :]
    same = all(equal(x, y) for x, y in zip(suffix, b.shape, strict=True))
    return a.shape if same and not _misplaced(a, b) else None


def _misplaced(a: TensorValue, b: TensorValue) -> bool:
    """Whether an axis of `b` meets another axis than the one of its own label: [N, D] and [N]."""
    met = zip(a.names[a.rank - b.rank :], b.names, strict=True)
    return any(own is not None and own != other and own in a.names for other, own in met)


def _expand(x: TensorValue, shape: tuple[Dim, ...], names: tuple[str | None, ...]) -> TensorValue:
    if x.rank < len(shape):
        return TensorValue(x.tensor.expand(shape), names)
    kept = [
        i for i, (own, dim) in enumerate(zip(x.shape, shape, strict=True)) if own != 1 or dim == 1
    ]
    if len(kept) == x.rank:
        return x
    small = x.tensor.reshape(tuple(x.shape[i] for i in kept))
    return TensorValue(small.broadcast(shape, tuple(kept)), x.names)


def _matmul_help(x: TensorValue, y: TensorValue) -> str:
    inner = y.shape[max(y.rank - 2, 0)]
    if equal(x.shape[-1], inner):
        return "the leading axes of the right side are those of the left"
    return f"the last axis on the left, {x.shape[-1]}, meets the first on the right, {inner}"


def _mismatch(
    a: TensorValue,
    b: TensorValue,
    span_a: Span,
    span_b: Span,
    span: Span,
    what: str,
    help: str = "",
) -> NncError:
    if help:
        pass
    elif a.rank == b.rank + 1 and a.shape[-1] == 1:
        help = "`squeeze` or `reshape` gives both the same rank; nothing is broadcast silently"
    elif a.rank > b.rank and _misplaced(a, b):
        help = "equal sizes are not one axis; `expand(x, axis = ...)` adds one where it belongs"
    elif a.rank != b.rank:
        help = "a tensor of lower rank must have exactly the last dimensions of the other"
    labels = [Label(s, _from(v)) for v, s in ((a, span_a), (b, span_b))]
    labels.sort(key=lambda label: label.span.start)
    words = f"{describe(a)} and {describe(b)}"
    if span_b.start < span_a.start:
        words = f"{describe(b)} and {describe(a)}"
    return error("E0320", f"mismatched shapes in {what}: {words}", span, *labels, help=help)


def _from(value: TensorValue) -> str:
    made = f", from {value.made.text}" if value.made else ""
    return describe(value) + made


def _check_dtypes(
    symbol: str, a: TensorValue, b: TensorValue, left: Operand, right: Operand, span: Span
) -> None:
    logical = symbol in ("and", "or")
    kinds = logical == (a.dtype == "bool") or symbol in ("==", "!=")
    if a.dtype == b.dtype and kinds and not (symbol == "/" and a.dtype in INTEGERS):
        return
    labels = [Label(left[1], _from(a)), Label(right[1], _from(b))]
    if a.dtype != b.dtype:
        wanted, (_, place) = (a.dtype, right) if a.dtype in FLOATS else (b.dtype, left)
        text = place.text if len(place.text) < 40 and "\n" not in place.text else "..."
        cast = f"{wanted}{text}" if text[:1] == "(" else f"{wanted}({text})"
        raise error(
            "E0317",
            f"`{symbol}` of {a.dtype} and {b.dtype}",
            span,
            *labels,
            help=f"write `{cast}`; element types never mix silently",
        )
    help = "`//` divides ints; `f32(...)` casts"
    if not kinds:
        help = "compare first: `x > 0`" if logical else "`f32(mask)` casts a bool"
    raise error("E0317", f"`{symbol}` of {a.dtype}", span, *labels, help=help)


def _check_literal(value: Any, dtype: str, span: Span) -> None:
    if dtype in INTEGERS and isinstance(value, float) and not value.is_integer():
        raise error(
            "E0317",
            f"the number {value:g} where {dtype} is needed",
            span,
            help="`f32(...)` casts the tensor",
        )
    if isinstance(value, bool) != (dtype == "bool"):
        raise error("E0317", f"{describe(value)} where {dtype} is needed", span)


def matmul(cx: Context, left: Operand, right: Operand, span: Span) -> TensorValue:
    """`x @ y`: the last axis of x with the last but one of y; leading axes of y are batch axes."""
    x, y = left[0], right[0]
    if not isinstance(x, TensorValue) or not isinstance(y, TensorValue):
        raise _no_operator("@", left, right, span)
    if x.rank == 0 or y.rank == 0 or x.dtype != y.dtype or x.dtype not in FLOATS:
        raise _no_operator("@", left, right, span)
    inner = max(y.rank - 2, 0)
    batch = y.rank - 2 if y.rank > 2 else 0
    same = equal(x.shape[-1], y.shape[inner]) and x.rank >= batch + 1
    if not same or not all(
        equal(a, b) for a, b in zip(x.shape[:batch], y.shape[:batch], strict=True)
    ):
        raise _mismatch(x, y, left[1], right[1], span, "`@`", _matmul_help(x, y))
    axes = tuple(range(batch))
    tensor = cx.emit(
        span,
        "dot",
        x.tensor,
        y.tensor,
        contract=((x.rank - 1,), (inner,)),
        batch=(axes, axes),
    )
    return TensorValue(tensor, x.names[:-1] + (y.names[-1:] if y.rank > 1 else ()))


# ---------------------------------------------------------------- weights
def _weights(cx: Context, symbol: str, left: Operand, right: Operand, span: Span) -> WeightsValue:
    a, b = left[0], right[0]
    model = a if isinstance(a, WeightsValue) else b
    for value, place in (left, right):
        if isinstance(value, WeightsValue):
            if value.leaves.keys() != model.leaves.keys():
                raise error("E0318", "the two trees of weights differ", span)
        elif not (is_number(value) or isinstance(value, Host)) and not (
            isinstance(value, TensorValue) and value.rank == 0
        ):
            raise error(
                "E0318",
                f"`{symbol}` of weights and {describe(value)}",
                place,
                help="weights combine with weights of the same net and with scalars",
            )

    def leaf(value: Any, path: str) -> Any:
        return value.leaves[path] if isinstance(value, WeightsValue) else value

    return WeightsValue(
        {
            path: binary(cx, symbol, (leaf(a, path), left[1]), (leaf(b, path), right[1]), span)
            for path in model.leaves
        },
        model.root,
    )


def _no_operator(symbol: str, left: Operand, right: Operand, span: Span) -> NncError:
    return error(
        "E0315",
        f"`{symbol}` of {describe(left[0])} and {describe(right[0])}",
        span,
        Label(left[1], describe(left[0])),
        Label(right[1], describe(right[0])),
    )
