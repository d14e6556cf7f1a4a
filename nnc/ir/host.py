"""Scalars that depend on the step number alone: computed on the host, in float64.

Learning-rate schedules and bias corrections are small expressions over step counters.  They reach
the graph as inputs of kind "scalar" and the emitted source as the function `scalars(t)`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Number: TypeAlias = "int | float | bool"


@dataclass(frozen=True)
class HostConst:
    value: Number


@dataclass(frozen=True)
class HostVar:
    """A counter: `step` (of the phase), `updates` (of the optimizer), `draw` or `seed`."""

    name: str


@dataclass(frozen=True)
class HostOp:
    """`name` is what the program calls the result, if anything."""

    op: str
    args: tuple[HostExpr, ...]
    name: str = field(default="", compare=False)


@dataclass(frozen=True)
class HostIf:
    """Lazy: only the branch taken is computed."""

    condition: HostExpr
    then: HostExpr
    orelse: HostExpr
    name: str = field(default="", compare=False)


HostExpr: TypeAlias = "HostConst | HostVar | HostOp | HostIf"

#: op -> (Python function, how it is printed from its printed arguments, binding strength)
HOST_OPS: dict[str, tuple[Callable[..., Any], str, int]] = {
    "or": (lambda a, b: a or b, "{} or {}", 1),
    "and": (lambda a, b: a and b, "{} and {}", 2),
    "not": (operator.not_, "not {}", 3),
    "lt": (operator.lt, "{} < {}", 4),
    "le": (operator.le, "{} <= {}", 4),
    "gt": (operator.gt, "{} > {}", 4),
    "ge": (operator.ge, "{} >= {}", 4),
    "eq": (operator.eq, "{} == {}", 4),
    "ne": (operator.ne, "{} != {}", 4),
    "add": (operator.add, "{} + {}", 5),
    "sub": (operator.sub, "{} - {}", 5),
    "mul": (operator.mul, "{} * {}", 6),
    "div": (operator.truediv, "{} / {}", 6),
    "floordiv": (operator.floordiv, "{} // {}", 6),
    "rem": (operator.mod, "{} % {}", 6),
    "neg": (operator.neg, "-{}", 7),
    "pow": (operator.pow, "{}**{}", 8),
    "exp": (math.exp, "math.exp({})", 9),
    "log": (math.log, "math.log({})", 9),
    "sqrt": (math.sqrt, "math.sqrt({})", 9),
    "sin": (math.sin, "math.sin({})", 9),
    "cos": (math.cos, "math.cos({})", 9),
    "tanh": (math.tanh, "math.tanh({})", 9),
    "floor": (math.floor, "math.floor({})", 9),
    "ceil": (math.ceil, "math.ceil({})", 9),
    "abs": (abs, "abs({})", 9),
    "minimum": (min, "min({}, {})", 9),
    "maximum": (max, "max({}, {})", 9),
    "f32": (float, "float({})", 9),
    "i32": (int, "int({})", 9),
}


def evaluate(expr: HostExpr, counters: Mapping[str, int]) -> Number:
    """The value of `expr` for these counters."""
    if isinstance(expr, HostConst):
        return expr.value
    if isinstance(expr, HostVar):
        return counters[expr.name]
    if isinstance(expr, HostIf):
        taken = expr.then if evaluate(expr.condition, counters) else expr.orelse
        return evaluate(taken, counters)
    function = HOST_OPS[expr.op][0]
    return function(*(evaluate(arg, counters) for arg in expr.args))


def python_text(expr: HostExpr, strength: int = 0) -> str:
    """`expr` as Python source with the fewest brackets; counters are Python names."""
    if isinstance(expr, HostConst):
        return repr(expr.value) if strength < 7 or expr.value >= 0 else f"({expr.value!r})"
    if isinstance(expr, HostVar):
        return expr.name
    if isinstance(expr, HostIf):
        text = " ".join(
            [
                python_text(expr.then, 1),
                "if",
                python_text(expr.condition, 1),
                "else",
                python_text(expr.orelse),
            ]
        )
        return f"({text})" if strength else text
    _, pattern, own = HOST_OPS[expr.op]
    if own == 9:
        text = pattern.format(*(python_text(arg) for arg in expr.args))
    elif expr.op == "pow":
        base, power = python_text(expr.args[0], own + 1), python_text(expr.args[1], own)
        text = f"{base}**{power}" if _is_simple(base + power) else f"{base} ** {power}"
    elif len(expr.args) == 2:
        text = pattern.format(python_text(expr.args[0], own), python_text(expr.args[1], own + 1))
    else:
        text = pattern.format(python_text(expr.args[0], own))
    return f"({text})" if own < strength else text


def _is_simple(text: str) -> bool:
    """Whether formatters set `**` between names and numbers like these without spaces."""
    return text.replace(".", "").replace("_", "").isalnum()
