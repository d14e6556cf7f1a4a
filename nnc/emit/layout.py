"""Lines of at most 100 columns, broken as `ruff format` breaks them."""

from __future__ import annotations

from typing import Any

WIDTH = 100
INDENT = "    "

_CLOSING = {"(": ")", "[": "]", "{": "}"}


def statement(text: str, depth: int) -> list[str]:
    """One statement at an indentation of `depth` levels; a long one is broken in its brackets."""
    line = INDENT * depth + text
    if len(line) <= WIDTH:
        return [line]
    start, close = _parameters(text) or (_last_bracket(text), -2 if text[-1] in ":," else -1)
    if start is None:
        return [line]
    inside, end = text[start + 1 : close], text[close:]
    head = [INDENT * depth + text[: start + 1]]
    tail = [INDENT * depth + end]
    whole = INDENT * (depth + 1) + inside
    items = split_commas(inside)
    # A call's arguments go on one line of their own where they fit, a display's never do.
    is_call = start > 0 and (text[start - 1].isalnum() or text[start - 1] in "_])")
    if len(whole) <= WIDTH and (is_call or len(items) == 1) and not inside.endswith(","):
        return [*head, whole, *tail]
    body = [line for item in items for line in statement(f"{item},", depth + 1)]
    return [*head, *body, *tail]


def _parameters(text: str) -> tuple[int, int] | None:
    """Where the brackets of the parameters are in a `def` that says what it returns."""
    arrow = text.rfind(") -> ")
    return (text.index("("), arrow) if text.startswith("def ") and arrow > 0 else None


def _last_bracket(text: str) -> int | None:
    """Where the bracket opens that closes at the end of `text` (before a comma or colon)."""
    end = len(text) - (text[-1] in ":,")
    if end == 0 or text[end - 1] not in ")]}":
        return None
    depth = 0
    for place in range(end - 1, -1, -1):
        depth += (text[place] in ")]}") - (text[place] in "([{")
        if depth == 0:
            return place
    return None


def split_commas(text: str) -> list[str]:
    """The parts of `text` between commas that stand in no bracket and no string."""
    parts, depth, quote, current = [], 0, "", ""
    for c in text:
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        else:
            depth += (c in "([{") - (c in ")]}")
        if c == "," and depth == 0 and not quote:
            parts.append(current.strip())
            current = ""
        else:
            current += c
    return [*parts, current.strip()] if current.strip() else parts


def string(text: str) -> str:
    """A string literal in double quotes where that needs no escape."""
    plain = '"' not in text and "\\" not in text and text.isprintable()
    return f'"{text}"' if plain else repr(text)


def value(data: Any) -> str:
    """Plain data as a Python literal on one line."""
    if isinstance(data, dict):
        return "{" + ", ".join(f"{value(k)}: {value(v)}" for k, v in data.items()) + "}"
    if isinstance(data, list):
        return "[" + ", ".join(map(value, data)) + "]"
    if isinstance(data, tuple):
        return f"({', '.join(map(value, data))}{',' if len(data) == 1 else ''})"
    return string(data) if isinstance(data, str) else repr(data)


def assignment(name: str, data: Any) -> list[str]:
    """`name = data` with a line for each entry, nested ones where they do not fit on one."""
    lines = _broken(data, 0)
    return [f"{name} = {lines[0]}", *lines[1:]]


def _broken(data: Any, depth: int) -> list[str]:
    if not isinstance(data, (dict, list)) or not data:
        return [value(data)]
    opening = "{" if isinstance(data, dict) else "["
    lines = [opening]
    items = data.items() if isinstance(data, dict) else ((None, item) for item in data)
    for key, item in items:
        head = f"{value(key)}: " if isinstance(data, dict) else ""
        inner = INDENT * (depth + 1)
        flat = f"{inner}{head}{value(item)},"
        if len(flat) <= WIDTH:
            lines.append(flat)
        else:
            first, *rest = _broken(item, depth + 1)
            lines += [inner + head + first, *rest]
            lines[-1] += ","
    return [*lines, INDENT * depth + _CLOSING[opening]]
