"""Checks the arguments of readers and transforms against the annotations of their dataclasses."""

import types
from dataclasses import fields
from typing import Any, get_args

from nnc.data.errors import DataError

_WORDS = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    range: "a range",
    list: "a list",
    tuple: "a list",
    types.NoneType: "none",
}


def check_arguments(call: Any) -> None:
    """E0516 unless each field of the dataclass `call` has a type of its annotation.

    A whole number serves as a float; true and false are no numbers.
    """
    for field in fields(call):
        value = getattr(call, field.name)
        kinds = get_args(field.type) or (field.type,)
        if type(value) in kinds or (type(value) is int and float in kinds):
            continue
        words = list(dict.fromkeys(_WORDS[kind] for kind in kinds))
        raise bad_argument(call, f"`{field.name}` must be {' or '.join(words)}, not {value!r}")


def bad_argument(call: Any, message: str, help: str = "") -> DataError:
    """The error for an argument of a reader or transform that makes no sense."""
    return DataError("E0516", f"{call.name}: {message}", help=help)


def whole_numbers(call: Any, name: str, least: int) -> tuple[int, ...]:
    """The argument `name`, one number or a list of them, as a tuple of ints of at least `least`."""
    value = getattr(call, name)
    numbers = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    for number in numbers:
        if type(number) is not int or number < least:
            raise bad_argument(
                call, f"`{name}` must hold whole numbers from {least}, not {number!r}"
            )
    return numbers
