"""Diagnostics as people read them in a terminal, and as tools read them in JSON.

The user's own line stands in the middle; marks below it, the primary place with `^`, others with
`-`, and what there is to say at each.  Control characters of a program never reach the terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nnc.language.diagnostics import Diagnostic
from nnc.language.tree import Source, Span

TAB = 4
WINDOW = 120  # columns of a source line that are shown

_LONG = 4_000  # characters beyond which only the part around the place is looked at
_STYLES = {"error": "1;31", "primary": "1;31", "secondary": "1;34", "gutter": "1;34", "bold": "1"}


@dataclass(frozen=True)
class _Mark:
    """Display columns `start` to `end` of one line, and the text for them."""

    start: int
    end: int
    text: str
    primary: bool


def render(diagnostics: Sequence[Diagnostic], color: bool = False) -> str:
    """All diagnostics as text, each ended by a newline and separated by an empty line."""
    return "\n".join(_render(d, color) for d in diagnostics)


def to_json(diagnostics: Sequence[Diagnostic]) -> list[dict[str, Any]]:
    """The same as plain objects; lines and columns count from 1, an end is exclusive."""
    return [
        {
            "severity": "error",
            "code": d.code,
            "message": d.message,
            **_place(d.span),
            "labels": [{**_place(label.span), "text": label.text} for label in d.labels],
            "help": d.help,
        }
        for d in diagnostics
    ]


def _place(span: Span | None) -> dict[str, Any]:
    if span is None:
        return {}
    end_line, end_column = span.source.position(span.end)
    return {
        "path": span.source.path,
        "line": span.line,
        "column": span.column,
        "end_line": end_line,
        "end_column": end_column,
    }


# ---------------------------------------------------------------- text
def _render(d: Diagnostic, color: bool) -> str:
    def paint(style: str, text: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if color and style else text

    out = [paint("error", f"error[{d.code}]") + paint("bold", f": {_printable(d.message)}")]
    if d.span is not None:
        files = _lines_to_show(d)
        numbers = [number for lines in files.values() for number in lines]
        width = len(str(max(numbers)))
        for source, lines in files.items():
            first = d.span if source is d.span.source else None
            arrow = "-->" if first else ":::"
            place = first or min(
                (x.span for x in d.labels if x.span.source is source), key=lambda s: s.start
            )
            path = f"{_printable(source.path)}:{place.line}:{place.column}"
            out.append(f"  {paint('gutter', arrow)} {path}")
            before = None
            for number in sorted(lines):
                if before is not None and number > before + 1:
                    out.append("  " + paint("gutter", "..."))
                before = number
                text, marks = _window(source.line(number), lines[number])
                bar = paint("gutter", f"  {number:>{width}} |")
                out.append(f"{bar} {text}".rstrip())
                bar = paint("gutter", f"  {'':>{width}} |")
                for row in _mark_rows(marks):
                    styled = "".join(paint(style, piece) for style, piece in row)
                    out.append(f"{bar} {styled}")
    if d.help:
        head, *more = _printable(d.help, keep="\n").split("\n")
        out.append(f"  {paint('gutter', '=')} {paint('bold', 'help')}: {head}")
        out.extend(f"          {line}".rstrip() for line in more)
    return "\n".join(out) + "\n"


def _lines_to_show(d: Diagnostic) -> dict[Source, dict[int, list[tuple[Span, str, bool]]]]:
    """Per source and line number the places to mark; the source of the error comes first."""
    assert d.span is not None
    texts = {(x.span.source, x.span.start, x.span.end): x.text for x in d.labels}
    primary = (d.span.source, d.span.start, d.span.end)
    places = [(d.span, texts.pop(primary, ""), True)]
    places += [
        (x.span, x.text, False)
        for x in d.labels
        if (x.span.source, x.span.start, x.span.end) in texts
    ]
    files: dict[Source, dict[int, list[tuple[Span, str, bool]]]] = {}
    for span, text, is_primary in places:
        files.setdefault(span.source, {}).setdefault(span.line, []).append((span, text, is_primary))
    return files


def _window(line: str, places: list[tuple[Span, str, bool]]) -> tuple[str, list[_Mark]]:
    """The part of a line to show, and the marks in its columns."""
    skipped = 0
    if len(line) > _LONG:
        skipped = max(0, min(s.column for s, _, _ in places) - _LONG // 2)
        line = line[skipped : skipped + _LONG]
    columns = [0]  # the display column of each character, and of the end
    shown: list[str] = []
    for char in line:
        piece = " " * (TAB - columns[-1] % TAB) if char == "\t" else _printable(char)
        shown.append(piece)
        columns.append(columns[-1] + sum(map(_width, piece)))

    def mark(span: Span, text: str, primary: bool) -> _Mark:
        first = min(span.column - 1 - skipped, len(line))
        last = min(first + span.end - span.start, len(line))  # only what is on this line
        start = columns[first]
        return _Mark(start, max(columns[last], start + 1), _printable(text), primary)

    marks = [mark(*place) for place in places]
    if columns[-1] <= WINDOW:
        return "".join(shown), marks
    focus = next((m for m in marks if m.primary), marks[0])
    low = max(0, min(focus.start - WINDOW // 3, columns[-1] - WINDOW))
    low = next(c for c in columns if c >= low)  # not inside a wide character
    kept = [i for i in range(len(line)) if low <= columns[i] and columns[i + 1] <= low + WINDOW]
    high = columns[kept[-1] + 1]
    left = "… " if low or skipped else ""
    right = " …" if high < columns[-1] else ""

    def moved(m: _Mark) -> _Mark:
        start = min(max(m.start, low), high - 1) - low + len(left)
        end = max(min(m.end, high) - low + len(left), start + 1)
        return _Mark(start, end, m.text, m.primary)

    return left + "".join(shown[i] for i in kept) + right, [moved(m) for m in marks]


def _mark_rows(marks: list[_Mark]) -> list[list[tuple[str, str]]]:
    """The rows below a line as (style, text) pieces: the marks, then the texts that hang below.

    The text of the rightmost mark follows it on its own row; the others hang below theirs, the
    rightmost first, with a bar for those still to come.
    """
    ordered = sorted(marks, key=lambda m: (m.start, m.end))
    size = max(m.end for m in ordered)
    cells = [("", " ")] * size
    for m in sorted(ordered, key=lambda m: m.primary):
        sign = ("primary", "^") if m.primary else ("secondary", "-")
        cells[m.start : m.end] = [sign] * (m.end - m.start)
    # Two labels at one column cannot both hang there: the first keeps the place on the row.
    last = ordered[-1]
    inline = last.text if all(m.end <= last.start for m in ordered[:-1]) else ""
    rows = [_pieces(cells)]
    if inline:
        rows[0].append((_style(last), f" {inline}"))
    hanging = [m for m in ordered if m.text and not (inline and m is last)]
    while hanging:
        m = hanging.pop()
        row = [("", " ")] * m.start
        for other in hanging:
            if other.start < m.start:
                row[other.start] = (_style(other), "|")
        rows.append([*_pieces(row), (_style(m), m.text)])
    return rows


def _style(mark: _Mark) -> str:
    return "primary" if mark.primary else "secondary"


def _pieces(cells: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Neighbouring cells of one style joined."""
    joined: list[tuple[str, str]] = []
    for style, char in cells:
        if joined and joined[-1][0] == style:
            joined[-1] = (style, joined[-1][1] + char)
        else:
            joined.append((style, char))
    return joined


def _printable(text: str, keep: str = "") -> str:
    """`text` without characters that would steer a terminal or reorder its line."""
    return "".join(c if c in keep else _visible(c) for c in text)


def _visible(char: str) -> str:
    code = ord(char)
    if code < 32:
        return chr(0x2400 + code)
    if code == 127:
        return "\u2421"
    return "\ufffd" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") else char


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
