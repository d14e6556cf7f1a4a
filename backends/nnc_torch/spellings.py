"""How elementwise ops, arrays from nothing and composites of one axis are printed in PyTorch: node
and printed operands -> expression.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from nnc.emit import (
    COMPARE,
    UNARY,
    Emitter,
    Expr,
    Site,
    dim_text,
    sized,
)
from nnc.emit.expressions import dim_expr
from nnc.ir.graph import Array, Node
from nnc.ir.types import FLOATS
from nnc_torch import runtime

CHOICE = 0  # binds less than any operator: `x if c else y`, `not x`

#: methods that convert to an element type
CONVERSIONS = {
    "f16": "half", "bf16": "bfloat16", "f32": "float", "f64": "double",
    "i32": "int", "i64": "long", "bool": "bool",
}  # fmt: skip


ZERO = Expr("0", weak="i32")


@dataclass(frozen=True)
class Wide(Expr):
    """An i32 that PyTorch gives as an i64; `plain` is the text before it is converted."""

    plain: Expr = ZERO


@dataclass(frozen=True)
class Fresh(Expr):
    """A new array full of `value`, which nothing else reads, so that it may be written to."""

    value: str = ""


# ---------------------------------------------------------------- elementwise
def operator(symbol: str, level: int) -> Emitter:
    return lambda site, node, x, y: site.dialect.binary(symbol, level, x, y)


def integer_operator(symbol: str, level: int) -> Emitter:
    """An operator that a Python number has not, or not in its element type, on the left."""
    return lambda site, node, x, y: site.dialect.binary(
        symbol, level, site.dialect.strong(x) if x.weak else x, y
    )


def comparison(symbol: str) -> Emitter:
    def emit(site: Site, node: Node, x: Expr, y: Expr) -> Expr:
        x, y = (z.plain if isinstance(z, Wide) else z for z in (x, y))
        return site.dialect.binary(symbol, COMPARE, x, y)

    return emit


def function(name: str) -> Emitter:
    """`torch.name(x)`, which takes no Python number."""

    def emit(site: Site, node: Node, *xs: Expr) -> Expr:
        return site.dialect.call(name, *xs)

    return emit


def helper(made: Any) -> Emitter:
    """A call of a function that goes into the file."""
    return lambda site, node, *xs: site.dialect.call(site.helper(made), *xs)


def sign(site: Site, node: Node, x: Expr) -> Expr:
    """Floats can be nan, which `torch.sign` makes 0."""
    name = site.helper(runtime.sign) if node.type.is_float else "torch.sign"
    return site.dialect.call(name, x)


def power(site: Site, node: Node, x: Expr, y: Expr) -> Expr:
    if x.weak and y.weak:
        x = site.dialect.strong(x)
    return Expr(f"torch.pow({x.text}, {y.text})", size=sized(x, y))


def extremum(function: str, bound: str) -> Emitter:
    """`x.clamp(min=0.0)` where one operand is a number, else `torch.maximum(x, y)`."""

    def emit(site: Site, node: Node, x: Expr, y: Expr) -> Expr:
        if is_relu(node, x, y):
            return site.dialect.call("torch.relu", y)
        if x.weak and not y.weak:
            x, y = y, x
        if y.weak and not x.weak and y.text not in ("torch.nan",):
            return replace(site.dialect.method(x, "clamp", f"{bound}={y.text}"), size=sized(x, y))
        return site.dialect.call(function, x, y)

    return emit


def is_relu(node: Node, x: Expr, y: Expr) -> bool:
    """Whether it is the larger of 0 and y, and at 0 the first of them, which takes the gradient."""
    zero = x.weak and x.text in ("0.0", "-0.0")
    return node.op == "maximum" and node.type.is_float and bool(zero) and not y.weak


def larger(site: Site, node: Node, x: Expr, y: Expr) -> Expr:
    """`maximum` where autograd goes through: of equals the first gets the whole gradient."""
    if is_relu(node, x, y):
        return site.dialect.call("torch.relu", y)
    return site.dialect.call(site.helper(runtime.maximum), x, y)


def negative(site: Site, node: Node, x: Expr) -> Expr:
    return Expr(f"-{x.at(UNARY)}", UNARY, x.weak, sized(x))


def negated(site: Site, node: Node, x: Expr) -> Expr:
    if x.weak:
        return Expr(f"not {x.text}", CHOICE, x.weak, sized(x))
    return Expr(f"~{x.at(UNARY)}", UNARY, size=sized(x))


def where(site: Site, node: Node, condition: Expr, x: Expr, y: Expr) -> Expr:
    dtype = node.type.dtype
    if condition.weak:
        weak = dtype if x.weak and y.weak else ""
        if not weak:
            x, y = site.dialect.strong(x), site.dialect.strong(y)
        text = f"{x.at(CHOICE + 1)} if {condition.at(CHOICE + 1)} else {y.text}"
        return Expr(text, CHOICE, weak, sized(condition, x, y))
    if x.weak and y.weak and dtype not in ("f32", "i64", "bool"):
        x = site.dialect.strong(x)
    parts = ", ".join(z.text for z in (condition, x, y))
    return Expr(f"torch.where({parts})", size=sized(condition, x, y))


def cast(site: Site, node: Node, x: Expr) -> Expr:
    dtype = node.attrs["dtype"]
    if x.weak:
        return weak_cast(x, dtype)
    if isinstance(x, Wide) and dtype != "i32":
        x = x.plain
        if dtype == "i64":
            return x
    return site.dialect.method(x, CONVERSIONS[dtype])


def weak_cast(x: Expr, dtype: str) -> Expr:
    """A Python number as one of another kind."""
    kinds = [0 if d == "bool" else 2 if d in FLOATS else 1 for d in (x.weak, dtype)]
    if kinds[0] == kinds[1] or kinds == [1, 2]:
        return replace(x, weak=dtype)
    name = ("bool", "int", "float")[kinds[1]]
    return Expr(f"{name}({x.text})", weak=dtype, size=sized(x))


def bitcast(site: Site, node: Node, x: Expr) -> Expr:
    return site.dialect.method(x, "view", site.dialect.dtype(node.attrs["dtype"]))


# ---------------------------------------------------------------- creation
def const(site: Site, node: Node) -> Expr:
    value = node.attrs["value"]
    if isinstance(value, Array):
        return Expr(site.dialect.array(value.data), size=9)
    return site.dialect.literal(value, node.type.dtype)


def iota(site: Site, node: Node) -> Expr:
    shape, axis = node.attrs["shape"], node.attrs["axis"]
    text = f"torch.arange({dim_text(shape[axis])}, {place_text(site, node.type.dtype, 'i64')})"
    counts = Expr(text, size=1)
    if len(shape) == 1:
        return counts
    places = [":" if a == axis else "None" for a in range(axis, len(shape))]
    return site.dialect.method(
        site.dialect.subscript(counts, places), "expand", *map(dim_text, shape)
    )


def place_text(site: Site, dtype: str, default: str) -> str:
    """The options of a function that makes an array."""
    return site.dialect.options(dtype, default)  # type: ignore[attr-defined]


def size(site: Site, node: Node) -> Expr:
    return replace(dim_expr(node.attrs["dim"]), weak=node.type.dtype)


# ---------------------------------------------------------------- composites
def along(name: str) -> Emitter:
    """`torch.softmax(x, 1)`."""
    return lambda site, node, x: replace(
        site.dialect.call(name, x, Expr(str(node.attrs["axis"]))), size=sized(x)
    )


def helper_along(made: Any) -> Emitter:
    """`softmax_grad(dy, y, 1)`."""
    return lambda site, node, dy, y: replace(
        site.dialect.call(site.helper(made), dy, y, Expr(str(node.attrs["axis"]))),
        size=sized(dy, y),
    )


def softplus(site: Site, node: Node, x: Expr) -> Expr:
    """Beyond the threshold PyTorch returns x itself: at 40 that is exact, at its own 20 not."""
    return site.dialect.call("F.softplus", x, threshold=40)
