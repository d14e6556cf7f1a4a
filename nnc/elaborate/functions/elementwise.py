"""Elementwise functions, over all binding times."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from nnc.elaborate.arithmetic import (
    as_tensor,
    broadcast_together,
    host_call,
    merge_names,
)
from nnc.elaborate.calls import Site
from nnc.elaborate.functions.registry import builtin
from nnc.elaborate.values import Host, TensorValue, WeightsValue, describe, is_number
from nnc.ir.dims import Poly
from nnc.ir.host import HOST_OPS
from nnc.ir.types import FLOATS

#: name -> (what it is, its value for a static number)
UNARY: dict[str, tuple[str, Callable[[float], float]]] = {
    "exp": ("e to the power x", math.exp),
    "expm1": ("exp(x) - 1, exact near 0", math.expm1),
    "log": ("natural logarithm", math.log),
    "log1p": ("log(1 + x), exact near 0", math.log1p),
    "sqrt": ("square root", math.sqrt),
    "rsqrt": ("1 / sqrt(x)", lambda x: 1 / math.sqrt(x)),
    "sin": ("sine of x in radians", math.sin),
    "cos": ("cosine of x in radians", math.cos),
    "tan": ("tangent of x in radians", math.tan),
    "tanh": ("hyperbolic tangent", math.tanh),
    "erf": ("error function", math.erf),
    "abs": ("absolute value; its gradient at 0 is 0", abs),
    "sign": ("-1, 0 or 1", lambda x: float((x > 0) - (x < 0))),
    "floor": ("greatest integer not above x", math.floor),
    "ceil": ("least integer not below x", math.ceil),
    "round": ("nearest integer, halves to even", round),
    "sigmoid": ("1 / (1 + exp(-x)), stable", lambda x: 0.5 * (1 + math.tanh(x / 2))),
    "softplus": ("log(1 + exp(x)), stable", lambda x: max(x, 0) + math.log1p(math.exp(-abs(x)))),
    "log_sigmoid": (
        "log(sigmoid(x)), stable",
        lambda x: min(x, 0) - math.log1p(math.exp(-abs(x))),
    ),
}


def _define_unary(name: str, doc: str, number: Callable[[float], float]) -> None:
    def function(site: Site, x: Any) -> Any:
        return unary(site, name, x, number)

    function.__doc__ = f"`{name}(x)`: {doc}, element by element."
    builtin(name)(function)


def unary(site: Site, name: str, x: Any, number: Callable[[float], float]) -> Any:
    if isinstance(x, TensorValue):
        if x.dtype not in FLOATS and not (name in ("abs", "sign") and x.dtype == "i32"):
            raise site.wrong("E0312", f"`{name}` of {describe(x)}", "x", help="`f32(...)` casts")
        return x.with_tensor(site.emit(name, x.tensor))
    if isinstance(x, WeightsValue):
        return x.map(lambda leaf: unary(site, name, leaf, number))
    if isinstance(x, Host) and name in HOST_OPS and x.kind != "bool":
        return host_call(name, [x])
    if isinstance(x, Poly):
        size = as_tensor(site.cx, x, "f32", site.span)
        return size.with_tensor(site.emit(name, size.tensor))
    if is_number(x):
        try:
            return number(x)
        except (ValueError, OverflowError, ZeroDivisionError):
            raise site.wrong("E0316", f"`{name}({x:g})` has no finite value", "x") from None
    raise site.wrong("E0311", f"`{name}` of {describe(x)}", "x")


for _name, (_doc, _number) in UNARY.items():
    _define_unary(_name, _doc, _number)


def _define_extremum(name: str, pick: Callable[..., Any]) -> None:
    def function(site: Site, x: Any, y: Any) -> Any:
        return extremum(site, name, x, y, pick)

    function.__doc__ = f"`{name}(x, y)`: the {name} of each pair of elements."
    builtin(name)(function)


def extremum(site: Site, name: str, x: Any, y: Any, pick: Callable[..., Any]) -> Any:
    cx = site.cx
    if isinstance(x, WeightsValue):
        return x.map(lambda leaf: extremum(site, name, leaf, y, pick))
    if isinstance(x, TensorValue) or isinstance(y, TensorValue):
        dtype = x.dtype if isinstance(x, TensorValue) else y.dtype
        a = as_tensor(cx, x, dtype, site.place("x"))
        b = as_tensor(cx, y, dtype, site.place("y"))
        a, b = broadcast_together(
            cx, a, b, site.place("x"), site.place("y"), site.span, f"`{name}`"
        )
        return TensorValue(site.emit(name, a.tensor, b.tensor), merge_names(a, b))
    for value, parameter in ((x, "x"), (y, "y")):
        if not (is_number(value) or isinstance(value, Host)):
            raise site.wrong("E0311", f"`{name}` of {describe(value)}", parameter)
    return host_call(name, [x, y])


_define_extremum("maximum", max)
_define_extremum("minimum", min)


@builtin()
def atan2(site: Site, y: TensorValue, x: TensorValue) -> TensorValue:
    """`atan2(y, x)`: the angle of the point (x, y), in radians."""
    return y.with_tensor(site.emit("atan2", y.tensor, x.tensor))


@builtin()
def where(site: Site, condition: TensorValue, yes: Any, no: Any) -> TensorValue:
    """`where(condition, yes, no)`: `yes` where the condition holds, else `no`."""
    cx = site.cx
    if condition.dtype != "bool":
        raise site.wrong(
            "E0312",
            f"the condition of `where` must be bool; this is {describe(condition)}",
            "condition",
            help="compare: `x != 0`",
        )
    dtype = next((v.dtype for v in (yes, no) if isinstance(v, TensorValue)), "f32")
    a = as_tensor(cx, yes, dtype, site.place("yes"))
    b = as_tensor(cx, no, dtype, site.place("no"))
    places = [site.place(p) for p in ("condition", "yes", "no")]
    condition, a = broadcast_together(cx, condition, a, places[0], places[1], site.span, "`where`")
    a, b = broadcast_together(cx, a, b, places[1], places[2], site.span, "`where`")
    condition, a = broadcast_together(cx, condition, a, places[0], places[1], site.span, "`where`")
    return TensorValue(site.emit("where", condition.tensor, a.tensor, b.tensor), a.names)


@builtin()
def is_finite(site: Site, x: TensorValue) -> TensorValue:
    """`is_finite(x)`: false where x is infinite or not a number."""
    return x.with_tensor(site.emit("is_finite", x.tensor))


def _define_cast(dtype: str) -> None:
    def function(site: Site, x: Any) -> Any:
        if isinstance(x, TensorValue):
            with site.cx.at(site.span):
                return x.with_tensor(x.tensor.cast(dtype))
        if isinstance(x, WeightsValue):
            return x.map(lambda leaf: leaf.with_tensor(leaf.tensor.cast(dtype)))
        if isinstance(x, Host):
            return host_call("i32" if dtype[0] in "iu" else "f32", [x])
        if isinstance(x, bool) or is_number(x):
            return (
                as_tensor(site.cx, x, dtype, site.span)
                if isinstance(x, Poly)
                else (int(x) if dtype[0] in "iu" else bool(x) if dtype == "bool" else float(x))
            )
        raise site.wrong("E0311", f"`{dtype}` of {describe(x)}", "x")

    function.__doc__ = f"`{dtype}(x)`: x with the element type {dtype}."
    builtin(dtype)(function)


for _dtype in ("bf16", "f16", "f32", "f64", "i32", "i64", "u32", "bool"):
    _define_cast(_dtype)
