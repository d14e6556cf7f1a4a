"""`del` for large arrays that nothing reads any more.

Python keeps what a variable names until the function returns, so without it a step would hold
every activation and every cotangent to its end.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from operator import itemgetter

from nnc.emit.function import Body, Printer
from nnc.emit.layout import WIDTH
from nnc.emit.variables import assigned, variables_in
from nnc.ir.program import Step
from nnc.ir.storage import Storage, bytes_of

LARGE = 1 << 18  # bytes: smaller arrays are not worth a line
SMALL = 1 << 12  # the same in a step that is to take less memory
KEPT = re.compile(r"\w+ = [{\[]")  # a table, which goes on holding what it is made of
APPENDED = re.compile(r"\w+\.append\(")  # by the end of a loop, all that it makes for others


def smallest_freed(step: Step) -> int:
    """From how many bytes on the arrays of `step` are deleted."""
    return LARGE if step.remat is None or step.remat.policy == "none" else SMALL


def free_large(printer: Printer, least: int) -> None:
    """Delete the variables that hold arrays of `least` bytes, after their last use so far."""
    ends = last_uses(printer.body, printer.depth, large_variables(printer, least))
    for at, depth in sorted(ends, key=lambda end: (-end[0], end[1])):  # the inner block ends first
        lines = deletions(ends[at, depth], depth)
        printer.body.lines[at:at] = [(depth, line) for line in lines]


def deletions(names: Sequence[str], depth: int) -> list[str]:
    """`del` of all names, in lines that fit."""
    lines = [f"del {names[0]}"]
    for name in names[1:]:
        if 4 * depth + len(f"{lines[-1]}, {name}") > WIDTH:
            lines.append(f"del {name}")
        else:
            lines[-1] += f", {name}"
    return lines


def large_variables(printer: Printer, least: int) -> set[str]:
    """Those that hold such an array or a view of one, in loops too; what the caller holds is left
    out."""
    graph = printer.graph
    storage = Storage(graph, graph)
    found = {name for loop in printer.loops for name in large_variables(loop, least)}
    for value, expr in printer.exprs.items():
        owner = storage.owner(value)
        is_given = graph.producer(owner).op == "input" and owner not in printer.taken
        if (
            expr.is_name
            and expr.text != "_"
            and not is_given
            and bytes_of(graph.type(owner)) >= least
        ):
            found.add(expr.text)
    return found


def last_uses(
    body: Body, depth: int, variables: Collection[str]
) -> dict[tuple[int, int], list[str]]:
    """(line, depth of its block) -> the `variables` that are free before it.

    Those are free that are assigned in the block first.  What the last line of all reads is left
    to it; what goes into a list is deleted at the end of its block, with the others.
    """
    lines = body.lines
    home: dict[str, int] = {}
    last: dict[str, int] = {}
    for at, (indent, line) in enumerate(lines):
        if line.startswith("#"):
            continue
        for name in assigned(line):
            home.setdefault(name, indent)
        for name in variables_in(line):
            if name in variables and name in home:
                last[name] = at
    ends: dict[tuple[int, int], list[str]] = {}
    for name, at in sorted(last.items(), key=itemgetter(1)):  # and in the order of the text
        after, text = at + 1, lines[at][1]
        least = home[name] if APPENDED.match(text) else home[name] + 1
        while after < len(lines) and lines[after][0] >= least:
            after += 1
        if after < len(lines) and not KEPT.match(text) and not text.endswith(f" = {name}.pop()"):
            ends.setdefault((after, home[name]), []).append(name)
    return ends
