"""A step in two functions: what gives its results and gradients, and its update.

    def step(state, batch, scalars):
        return step_update(state, scalars, *step_gradients(state, batch, scalars))

That is for frameworks whose compiler is to see the first alone, since the update is a kernel of
their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nnc.emit.layout import INDENT, WIDTH

Lines = list[tuple[int, str]]  # as in `Body`

ASSIGNED = re.compile(r"(\w+(?:, \w+)*) = ")
LOOP = re.compile(r"for (.+) in ")
SCALAR = re.compile(r"\w+ = scalars\[")
TABLE = re.compile(r"\w+ = \{")
#: what an update is given, or what is no part of it: a table of gradients, an entry of the state
EARLY = re.compile(rf"{TABLE.pattern}|state\[")
TITLE = "# update"
STRINGS = re.compile(r'"[^"]*"')


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
    made = set(assigned(after))
    early = [
        (indent, line)
        for indent, line in after
        if indent == depth and EARLY.match(line) and not read([(indent, line)]) & made
    ]
    after = trimmed(line for line in after if line not in early)
    results = last.removeprefix("return state, ")
    scalars = [line for line in before if SCALAR.match(line[1])]
    late = [line for line in scalars if read(after).intersection(assigned([line]))]
    kept = read([*(line for line in before if line not in scalars), *early, (depth, results)])
    moved = [line for line in late if not kept.intersection(assigned([line]))]
    before = [*trimmed(line for line in before if line not in moved), *early]
    wanted = read(after).difference(assigned(late))
    given = [name for name in assigned(before) if name in wanted]
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


def assigned(lines: Iterable[tuple[int, str]]) -> list[str]:
    """The variables that lines assign, in their order."""
    found: dict[str, None] = {}
    for _, line in lines:
        target = ASSIGNED.match(line) or LOOP.match(line)
        if target and not line.startswith("#"):
            found |= dict.fromkeys(re.findall(r"\w+", target[1]))
    return list(found)


def read(lines: Sequence[tuple[int, str]]) -> set[str]:
    """The words of what lines compute, outside of strings and comments."""
    values = (ASSIGNED.sub("", line, 1) for _, line in lines if not line.startswith("#"))
    texts = (STRINGS.sub("", value) for value in values)
    return set(re.findall(r"\w+", "\n".join(texts)))
