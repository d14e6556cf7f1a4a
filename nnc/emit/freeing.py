"""`del` for large arrays that nothing reads any more.

Python keeps what a variable names until the function returns, so without it a step would hold
every activation and every cotangent to its end.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from nnc.emit.function import Body, Printer
from nnc.ir.program import Step
from nnc.ir.storage import Storage, bytes_of

LARGE = 1 << 18  # bytes: smaller arrays are not worth a line
SMALL = 1 << 12  # the same in a step that is to take less memory
STRINGS = re.compile(r'"[^"]*"')
KEPT = re.compile(r"\w+ = [{\[]")  # a table, which goes on holding what it is made of
ASSIGNED = re.compile(r"(\w+(?:, \w+)*) = ")


def smallest_freed(step: Step) -> int:
    """From how many bytes on the arrays of `step` are deleted."""
    return LARGE if step.remat is None or step.remat.policy == "none" else SMALL


def free_large(printer: Printer, least: int) -> None:
    """Delete the variables that hold arrays of `least` bytes, after their last use so far."""
    ends = last_uses(printer.body, printer.depth, large_variables(printer, least))
    for at in sorted(ends, reverse=True):
        printer.body.lines.insert(at, (printer.depth, f"del {', '.join(ends[at])}"))


def large_variables(printer: Printer, least: int) -> set[str]:
    """Those that hold such an array or a view of one; what the caller holds is left out."""
    graph = printer.graph
    storage = Storage(graph, graph)
    named = ((storage.owner(v), expr.text) for v, expr in printer.exprs.items() if expr.is_name)
    return {
        name
        for owner, name in named
        if graph.producer(owner).op != "input" and bytes_of(graph.type(owner)) >= least
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
    own = [name for name in last if name in assigned]  # in the order of the text, never of a set
    for name in sorted(own, key=lambda name: last[name]):
        after = last[name] + 1
        while after < len(body.lines) and body.lines[after][0] > depth:
            after += 1
        if after < len(body.lines) and not KEPT.match(body.lines[last[name]][1]):
            ends.setdefault(after, []).append(name)
    return ends
