"""What the printer must know of a framework: a `Dialect`, and the `Site` that each emitter gets.

The defaults are those of a library with NumPy's interface whose functions hang on `module`.  A
backend derives its dialect from this class and overrides what differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from nnc.emit.expressions import (
    ATOM,
    COMPARE,
    POWER,
    UNARY,
    Expr,
    infix,
    sized,
)
from nnc.ir.graph import Node, Value
from nnc.ir.program import Forward, Step, Training
from nnc.ir.types import FLOATS, NUMPY_DTYPES, TensorType
from nnc.ops.registry import OPS

if TYPE_CHECKING:
    from nnc.emit.function import Printer
    from nnc.emit.updates import Loop

Helper = Callable[[Callable[..., Any]], str]
Emitter = Callable[..., Expr]  # (site, node, *operands)
Statement = Callable[["Printer", Node], None]


class Dialect:
    """The spelling of a framework.  Dialects have no state."""

    #: the name of the backend
    name: str
    #: what the functions of the framework hang on, and the types that are not Python's own
    module: str
    #: prefix -> the line that imports it, for every module that the file may use
    imports: Mapping[str, str]
    #: op -> its expression
    emitters: Mapping[str, Emitter]
    #: op -> the statements that compute it, where one expression cannot
    statements: Mapping[str, Statement]
    #: what a Python scalar is where no array tells it otherwise; others get their type explicitly
    native: frozenset[str] = frozenset({"bool", "f64", "i64"})
    #: functions that the file may call, besides those that define ops
    helpers: tuple[Callable[..., Any], ...] = ()
    #: functions that every file has: `from_numpy` and `to_numpy`, where they are not the identity,
    #: and what decorators refer to
    preamble: tuple[Callable[..., Any], ...] = ()
    #: functions that a file with steps calls when it is imported
    start: tuple[Callable[..., Any], ...] = ()
    #: names that the file defines at its top, with their values as they print
    constants: Mapping[str, str] = {}
    #: whether arrays live as long as their variables, so that large ones are deleted after use
    frees: bool = False
    #: kind of function ("step", "batch", "finish", "forward") -> the lines before its `def`
    decorators: Mapping[str, tuple[str, ...]] = {}

    def functions(self, training: Training) -> tuple[Callable[..., Any], ...]:
        """The preamble of the file for `training`."""
        return self.preamble

    def starts(self, training: Training) -> tuple[Callable[..., Any], ...]:
        """What the file for `training` calls when it is imported."""
        return self.start if training.phases else ()

    def settings(self, training: Training) -> Mapping[str, str]:
        """The constants of the file for `training`, with settings of the framework."""
        return self.constants

    @property
    def host(self) -> Dialect:
        """The dialect of `init`, which is NumPy's in every file."""
        return self

    @property
    def taken(self) -> frozenset[str]:
        """Names that no variable may have."""
        evaluations = (op.evaluate for op in OPS.values())
        defined = (*evaluations, *self.helpers, *self.preamble)
        names = {getattr(function, "__name__", "") for function in defined}
        return frozenset({*names, *self.imports, *self.host.imports, *self.constants})

    @property
    def converts(self) -> bool:
        """Whether arrays of the framework are others than NumPy's."""
        return any(function.__name__ == "from_numpy" for function in self.preamble)

    # ------------------------------------------------------------ the file
    def docstring(self, training: Training) -> list[str]:
        """The lines of the file's docstring."""
        origin = f" from {PurePath(training.file).name}" if training.file else ""
        first = f'"""{training.name}{origin}: initial state, training steps, evaluation, inference.'
        return [first, "", f"Printed by nnc; needs {self.needs()}.", '"""']

    def needs(self) -> str:
        """What the file imports, in words."""
        raise NotImplementedError

    def runner(self, step: Step, name: str) -> str | None:
        """The function `run_NAME`, several executions of the step `name` in one call."""
        return None

    def classes(self, training: Training, helper: Helper) -> list[str]:
        """Classes that stand before the functions of the file."""
        return []

    def forward(self, training: Training, forward: Forward, name: str) -> str | None:
        """The function `name` for inference, where it is not printed from its graph."""
        return None

    def step_printer(self) -> type[Printer]:
        """What prints the statements of a step."""
        from nnc.emit.function import Printer

        return Printer

    def drawn(self, step: Step) -> Mapping[str, Value]:
        """What a function of its own draws before a step, by stream."""
        return {}

    def update(self, printer: Printer, loops: Sequence[Loop]) -> bool:
        """Print updates that are alike, each as a loop over the paths; whether they are to be a
        function of their own."""
        from nnc.emit.updates import print_loop

        for loop in loops:
            print_loop(printer, loop)
        return False

    def ending(self, training: Training, helpers: Collection[str]) -> list[str]:
        """Functions at the end of a file of steps that contains these helpers."""
        return []

    def stored(self, printer: Printer, value: Value) -> None:
        """See to it that `value` can become an entry of the state."""

    # ------------------------------------------------------------ types and numbers
    def dtype(self, dtype: str) -> str:
        """`np.float32`; nnc's bool is Python's."""
        if dtype == "bool":
            return "bool"
        name = "bfloat16" if dtype == "bf16" else NUMPY_DTYPES[dtype].__name__
        return f"{self.module}.{name}"

    def number(self, text: str, dtype: str) -> str:
        """A Python number with its element type."""
        return f"{self.dtype(dtype)}({text})"

    def host_scalar(self, text: str, dtype: str) -> str:
        """A number of `STEP_scalars`, as that function returns it."""
        return text

    def scalar(self, text: str, dtype: str) -> Expr:
        """A number of the host as a value of a step."""
        if dtype in ("f16", "f32"):
            return Expr(self.number(text, dtype))
        return Expr(text, weak=dtype)

    def strong(self, x: Expr) -> Expr:
        """`x` with its element type made explicit, where it is a Python scalar of another."""
        if not x.weak or x.weak in self.native:
            return replace(x, weak="")
        return replace(x, text=self.number(x.text, x.weak), level=ATOM, weak="")

    def literal(self, value: Any, dtype: str) -> Expr:
        """A scalar constant as a Python number: the shortest text that rounds to it in `dtype`."""
        if dtype not in FLOATS:
            return Expr(repr(value), UNARY if value < 0 else ATOM, dtype)
        number = float(value)
        if math.isnan(number):
            return Expr(f"{self.module}.nan", ATOM, dtype)
        if math.isinf(number):
            sign, level = ("", ATOM) if number > 0 else ("-", UNARY)
            return Expr(f"{sign}{self.module}.inf", level, dtype)
        mantissa, exponent = math.frexp(number)
        if mantissa == 0.5 and exponent < -14:
            return Expr(f"2.0**{exponent - 1}", POWER, dtype)
        text = shortest(number, dtype)
        return Expr(text, UNARY if text.startswith("-") else ATOM, dtype)

    # ------------------------------------------------------------ arrays
    def array(self, data: np.ndarray) -> str:
        """An array constant as nested lists."""
        dtype = next(name for name, scalar in NUMPY_DTYPES.items() if data.dtype == scalar)

        def nested(part: Any) -> str:
            if isinstance(part, list):
                return f"[{', '.join(map(nested, part))}]"
            return self.literal(part, dtype).text

        return f"{self.module}.array({nested(data.tolist())}, dtype={self.dtype(dtype)})"

    def filled(self, value: str, shape: str, dtype: str) -> str:
        """A new array of one number; `value` is "" where it does not matter."""
        name = {"": "empty", "0": "zeros", "0.0": "zeros", "1": "ones", "1.0": "ones"}.get(value)
        if name is not None:
            return f"{self.module}.{name}({shape}, {self.dtype(dtype)})"
        return f"{self.module}.full({shape}, {value}, {self.dtype(dtype)})"

    # ------------------------------------------------------------ expressions
    def binary(self, symbol: str, level: int, x: Expr, y: Expr) -> Expr:
        """`x symbol y`; of two Python floats the first gets its type, of others none."""
        weak = x.weak if x.weak and y.weak else ""
        if weak in FLOATS:
            x, weak = replace(x, text=self.number(x.text, weak), level=ATOM), ""
        if level == COMPARE and weak:
            weak = "bool"
        return replace(infix(symbol, level, x, y), weak=weak)

    def call(self, function: str, *xs: Expr, **options: Any) -> Expr:
        """`function(x, ..., option=value, ...)`, options as they print."""
        parts = [self.strong(x).text for x in xs]
        parts += [f"{name}={value}" for name, value in options.items()]
        return Expr(f"{function}({', '.join(parts)})", size=sized(*xs))

    def method(self, x: Expr, name: str, *arguments: str) -> Expr:
        text = f"{self.strong(x).at(ATOM)}.{name}({', '.join(arguments)})"
        return Expr(text, size=sized(x))

    def subscript(self, x: Expr, places: list[str]) -> Expr:
        """`x[places]` without whole axes at the end."""
        while places and places[-1] == ":":
            places = places[:-1]
        if not places:
            return x
        return Expr(f"{self.strong(x).at(ATOM)}[{', '.join(places)}]", size=x.size)


@dataclass(frozen=True)
class Site:
    """Where an op is printed: in which dialect, the types of its operands, the way to a helper."""

    dialect: Dialect
    types: tuple[TensorType, ...]
    helper: Helper
    """Includes a function in the file, with all that it uses; gives its name there."""
    axes: tuple[tuple[int, ...] | None, ...] = ()
    """For each operand that is read past a broadcast, its axes in the result."""


def shortest(number: float, dtype: str) -> str:
    """The shortest text of a Python float that rounds to `number` in `dtype`."""
    text = repr(number)
    if dtype in ("f16", "f32"):
        scalar = NUMPY_DTYPES[dtype]
        short = repr(float(str(scalar(number))))
        text = short if scalar(float(short)) == scalar(number) else text
    return text.replace("e+", "e")  # as formatters write it
