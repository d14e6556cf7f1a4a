"""`del` for large arrays that nothing reads any more.

Python keeps what a variable names until the function returns, so without it a step would hold
every activation and every cotangent to its end.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from nnc.emit.function import Body, Printer
from nnc.ir.storage import Storage, bytes_of

LARGE = 1 << 18  # bytes: smaller arrays are not worth a line
STRINGS = re.compile(r'"[^"]*"')
KEPT = re.compile(r"\w+ = [{\[(]")  # a table, which goes on holding what it is made of
ASSIGNED = re.compile(r"(\w+(?:, \w+)*) = ")


def free_large(printer: Printer) -> None:
    """Delete the variables of the body so far that hold large arrays, after their last use."""
    ends = last_uses(printer.body, printer.depth, large_variables(printer))
    for at in sorted(ends, reverse=True):
        printer.body.lines.insert(at, (printer.depth, f"del {', '.join(ends[at])}"))


def large_variables(printer: Printer) -> set[str]:
    """Those that hold a large array or a view of one; what the caller holds is left out."""
    graph = printer.graph
    storage = Storage(graph, graph)
    named = ((storage.owner(v), expr.text) for v, expr in printer.exprs.items() if expr.is_name)
    return {
        name
        for owner, name in named
        if graph.producer(owner).op != "input" and bytes_of(graph.type(owner)) >= LARGE
    }


def last_uses(body: Body, depth: int, variables: Collection[str]) -> dict[int, list[str]]:
    """Line -> the `variables` that are free before it: those assigned in the block of `depth`.

    What the last line reads is left to it.
    """
    assigned: set[str] = set()
    last: dict[str, int] = {}
    for at, (indent, line) in enumerate(body.lines):
        if line.startswith("#"):
            continue
        target = ASSIGNED.match(line)
        if target and indent == depth:
            assigned.update(target[1].split(", "))
        for word in re.findall(r"\w+", STRINGS.sub("", line)):
            if word in variables:
                last[word] = at
    ends: dict[int, list[str]] = {}
    for name in sorted(assigned & last.keys(), key=lambda name: last[name]):
        after = last[name] + 1
        while after < len(body.lines) and body.lines[after][0] > depth:
            after += 1
        if after < len(body.lines) and not KEPT.match(body.lines[last[name]][1]):
            ends.setdefault(after, []).append(name)
    return ends
