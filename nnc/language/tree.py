"""The syntax tree: frozen dataclasses, each with the span of source it was read from.

It holds what the user wrote and nothing else: no types, no resolved names.  Left-associative
chains (`a + b - c`, `x |> f |> g`, `p and q`) are one `Chain` node however long they are, so that
the depth of a tree is the depth of the brackets in the text, which the parser limits.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` (exclusive) of a source; line and column count from 1."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        return Span(self.source, self.start, max(self.end, other.end))

    def __repr__(self) -> str:
        return f"{self.source.path}:{self.line}:{self.column}"


@dataclass(frozen=True, eq=False)
class Source:
    """A program text and where it came from (`path` is what messages show)."""

    path: str
    text: str
    _starts: list[int] = field(default_factory=list, repr=False)

    @cached_property
    def is_library(self) -> bool:
        return self.path.startswith("std/")

    def position(self, offset: int) -> tuple[int, int]:
        """(line, column) of a character, both from 1."""
        if not self._starts:
            self._starts.append(0)
            self._starts.extend(i + 1 for i, c in enumerate(self.text) if c == "\n")
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line, without its end."""
        self.position(0)
        start = self._starts[number - 1]
        end = self._starts[number] if number < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n")


# ruff: noqa: RUF009
# `span` is left out of comparisons: two trees are equal when they say the same.
def _span() -> Span:
    return field(compare=False, repr=False)


# ---------------------------------------------------------------- expressions
@dataclass(frozen=True, slots=True)
class Name:
    """`x`; the placeholder is the name `_`."""

    id: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Number:
    """`3`, `1e-3`, `10%`, `5epochs`: `value` is int or float as written, `unit` its suffix."""

    value: int | float
    unit: str
    text: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class String:
    value: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Literal:
    """`true`, `false` or `none`."""

    value: bool | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Argument:
    """An element of a call, tuple, list or index; `name` is "" for a positional one."""

    name: str
    value: Expr
    span: Span = _span()
    name_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Tuple:
    """`(a, b)`, `(x = a, y = b)`; `(a)` is only grouping and is kept for the formatter."""

    items: tuple[Argument, ...]
    trailing_comma: bool
    span: Span = _span()

    @property
    def is_group(self) -> bool:
        return len(self.items) == 1 and not self.items[0].name and not self.trailing_comma


@dataclass(frozen=True, slots=True)
class List:
    items: tuple[Argument, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Call:
    function: Expr
    arguments: tuple[Argument, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Ellipsis_:
    """`...` among dims or indices."""

    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Index:
    """`x[0]`, `x[T = 0..8]`, `x[..., 0]`."""

    value: Expr
    items: tuple[Argument, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Attribute:
    value: Expr
    name: str
    span: Span = _span()
    name_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator in a chain, with its own place for the caret."""

    symbol: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Chain:
    """`first op1 x1 op2 x2 ...`, evaluated from the left.

    `kind` is "sum" (+ -), "term" (* / // % @), "pipe" (|>), "and", "or" or "compare" (which has
    one operator).
    """

    kind: str
    first: Expr
    rest: tuple[tuple[Operator, Expr], ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x` or `not x`."""

    operator: Operator
    operand: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Power:
    """`base ^ exponent` (associates to the right)."""

    base: Expr
    exponent: Expr
    operator: Operator
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Range:
    """`start..stop`, stop exclusive."""

    start: Expr
    stop: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class If:
    """`if c { a } else { b }`; `orelse` is None, an `If` (for `else if`) or any expression."""

    condition: Expr
    then: Expr
    orelse: Expr | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Repeat:
    count: Expr
    body: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class For:
    names: tuple[Name, ...]
    sequence: Expr
    body: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Scan:
    """`scan names in sequence over axis with carry = init { ... }`."""

    names: tuple[Name, ...]
    sequence: Expr
    axis: Name | None
    carries: tuple[Argument, ...]
    body: tuple[Statement, ...]
    span: Span = _span()


# ---------------------------------------------------------------- types
@dataclass(frozen=True, slots=True)
class TensorTypeExpr:
    """`f32`, `f32[N, T = 64, ...]`; `dims` is None where no brackets were written.

    A dim is an expression, an `Ellipsis_`, or a named one (`T = 64`), so they are `Argument`s.
    """

    dtype: str
    dims: tuple[Argument, ...] | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class RecordTypeExpr:
    fields: tuple[Parameter, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    type: TypeExpr
    default: Expr | None
    span: Span = _span()
    name_span: Span | None = field(default=None, compare=False, repr=False)


# ---------------------------------------------------------------- statements and items
@dataclass(frozen=True, slots=True)
class Let:
    names: tuple[Name, ...]
    type: TypeExpr | None
    value: Expr
    doc: str = field(compare=False)
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Decl:
    """`config`, `param` or `buffer`; `choices` is what stands after `in`."""

    kind: str
    name: str
    type: TypeExpr
    value: Expr | None
    choices: Expr | None
    doc: str = field(compare=False)
    span: Span = _span()
    name_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Set:
    """`key = value`: a setting, a scan carry or a buffer."""

    names: tuple[Name, ...]
    value: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Field:
    """`x: f32[N, 64] = value` inside a `data` section."""

    name: str
    type: TypeExpr
    value: Expr
    span: Span = _span()
    name_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Out:
    """`return x` or `yield x` (`kind`)."""

    kind: str
    value: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Assert:
    condition: Expr
    message: str | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Section:
    """`kind name(args) { ... }`; `name` is "" where none was written."""

    kind: str
    name: str
    arguments: tuple[Argument, ...]
    body: tuple[Statement, ...]
    doc: str = field(compare=False)
    span: Span = _span()
    kind_span: Span | None = field(default=None, compare=False, repr=False)
    name_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Fn:
    name: str
    parameters: tuple[Parameter, ...]
    result: TypeExpr | None
    body: Expr | tuple[Statement, ...]
    doc: str = field(compare=False)
    span: Span = _span()
    name_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Block:
    """`block` or `model` (`kind`); `inputs` is None where only one parameter list was written."""

    kind: str
    name: str
    static: tuple[Parameter, ...]
    inputs: tuple[Parameter, ...] | None
    result: TypeExpr | None
    body: Expr | tuple[Statement, ...]
    doc: str = field(compare=False)
    span: Span = _span()
    name_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Use:
    """`use std.adversarial as adv (pgd)`, `use "resnet.nn" (ResNet)`."""

    path: tuple[str, ...] | str
    alias: str
    names: tuple[Name, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Program:
    """`doc` is a `##` comment at the top of the file; `lost` holds the names that stand in
    statements left out for their syntax errors, so that later checks don't call them unknown."""

    source: Source = field(compare=False, repr=False)
    version: int | None
    items: tuple[Item, ...]
    doc: str = field(default="", compare=False)
    lost: frozenset[str] = field(default=frozenset(), compare=False, repr=False)


Expr = (
    Name | Number | String | Literal | Tuple | List | Call | Index | Attribute | Chain | Unary
    | Power | Range | If | Repeat | For | Scan | Ellipsis_
)  # fmt: skip
TypeExpr = TensorTypeExpr | RecordTypeExpr
Statement = Let | Decl | Set | Field | Section | Out | Assert
Item = Use | Decl | Let | Fn | Block | Section
