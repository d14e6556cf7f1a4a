"""Expressions and types as documents: where their lines may end, and how they are indented."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nnc.language import tree
from nnc.language.alignment import MAX_GAP
from nnc.language.comments import NoComments
from nnc.language.layout import Doc, Group, IfBroken, Nest, flat

INDENT = 2
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
# How tightly each kind of expression binds; an operand that binds less gets parentheses.
_LEVEL = {"pipe": 1, "or": 2, "and": 3, "not": 4, "compare": 5, "range": 6, "sum": 7, "term": 8}
_MINUS, _POWER, _POST, _ATOM = 9, 10, 11, 12


def _level(node: Any) -> int:
    if isinstance(node, tree.Chain):
        return _LEVEL[node.kind]
    if isinstance(node, tree.Unary):
        return _MINUS if node.operator.symbol == "-" else _LEVEL["not"]
    if isinstance(node, tree.Range):
        return _LEVEL["range"]
    if isinstance(node, tree.Power):
        return _POWER
    return _POST if isinstance(node, (tree.Call, tree.Index, tree.Attribute)) else _ATOM


class ExpressionPrinter:
    def __init__(self, text: NoComments):
        self.text = text
        self.on_one_line = 0  # above 0, lines cannot end

    # ------------------------------------------------------------ helpers
    def word(self, text: str) -> str:
        return self.text.take(text)

    def line(self, flat: str = "", outdent: int = 0) -> Doc:
        if self.on_one_line:
            return flat
        line = self.text.line(flat, outdent)
        line.blank = False
        line.own = [(False, comment) for _, comment in line.own]
        return line

    def flat(self, build: Callable[[], Doc]) -> str:
        self.on_one_line += 1
        doc = build()
        self.on_one_line -= 1
        return flat(doc)

    def separated(self, items: Sequence[Any], build: Callable[[Any], Doc], gap: str = " ") -> Doc:
        """Elements with commas between them, on one line."""
        docs: list[Doc] = []
        for item in items:
            docs += [self.word(","), gap] if docs else []
            docs.append(build(item))
        return docs

    def bracketed(
        self, sign: str, items: Sequence[Any], build: Callable[..., Doc], comma: str = "broken"
    ) -> Doc:
        """Elements in brackets: all on one line, or each on its own.

        `comma` says when one follows the last: if the lines are "broken", "always" or "never".
        """
        doc: list[Doc] = [self.word(sign[0])]
        if not items:
            return [*doc, self.word(sign[1])]
        inner: list[Doc] = [self.line()]
        widths = [len(item.name) for item in items]
        aligned = (
            build == self.argument and min(widths) > 0 and max(widths) - min(widths) <= MAX_GAP
        )
        for i, item in enumerate(items):
            inner += [self.word(","), self.line(" ")] if i else []
            gap = " " * (max(widths) - widths[i]) if aligned else ""
            inner.append(build(item, gap) if gap else build(item))
        if comma == "always":
            inner.append(self.word(","))
        elif comma == "broken":
            self.text.skip(",")
            inner.append(IfBroken(","))
        return Group([*doc, Nest(INDENT, inner), self.line(outdent=INDENT), self.word(sign[1])])

    # ------------------------------------------------------------ expressions
    def expression(self, node: Any, level: int = 0) -> Doc:
        """An expression where one that binds at least like `level` is asked for."""
        if _level(node) < level:
            return [self.word("("), _EXPRESSIONS[type(node)](self, node), self.word(")")]
        return _EXPRESSIONS[type(node)](self, node)

    def name(self, node: tree.Name) -> Doc:
        return self.word(node.id)

    def names(self, names: Sequence[tree.Name]) -> Doc:
        return self.separated(names, self.name)

    def number(self, node: tree.Number) -> Doc:
        return self.word(node.text)

    def string(self, value: str) -> Doc:
        return self.word('"' + "".join(_ESCAPES.get(c, c) for c in value) + '"')

    def literal(self, node: tree.Literal) -> Doc:
        return self.word("none" if node.value is None else str(node.value).lower())

    def argument(self, node: tree.Argument, pad: str = "") -> Doc:
        """`name = value`, with `pad` behind the name if the arguments stand below one another."""
        if not node.name:
            return self.expression(node.value)
        return [
            self.word(node.name),
            IfBroken(pad),
            " ",
            self.word("="),
            " ",
            self.expression(node.value),
        ]

    def tuple_(self, node: tree.Tuple) -> Doc:
        comma = "broken"
        if len(node.items) == 1 and not node.items[0].name:
            comma = "always" if node.trailing_comma else "never"
        return self.bracketed("()", node.items, self.argument, comma)

    def list_(self, node: tree.List) -> Doc:
        return self.bracketed("[]", node.items, self.argument)

    def arguments(self, items: Sequence[tree.Argument]) -> Doc:
        alone = len(items) == 1 and not items[0].name
        if alone and isinstance(items[0].value, (tree.List, tree.Tuple)):
            doc = [self.word("("), self.argument(items[0])]
            self.text.skip(",")
            return [*doc, self.word(")")]
        return self.bracketed("()", items, self.argument)

    def call(self, node: tree.Call) -> Doc:
        return [self.expression(node.function, _POST), self.arguments(node.arguments)]

    def index(self, node: tree.Index) -> Doc:
        value = self.expression(node.value, _POST)
        return [value, self.bracketed("[]", node.items, self.argument)]

    def attribute(self, node: tree.Attribute) -> Doc:
        return [self.expression(node.value, _POST), self.word("."), self.word(node.name)]

    def unary(self, node: tree.Unary) -> Doc:
        sign = self.word(node.operator.symbol)
        gap = "" if sign == "-" else " "
        return [sign, gap, self.expression(node.operand, _level(node))]

    def power(self, node: tree.Power) -> Doc:
        base = self.expression(node.base, _POST)
        return [base, self.word("^"), self.expression(node.exponent, _MINUS)]

    def range_(self, node: tree.Range) -> Doc:
        level = _LEVEL["sum"]
        return [
            self.expression(node.start, level),
            self.word(".."),
            self.expression(node.stop, level),
        ]

    def chain(self, node: tree.Chain) -> Doc:
        if node.kind == "pipe":
            return self.pipe(node)
        level = _level(node) + 1
        first = self.expression(node.first, level)
        rest: list[Doc] = []
        for operator, operand in node.rest:
            rest += [self.line(" "), self.word(operator.symbol), " "]
            rest.append(self.expression(operand, level))
        return Group([first, Nest(INDENT, rest)])

    def pipe(self, node: tree.Chain) -> Doc:
        level = _level(node) + 1
        doc: list[Doc] = [self.expression(node.first, level)]
        braced = isinstance(node.first, _BRACED)
        stays = isinstance(node.first, (tree.Name, tree.Attribute))
        for _, stage in node.rest:
            was_braced, braced = braced, isinstance(stage, _BRACED)
            own_line = (braced or was_braced) and not stays
            gap: Doc = " " if stays and not self.text.waiting() else self.line(" ")
            part = [gap, self.word("|>"), " ", self.expression(stage, level)]
            doc.append(part if own_line else Group(part))
            stays = False
        return Group([doc[0], Nest(INDENT, doc[1:])])

    # ------------------------------------------------------------ braces
    def stage(self, node: tree.Expr) -> Doc:
        left = self.word("{")
        inner = [self.line(" "), self.expression(node)]
        return Group([left, Nest(INDENT, inner), self.line(" ", outdent=INDENT), self.word("}")])

    def if_(self, node: tree.If) -> Doc:
        doc: list[Doc] = []
        rest: Any = node
        braces = 0  # `else { if ... }` says the same as `else if ...`, which is what is written
        while isinstance(rest, tree.If):
            doc += [self.word("if"), " ", self.expression(rest.condition), " "]
            doc.append(self.stage(rest.then))
            rest = rest.orelse
            if rest is not None:
                doc += [" ", self.word("else"), " "]
            if isinstance(rest, tree.If):
                braces += self.text.skip("{")
        if rest is not None:
            doc.append(self.stage(rest))
        for _ in range(braces):
            self.text.skip("}")
        return doc

    def repeat(self, node: tree.Repeat) -> Doc:
        return [self.word("repeat"), " ", self.expression(node.count), " ", self.stage(node.body)]

    def for_(self, node: tree.For) -> Doc:
        doc: list[Doc] = [self.word("for"), " ", self.names(node.names), " ", self.word("in"), " "]
        return [*doc, self.expression(node.sequence), " ", self.stage(node.body)]

    def scan(self, node: tree.Scan) -> Doc:
        doc: list[Doc] = [self.word("scan"), " ", self.names(node.names), " ", self.word("in"), " "]
        doc.append(self.expression(node.sequence))
        if node.axis is not None:
            doc += [" ", self.word("over"), " ", self.name(node.axis)]
        if node.carries:
            doc += [" ", self.word("with"), " ", self.separated(node.carries, self.argument)]
        return [*doc, " ", self.body(node.body)]

    # ------------------------------------------------------------ types
    def type_(self, node: tree.TypeExpr) -> Doc:
        if isinstance(node, tree.RecordTypeExpr):
            return self.parameters(node.fields)
        name = self.word(node.dtype)
        if node.dims is None:
            return name
        dims = node.dims
        return [name, self.flat(lambda: self.bracketed("[]", dims, self.argument))]

    def parameters(self, items: Sequence[tree.Parameter]) -> Doc:
        return self.bracketed("()", items, self.parameter)

    def parameter(self, node: tree.Parameter) -> Doc:
        doc: list[Doc] = [self.word(node.name), self.word(":"), " ", self.type_(node.type)]
        if node.default is not None:
            doc += [" ", self.word("="), " ", self.expression(node.default)]
        return doc

    def body(self, statements: Sequence[Any]) -> Doc:
        """Statements in braces; the statement printer knows how."""
        raise NotImplementedError


_BRACED = (tree.If, tree.Repeat, tree.For, tree.Scan)

_EXPRESSIONS: dict[type, Callable[[ExpressionPrinter, Any], Doc]] = {
    tree.Name: ExpressionPrinter.name,
    tree.Number: ExpressionPrinter.number,
    tree.String: lambda printer, node: printer.string(node.value),
    tree.Literal: ExpressionPrinter.literal,
    tree.Tuple: ExpressionPrinter.tuple_,
    tree.List: ExpressionPrinter.list_,
    tree.Call: ExpressionPrinter.call,
    tree.Ellipsis_: lambda printer, node: printer.word("..."),
    tree.Index: ExpressionPrinter.index,
    tree.Attribute: ExpressionPrinter.attribute,
    tree.Chain: ExpressionPrinter.chain,
    tree.Unary: ExpressionPrinter.unary,
    tree.Power: ExpressionPrinter.power,
    tree.Range: ExpressionPrinter.range_,
    tree.If: ExpressionPrinter.if_,
    tree.Repeat: ExpressionPrinter.repeat,
    tree.For: ExpressionPrinter.for_,
    tree.Scan: ExpressionPrinter.scan,
}
