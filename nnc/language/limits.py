"""What a text may at most be, checked before anything is built from it.

The numbers are far above what people write; they exist so that a generated or hostile file is
refused with a sentence instead of exhausting memory or the stack.
"""

from __future__ import annotations

import re
from pathlib import Path

from nnc.language.diagnostics import Diagnostic, NncError, error, suggest
from nnc.language.tree import Program, Source, Span
from nnc.language.walk import walk_with_depth

MAX_BYTES = 1 << 20
MAX_TOKENS = 250_000
MAX_BRACKETS = 100  # one inside the other
MAX_DEPTH = 220  # of the tree; a bracket is two levels

# Control characters other than tab and line ends, and those that reorder a line on screen.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


def read_source(path: str | Path, shown: str = "", span: Span | None = None) -> Source:
    """The text of a file; `shown` is how messages call it, if not by its path.

    `span` is where a program asks for the file, if one does.  Raises `NncError` where the file
    cannot be read, is too large or is not UTF-8.
    """
    path, shown = Path(path), shown or str(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as fault:
        reason = (getattr(fault, "strerror", "") or "no such file").lower()
        near = [p.name for p in path.parent.glob("*.nn")] if path.parent.is_dir() else []
        help = suggest(path.name, near)
        raise error("E0001", f"`{shown}` cannot be read: {reason}", span, help=help) from None
    if len(data) > MAX_BYTES:
        raise error("E0003", f"`{shown}` is larger than {MAX_BYTES >> 20} MiB", span, help=_SPLIT)
    try:
        return make_source(data.decode("utf-8"), shown)
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        place = f"byte 0x{data[fault.start]:02x} in line {line}"
        message = f"`{shown}` is not UTF-8 text: {place}"
        raise error("E0002", message, span, help="save the file as UTF-8") from None


_SPLIT = "split the program into files and join them with `use`; data belongs into data files"


def make_source(text: str, path: str) -> Source:
    """A text as a source: without a byte order mark, its lines ended by newlines alone."""
    return Source(path, text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))


def check_text(source: Source) -> list[Diagnostic]:
    """The faults of a text that can be seen before it is cut into tokens."""
    if len(source.text) > MAX_BYTES or len(source.text.encode("utf-8", "replace")) > MAX_BYTES:
        message = f"`{source.path}` is larger than {MAX_BYTES >> 20} MiB"
        return [Diagnostic("E0003", message, help=_SPLIT)]
    match = _CONTROL.search(source.text)
    if match is None:
        return []
    name = f"U+{ord(match.group()):04X}"
    return [
        Diagnostic(
            "E0004",
            f"a control character ({name}) in the text",
            Span(source, match.start(), match.end()),
            help="remove it; if the file is no text at all, name the right one",
        )
    ]


def check_depth(program: Program) -> None:
    """Refuses a tree whose depth could exhaust the stack of what walks over it."""
    for node, depth in walk_with_depth(program.items):
        if depth > MAX_DEPTH:
            raise NncError(too_deep(node.span))


def too_deep(span: Span) -> Diagnostic:
    """The error for a place that lies under too many others."""
    return Diagnostic(
        "E0005",
        "nested too deeply",
        span,
        help=f"at most {MAX_BRACKETS} brackets stand inside one another; name parts with `let`",
    )
