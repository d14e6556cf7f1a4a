"""Errors inside a framework, in the terms of the program.

What an emitted file runs out of memory for, or what its framework refuses, is the program's matter
and no bug of nnc.  The file says of each of its lines which line of the program it computes, so the
traceback leads there.
"""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from nnc.ir.graph import Origin
from nnc.language.diagnostics import Diagnostic, NncError
from nnc.train.places import span_of

CODE = "E0709"
#: a comment of an emitted file on the lines below it
_PLACE = re.compile(r"\s*# (\S+\.nn):(\d+)(?: (\S+))?$")
#: what frameworks say when memory is short, besides raising MemoryError
_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "can't allocate memory")
_LONGEST = 300


@contextmanager
def reported(file: str, what: str, program: str) -> Iterator[None]:
    """Raise what goes wrong in the emitted `file` as an error of `what`, a part of `program`.

    An exception that did not pass through `file` goes on as it is.
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
        raise failure(problem, origin_of(file, lines), what, program) from problem


def failure(problem: Exception, origin: Origin | None, what: str, program: str) -> NncError:
    """The error for an exception of a framework."""
    text = " ".join(str(problem).split())
    if isinstance(problem, MemoryError) or any(sign in text for sign in _MEMORY):
        message = f"{what} needs more memory than there is"
        help = "a smaller `batch`, or `accumulate` for the same batch in parts, needs less"
    else:
        shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
        message = f"{what} failed: {type(problem).__name__}: {shown}"
        help = (
            "the framework refuses what the emitted source asks of it; another `--backend` may not"
        )
    span = span_of(origin, program) if origin is not None else None
    if origin is not None and span is None:
        message = f"{origin.file}:{origin.line}: {message}"
    return NncError(Diagnostic(CODE, message, span, (), help))


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
