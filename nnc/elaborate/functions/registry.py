"""The functions that the compiler provides to programs: one decorated Python function each.

A function takes its call `Site` first; the rest of its signature is what a program sees, so names
and defaults are checked from it.  A parameter annotated `TensorValue` comes as a tensor.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from nnc.elaborate.values import Builtin, Host, Poison, Poisoned, TensorValue, describe

BUILTINS: dict[str, Builtin] = {}


def builtin(name: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function under its own name, or `name`."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        known = name or function.__name__.rstrip("_")
        parameters = tuple(inspect.signature(function).parameters.values())[1:]
        tensors = {p.name for p in parameters if p.annotation == "TensorValue"}

        def run(site: Any, *args: Any, **kwargs: Any) -> Any:
            for parameter, value in [*zip(names, args, strict=False), *kwargs.items()]:
                if isinstance(value, Poison):
                    raise Poisoned
                if parameter in tensors and not isinstance(value, TensorValue):
                    raise _not_a_tensor(site, known, parameter, value)
            return function(site, *args, **kwargs)

        names = [p.name for p in parameters]
        BUILTINS[known] = Builtin(known, run, parameters, inspect.getdoc(function) or "")
        return function

    return register


def _not_a_tensor(site: Any, name: str, parameter: str, value: Any) -> Exception:
    help = ""
    if isinstance(value, Host):
        help = "a per-step scalar is no tensor"
    return site.wrong(
        "E0311", f"`{parameter}` of `{name}` must be a tensor; this is {describe(value)}",
        parameter, help,
    )
