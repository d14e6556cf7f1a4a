"""Errors inside a framework, in the terms of the program.

What an emitted file runs out of memory for, or what its framework refuses, is the program's matter
and no bug of nnc.  The file says of each of its lines which line of the program it computes, so the
traceback leads there.
"""

from __future__ import annotations

import linecache
import re
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from nnc.ir.graph import Graph, Node, Origin
from nnc.ir.interpret import interpret
from nnc.ir.types import TensorType
from nnc.language.diagnostics import Diagnostic, NncError
from nnc.train.places import in_library, span_of

CODE = "E0709"
#: a comment of an emitted file on the lines below it
_PLACE = re.compile(r"\s*# (\S+\.nn):(\d+)(?: (\S+))?$")
#: what frameworks say when memory is short, besides raising MemoryError
_MEMORY = re.compile("resource_exhausted|out of memory|can't allocate memory", re.IGNORECASE)
_LONGEST = 300

#: seconds that the search for the op to blame may take
_PATIENCE = 10.0

#: makes the inputs of the executions in question, in NumPy's arrays, when they are needed
Inputs = Callable[[], Iterable[Mapping[str, Any]]]


@contextmanager
def reported(
    file: str, what: str, program: str, graph: Graph | None = None, inputs: Inputs | None = None
) -> Iterator[None]:
    """Raise what goes wrong in the emitted `file` as an error of `what`, a part of `program`.

    `graph` is what `file` computes there, of these `inputs`.  An exception that did not pass
    through `file` goes on as it is.
    """
    try:
        yield
    except NncError:
        raise
    except Exception as problem:
        lines = [
            frame.lineno or 0
            for frame in traceback.extract_tb(problem.__traceback__)
            if frame.filename == file
        ]
        if not lines:
            raise
        place = origin_of(file, lines)
        if is_memory(problem):
            raise out_of_memory(place, what, program, graph) from problem
        node = _found(graph, inputs) if graph is not None and inputs is not None else None
        raise failure(problem, origin(node) or place, what, program) from problem


def is_memory(problem: Exception) -> bool:
    return isinstance(problem, MemoryError) or _MEMORY.search(str(problem)) is not None


def out_of_memory(place: Origin | None, what: str, program: str, graph: Graph | None) -> NncError:
    """The error where memory is short; a compiled file has no line, its largest value has."""
    node = largest(graph) if graph is not None else None
    help = "a smaller `batch` needs less"
    if node is not None:
        help += f"; its largest value is {node.type}, of `{node.op}`"
    return _error(f"{what} needs more memory than there is", place or origin(node), program, help)


def failure(problem: Exception, place: Origin | None, what: str, program: str) -> NncError:
    """The error for another exception of a framework."""
    text = " ".join(str(problem).split())
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
    message = f"{what} failed: {type(problem).__name__}: {shown}"
    help = "the framework refuses what the emitted source asks of it; another `--backend` may not"
    return _error(message, place, program, help)


def _error(message: str, place: Origin | None, program: str, help: str) -> NncError:
    span = span_of(place, program) if place is not None else None
    if place is not None and span is None:
        message = f"{place.file}:{place.line}: {message}"
    return NncError(Diagnostic(CODE, message, span, (), help))


# ---------------------------------------------------------------- places
def origin(node: Node | None) -> Origin | None:
    """Where the user wrote what became `node`, rather than where the library did."""
    return min(node.origin, key=in_library) if node is not None and node.origin else None


def failing_node(graph: Graph, inputs: Mapping[str, Any]) -> Node | None:
    """The op that cannot be computed of these inputs by its definition either, if there is one."""
    done: set[int] = set()
    try:
        interpret(graph, inputs, keep=lambda node, _: done.add(node.id))
    except Exception:
        return next((n for n in graph if n.id not in done and n.op != "input"), None)
    return None


def _found(graph: Graph, inputs: Inputs) -> Node | None:
    """The op to blame in the first of the executions that has one, as far as time allows."""
    end = time.monotonic() + _PATIENCE
    with suppress(Exception):  # a framework may have given up its arrays when it failed
        for each in inputs():
            node = failing_node(graph, each)
            if node is not None or time.monotonic() > end:
                return node
    return None


def largest(graph: Graph) -> Node | None:
    """The op with the largest result whose size is known."""
    nodes = (node for node in graph if node.op != "input")
    sizes = ((node, size) for node in nodes if isinstance(size := _bytes(node.type), int))
    return max(sizes, key=lambda pair: pair[1], default=(None, 0))[0]


def _bytes(type: TensorType) -> Any:
    return type.size * int(re.sub(r"\D", "", type.dtype) or 8) // 8


def origin_of(file: str, lines: list[int]) -> Origin | None:
    """The place in the program of the innermost of these `lines` that has one."""
    text = linecache.getlines(file)
    for line in reversed(lines):
        for above in reversed(text[:line]):
            if above.startswith(("def ", "class ")):
                break
            found = _PLACE.match(above.rstrip("\n"))
            if found is not None:
                return Origin(found[1], int(found[2]), 1, found[3] or "")
    return None
