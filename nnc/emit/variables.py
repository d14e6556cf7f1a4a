"""Which variables printed Python reads and assigns: what looks at lines again goes by it.

A line is a statement, or the head of one, as nnc prints it: strings stand in double quotes, and
keywords of a call without spaces (`axis=0`).
"""

from __future__ import annotations

import re

_STRING = re.compile(r'"[^"]*"')
_VARIABLE = re.compile(r"(?<![\w.])[^\W\d]\w*\b(?!=)")
_TARGETS = re.compile(r"(\w+(?:, \w+)*) = |for (.+) in ")


def variables_in(text: str) -> list[str]:
    """The names in an expression, as often as they stand there; attributes, keywords and what is
    inside of strings are none."""
    return _VARIABLE.findall(_STRING.sub("", text))


def assigned(line: str) -> list[str]:
    """The variables that a line gives new values."""
    found = _TARGETS.match(line)
    return variables_in(found[1] or found[2]) if found else []


def read(line: str) -> list[str]:
    """The variables in what a line computes; none in a comment."""
    found = _TARGETS.match(line)
    return [] if line.startswith("#") else variables_in(line[found.end() :] if found else line)
