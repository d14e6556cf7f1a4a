"""The functions that the compiler provides to programs: one decorated Python function each.

A function takes its call `Site` first; the rest of its signature is what a program sees, so names,
defaults and kinds are checked from it: a parameter annotated `TensorValue` comes as a tensor, `int`
as a known int, `bool` and `str` as such.  The first line of its docstring says how it is called.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

from nnc.elaborate.values import AxisRef, Builtin, Host, Poison, Poisoned, TensorValue, describe
from nnc.ops.registry import OpError

BUILTINS: dict[str, Builtin] = {}

#: annotation -> (what fits, how it is called in a message)
KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "TensorValue": (lambda v: isinstance(v, TensorValue), "a tensor"),
    "int": (lambda v: isinstance(v, int) and not isinstance(v, bool), "an int"),
    "bool": (lambda v: isinstance(v, bool), "`true` or `false`"),
    "str": (lambda v: isinstance(v, str), "a string"),
}


def builtin(name: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function under its own name, or `name`."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        known = name or function.__name__.rstrip("_")
        parameters = tuple(inspect.signature(function).parameters.values())[1:]
        kinds = {p.name: str(p.annotation) for p in parameters}
        names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

        def run(site: Any, *args: Any, **kwargs: Any) -> Any:
            for parameter, value in kwargs.items():
                if isinstance(value, AxisRef) and kinds.get(parameter) == "int":
                    kwargs[parameter] = value.value  # where a new axis stands is no label
            given = zip_longest(names[: len(args)], args, fillvalue="")  # any number of tensors
            for parameter, value in [*given, *kwargs.items()]:
                if isinstance(value, Poison):
                    raise Poisoned
                fits, wanted = KINDS.get(kinds.get(parameter, ""), (None, ""))
                if fits is not None and not fits(value):
                    raise _wrong_kind(site, known, parameter, value, wanted)
            try:
                return function(site, *args, **kwargs)
            except OpError as refused:
                raise site.cx.refused(str(refused), site.span) from None

        BUILTINS[known] = Builtin(known, run, parameters, inspect.getdoc(function) or "")
        return function

    return register


def _wrong_kind(site: Any, name: str, parameter: str, value: Any, wanted: str) -> Exception:
    per_step = isinstance(value, Host) and wanted == "a tensor"
    return site.wrong(
        "E0311" if wanted == "a tensor" else "E0310",
        f"`{parameter}` of `{name}` must be {wanted}; this is {describe(value)}",
        parameter, "a per-step scalar is no tensor" if per_step else "",
    )  # fmt: skip
