"""A document printer: text with places where a line may end, fitted into a width.

After Wadler, "A prettier printer" (1998), with what Prettier added for real languages: comments
that end a line, text that appears only where a group is broken.  It knows nothing of nn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

WIDTH = 100
COMMENT_COLUMN = 55  # where comments behind code start, if the code leaves room


@dataclass(eq=False)
class Line:
    """A place where a line may end; `flat` stands there if it does not, None if it must.

    `trailing` is a comment at the end of the line before, `own` are comments on lines of their
    own, each with whether an empty line precedes it; `blank` asks for one before what follows.
    `outdent` is by how much comments stand further right than what follows (before a `}`).
    """

    flat: str | None = ""
    trailing: str = ""
    own: list[tuple[bool, str]] = field(default_factory=list)
    blank: bool = False
    outdent: int = 0

    @property
    def must_break(self) -> bool:
        return self.flat is None or bool(self.trailing) or bool(self.own)


@dataclass(eq=False)
class Nest:
    """`doc` with its lines further right by `by`."""

    by: int
    doc: Doc


@dataclass(eq=False)
class Group:
    """`doc` on one line if it fits, else with every line of its own broken."""

    doc: Doc
    broken: bool = False


@dataclass(eq=False)
class IfBroken:
    """Text that stands only in a broken group."""

    text: str


Doc = str | Line | Nest | Group | IfBroken | Sequence["Doc"]
_Command = tuple[int, bool, Doc]  # indentation, whether lines break, what to print


def render(doc: Doc, width: int = WIDTH) -> str:
    """The text of a document; no line ends in whitespace."""
    _mark_broken(doc)
    lines: list[str] = []
    current: list[str] = []
    column = 0
    pending: list[_Command] = [(0, True, doc)]
    while pending:
        indent, breaks, item = pending.pop()
        if isinstance(item, str):
            current.append(item)
            column += len(item)
        elif isinstance(item, Nest):
            pending.append((indent + item.by, breaks, item.doc))
        elif isinstance(item, Group):
            broken = item.broken or not _fits(item.doc, width - column, pending)
            pending.append((indent, broken, item.doc))
        elif isinstance(item, IfBroken):
            if breaks:
                pending.append((indent, breaks, item.text))
        elif not isinstance(item, Line):
            pending.extend((indent, breaks, part) for part in reversed(item))
        elif breaks or item.must_break:
            lines.append(_with_comment("".join(current), item.trailing))
            for blank, comment in item.own:
                lines.extend([""] * blank + [" " * (indent + item.outdent) + comment])
            lines.extend([""] * item.blank)
            current, column = [" " * indent], indent
        else:
            current.append(item.flat or "")
            column += len(item.flat or "")
    lines.append("".join(current).rstrip())
    return "\n".join(lines)


def flat(doc: Doc) -> str:
    """A document on one line, whatever its length."""
    parts: list[str] = []
    pending = [doc]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            parts.append(item)
        elif isinstance(item, Line):
            parts.append(" " if item.flat is None else item.flat)
        elif isinstance(item, (Nest, Group)):
            pending.append(item.doc)
        elif not isinstance(item, IfBroken):
            pending.extend(reversed(item))
    return "".join(parts)


def _with_comment(line: str, comment: str) -> str:
    line = line.rstrip()
    return f"{line:<{COMMENT_COLUMN - 2}}  {comment}" if comment else line


def _mark_broken(doc: Doc) -> None:
    """Marks the groups that hold a line which must end."""
    order: list[tuple[Doc, Group | None]] = []
    pending: list[tuple[Doc, Group | None]] = [(doc, None)]
    while pending:
        item, around = pending.pop()
        if isinstance(item, Line):
            order.append((item, around))
        elif isinstance(item, Group):
            order.append((item, around))
            pending.append((item.doc, item))
        elif isinstance(item, Nest):
            pending.append((item.doc, around))
        elif not isinstance(item, (str, IfBroken)):
            pending.extend((part, around) for part in item)
    for item, around in reversed(order):  # what is inside comes after what is around it
        broken = (
            item.must_break if isinstance(item, Line) else isinstance(item, Group) and item.broken
        )
        if around is not None and broken:
            around.broken = True


def _fits(doc: Doc, room: int, after: list[_Command]) -> bool:
    """Whether a document on one line, and what follows up to a possible end of line, has room."""
    pending: list[tuple[bool, Doc]] = [(False, doc)]
    rest = len(after)
    while room >= 0:
        if not pending:
            if rest == 0:
                return True
            rest -= 1
            pending.append(after[rest][1:])
            continue
        breaks, item = pending.pop()
        if isinstance(item, str):
            room -= len(item)
        elif isinstance(item, Line):
            if breaks or item.must_break:
                return True
            room -= len(item.flat or "")
        elif isinstance(item, (Nest, Group)):
            pending.append((breaks, item.doc))
        elif isinstance(item, IfBroken):
            room -= len(item.text) if breaks else 0
        else:
            pending.extend((breaks, part) for part in reversed(item))
    return False
