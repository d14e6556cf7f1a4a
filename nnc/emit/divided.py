"""A step in two functions: what gives its results and gradients, and its update.

    def step(state, batch, scalars):
        return step_update(state, scalars, *step_gradients(state, batch, scalars))

That is for frameworks whose compiler is to see the first alone, since the update is a kernel of
their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from nnc.emit.layout import INDENT, WIDTH
from nnc.emit.variables import assigned, read

Lines = list[tuple[int, str]]  # as in `Body`

SCALAR = re.compile(r"\w+ = scalars\[")
TABLE = re.compile(r"\w+ = \{")
#: what an update is given, or what is no part of it: a table of gradients, an entry of the state
EARLY = re.compile(rf"{TABLE.pattern}|state\[")
TITLE = "# update"


@dataclass(frozen=True)
class Divided:
    """The lines of both functions, and the names that the first gives to the second."""

    gradients: Lines
    update: Lines
    given: list[str]


def divided(lines: Lines, cut: int) -> Divided:
    """The lines of a step, cut behind the first table of gradients from line `cut` on.

    The last one is `return state, RESULTS`, where no result is made by an update.  The second
    function has the state and the scalars as well.
    """
    cut = next(at for at, line in enumerate(lines) if at >= cut and TABLE.match(line[1]))
    before, after, (depth, last) = lines[:cut], lines[cut:-1], lines[-1]
    made = set(all_assigned(after))
    early = [
        (indent, line)
        for indent, line in after
        if indent == depth and EARLY.match(line) and not made.intersection(read(line))
    ]
    after = trimmed(line for line in after if line not in early)
    results = last.removeprefix("return state, ")
    used = all_read(after)
    scalars = [line for line in before if SCALAR.match(line[1])]
    late = [line for line in scalars if used.intersection(assigned(line[1]))]
    kept = all_read([*(line for line in before if line not in scalars), *early, (depth, results)])
    moved = [line for line in late if not kept.intersection(assigned(line[1]))]
    before = [*trimmed(line for line in before if line not in moved), *early]
    wanted = used.difference(all_assigned(late))
    given = [name for name in all_assigned(before) if name in wanted]
    value = ", ".join([results, *given])
    if len(f"{INDENT}return {value}") > WIDTH:
        value = f"({value})"
    return Divided(
        [*before, (depth, f"return {value}")],
        [*late, *after, (depth, "return state, out")],
        ["out", *given],
    )


def trimmed(lines: Iterable[tuple[int, str]]) -> Lines:
    """Lines without the blank ones and titles of sections that have nothing after or before."""
    found = list(lines)
    while found and (not found[0][1] or found[0][1] == TITLE):
        found.pop(0)
    while found and (not found[-1][1] or found[-1][1] == TITLE):
        found.pop()
    return found


def all_assigned(lines: Iterable[tuple[int, str]]) -> list[str]:
    """The variables that lines assign, in their order."""
    return list(dict.fromkeys(name for _, line in lines for name in assigned(line)))


def all_read(lines: Iterable[tuple[int, str]]) -> set[str]:
    """The variables in what lines compute."""
    return {name for _, line in lines for name in read(line)}
