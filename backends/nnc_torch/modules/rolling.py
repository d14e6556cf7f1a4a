"""Repeated layers as a loop.

x = self.block[0](x)
x = self.block[1](x)      ->      for block in self.block:
x = self.block[2](x)                  x = block(x)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Line = tuple[int, str]  # depth and text

ITEM = re.compile(r"self((?:\.\w+)+)\[(\d+)\]")


def rolled(lines: Sequence[Line], lengths: dict[str, int], taken: set[str]) -> list[Line]:
    """`lines` with every run over all entries of the module lists `lengths` as a loop.

    `lengths` has lists by what they are called below `self`; `taken` are names of variables.
    """
    result = list(lines)
    for start in range(len(result)):
        for size in range(1, (len(result) - start) // 2 + 1):
            loop = loop_of(result[start:], size, lengths, taken)
            if loop is not None:
                count = max(lengths[name] for name in items(result[start : start + size], 0))
                result[start : start + size * count] = loop
                return [
                    *result[:start],
                    *result[start : start + len(loop)],
                    *rolled(result[start + len(loop) :], lengths, taken),
                ]
    return result


def items(lines: Sequence[Line], index: int) -> list[str]:
    """The lists whose entry `index` these lines read, in order."""
    found: dict[str, None] = {}
    for _, text in lines:
        for match in ITEM.finditer(text):
            if int(match[2]) == index:
                found[match[1]] = None
    return list(found)


def loop_of(
    lines: Sequence[Line], size: int, lengths: dict[str, int], taken: set[str]
) -> list[Line] | None:
    """The loop that starts with the first `size` lines, where the next ones repeat them."""
    lists = items(lines[:size], 0)
    counts = {lengths.get(name, 0) for name in lists}
    if len(counts) != 1:
        return None
    (count,) = counts
    if count < 2 or len(lines) < size * count:
        return None
    names = item_names(lists, taken)
    bodies = [renamed(lines[size * i : size * (i + 1)], i, names) for i in range(count)]
    if any(body != bodies[0] for body in bodies) or ITEM.search(str(bodies[0])):
        return None
    depth = lines[0][0]
    sources = [f"self{name}" for name in lists]
    if len(lists) == 1:
        head = f"for {names[lists[0]]} in {sources[0]}:"
    else:
        head = f"for {', '.join(names.values())} in zip({', '.join(sources)}, strict=True):"
    return [(depth, head), *((d + 1, text) for d, text in bodies[0])]


def item_names(lists: Sequence[str], taken: set[str]) -> dict[str, str]:
    """`block_0` -> `block`, or with its number where another has that name."""
    words = {name: name.rpartition(".")[2] for name in lists}
    short = {name: re.sub(r"_\d+$", "", word) for name, word in words.items()}
    chosen = short if len(set(short.values())) == len(lists) else words
    return {name: f"one_{word}" if word in taken else word for name, word in chosen.items()}


def renamed(lines: Sequence[Line], index: int, names: dict[str, str]) -> list[Line]:
    """`lines` with entry `index` of each list under the name that the loop gives it."""

    def named(match: re.Match[str]) -> str:
        is_item = int(match[2]) == index and match[1] in names
        return names[match[1]] if is_item else match[0]

    return [(depth, ITEM.sub(named, text)) for depth, text in lines]
