"""The canonical form of a program: from tree to document.

Everything is written in the order of the text, through `Comments`, which puts each comment at the
line nearest to it.  Rules of the style:

- two spaces of indentation, 100 columns, one empty line at most;
- consecutive bindings align their `=`, declarations and fields their columns;
- a pipeline that is too long goes on in lines that start with `|>`: stages with braces on lines
  of their own, plain ones as many as fit; other chains break before every operator;
- brackets that are too long hold one element a line, with a comma after the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nnc.language import tree
from nnc.language.alignment import MAX_GAP, Row, align
from nnc.language.comments import Comments, NoComments
from nnc.language.layout import WIDTH, Doc, Group, IfBroken, Line, Nest, flat, render

INDENT = 2
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
# How tightly each kind of expression binds; an operand that binds less gets parentheses.
_LEVEL = {"pipe": 1, "or": 2, "and": 3, "not": 4, "compare": 5, "range": 6, "sum": 7, "term": 8}
_MINUS, _POWER, _POST, _ATOM = 9, 10, 11, 12


def print_program(program: tree.Program) -> str:
    """A tree as canonical text, with its documentation but no other comments."""
    return _Printer(NoComments()).program(program)


def print_with_comments(program: tree.Program) -> str:
    """A parsed program as canonical text, with all comments of its source."""
    return _Printer(Comments(program.source.text)).program(program)


def print_expression(node: tree.Expr) -> str:
    """An expression on one line, as messages and reports show it."""
    return flat(_Printer(NoComments()).expression(node))


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


class _Printer:
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
        while isinstance(rest, tree.If):
            doc += [self.word("if"), " ", self.expression(rest.condition), " "]
            doc.append(self.stage(rest.then))
            rest = rest.orelse
            doc += [" ", self.word("else"), " "] if rest is not None else []
        if rest is not None:
            doc.append(self.stage(rest))
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

    # ------------------------------------------------------------ statements
    def body(self, statements: Sequence[Any]) -> Doc:
        left = self.word("{")
        if not statements and not self.text.waiting():
            return [left, self.word("}")]
        if len(statements) == 1 and not self.text.opens_line() and not self.text.waiting():
            line = self.line(" ")
            row = align([_STATEMENTS[type(statements[0])](self, statements[0], None)])
            right = [self.line(" ", outdent=INDENT), self.word("}")]
            return Group([left, Nest(INDENT, [line, row]), right])
        rows = align([self.row(x, is_first=i == 0) for i, x in enumerate(statements)])
        closing = self.text.line(None, outdent=INDENT)
        closing.blank = False
        return [left, Nest(INDENT, rows), closing, self.word("}")]

    def row(self, statement: Any, is_first: bool) -> Row:
        """A statement of a body, on a line of its own."""
        line = self.text.line(None)
        self.document(line, statement)
        if is_first and line.own:
            line.own[0] = (False, line.own[0][1])
        elif is_first:
            line.blank = False
        return _STATEMENTS[type(statement)](self, statement, line)

    def document(self, line: Line, node: Any) -> None:
        """Writes the documentation of a node where no text with its comments is at hand."""
        doc = getattr(node, "doc", "")
        if doc and not isinstance(self.text, Comments):
            line.own.extend((False, f"## {text}".rstrip()) for text in doc.split("\n"))

    def value(self, node: tree.Expr) -> Doc:
        return [self.word("="), " ", self.expression(node)]

    def let(self, node: tree.Let, line: Line | None) -> Row:
        def left() -> Doc:
            doc: list[Doc] = [self.word("let"), " ", self.names(node.names)]
            return [*doc, self.word(":"), " ", self.type_(node.type)] if node.type else doc

        return Row(line, "let", (self.flat(left),), self.value(node.value), _has_body(node.value))

    def set_(self, node: tree.Set, line: Line | None) -> Row:
        left = self.flat(lambda: self.names(node.names))
        return Row(line, "set", (left,), self.value(node.value), _has_body(node.value))

    def decl(self, node: tree.Decl, line: Line | None) -> Row:
        kind, name = self.word(node.kind), self.word(node.name)
        name += self.word(":")
        type_ = self.flat(lambda: self.type_(node.type))
        value: list[Doc] = [self.value(node.value)] if node.value is not None else []
        if node.choices is not None:
            gap: Doc = " " if value else ""
            value += [gap, self.word("in"), " ", self.expression(node.choices)]
        return Row(line, "decl", (kind, name, type_), value or None)

    def field(self, node: tree.Field, line: Line | None) -> Row:
        name = self.word(node.name) + self.word(":")
        type_ = self.flat(lambda: self.type_(node.type))
        return Row(line, "field", (name, type_), self.value(node.value))

    def out(self, node: tree.Out, line: Line | None) -> Row:
        return Row(line, "", (), [self.word(node.kind), " ", self.expression(node.value)])

    def assert_(self, node: tree.Assert, line: Line | None) -> Row:
        doc: list[Doc] = [self.word("assert"), " ", self.expression(node.condition)]
        if node.message is not None:
            doc += [self.word(","), " ", self.string(node.message)]
        return Row(line, "", (), doc)

    def section(self, node: tree.Section, line: Line | None) -> Row:
        doc: list[Doc] = [self.word(node.kind)]
        doc += [" ", self.word(node.name)] if node.name else []
        if node.arguments:
            doc.append(self.arguments(node.arguments))
        else:
            self.text.skip("(", ")")
        return Row(line, "", (), [*doc, " ", self.body(node.body)])

    # ------------------------------------------------------------ items
    def use(self, node: tree.Use, line: Line | None) -> Row:
        doc: list[Doc] = [self.word("use"), " "]
        if isinstance(node.path, str):
            doc.append(self.string(node.path))
        else:
            for i, part in enumerate(node.path):
                doc += [self.word("."), self.word(part)] if i else [self.word(part)]
        doc += [" ", self.word("as"), " ", self.word(node.alias)] if node.alias else []
        if node.names:
            doc += [" ", self.word("("), self.names(node.names), self.word(")")]
        return Row(line, "", (), doc)

    def fn(self, node: tree.Fn, line: Line | None) -> Row:
        head = [self.word("fn"), " ", self.word(node.name), self.parameters(node.parameters)]
        return Row(line, "", (), self.definition(head, node.result, node.body))

    def block(self, node: tree.Block, line: Line | None) -> Row:
        head: list[Doc] = [self.word(node.kind), " ", self.word(node.name)]
        head.append(self.parameters(node.static))
        if node.inputs is not None:
            fits = len(flat(head)) <= WIDTH
            gap: Doc = self.line() if fits else ""
            head.append(Nest(2 * INDENT if fits else 0, [gap, self.parameters(node.inputs)]))
        return Row(line, "", (), self.definition(head, node.result, node.body))

    def definition(self, head: list[Doc], result: tree.TypeExpr | None, body: Any) -> Doc:
        if result is not None:
            head += [" ", self.word("->"), " ", self.type_(result)]
        if isinstance(body, tuple):
            return [Group(head), " ", self.body(body)]
        equals = self.word("=")
        value = Nest(INDENT, [self.line(" "), self.expression(body)])
        return [Group(head), " ", equals, Group(value)]

    def program(self, program: tree.Program) -> str:
        rows: list[Row] = []
        if program.version is not None:
            line = self.text.line(None)
            self.document(line, program)
            words = [self.word("language"), " ", self.word(str(program.version))]
            rows.append(Row(line, "", (), words))
        for before, item in zip((None, *program.items), program.items, strict=False):
            line = self.text.line(None)
            self.document(line, item)
            if rows and self.stands_apart(before, item):
                if line.own:
                    line.own[0] = (True, line.own[0][1])
                else:
                    line.blank = True
            rows.append(_STATEMENTS[type(item)](self, item, line))
        end = self.text.line(None)
        end.blank = False
        text = render([align(rows), end]).strip("\n")
        if program.version is None and program.doc and not isinstance(self.text, Comments):
            doc = "".join(f"## {line}".rstrip() + "\n" for line in program.doc.split("\n"))
            text = f"{doc}\n{text}"
        return text + "\n" if text else ""

    def stands_apart(self, before: Any, item: Any) -> bool:
        """Whether an empty line belongs between two items, or after the version."""
        if isinstance(self.text, Comments):
            return _has_braces(before) or _has_braces(item)
        return type(before) is not type(item) or isinstance(
            item, (tree.Fn, tree.Block, tree.Section)
        )


def _has_braces(item: Any) -> bool:
    return isinstance(getattr(item, "body", None), tuple)


def _has_body(node: Any) -> bool:
    """Whether an expression ends in a body, which takes lines of its own."""
    return isinstance(node, tree.Scan)


_BRACED = (tree.If, tree.Repeat, tree.For, tree.Scan)

_EXPRESSIONS: dict[type, Callable[[_Printer, Any], Doc]] = {
    tree.Name: _Printer.name,
    tree.Number: _Printer.number,
    tree.String: lambda printer, node: printer.string(node.value),
    tree.Literal: _Printer.literal,
    tree.Tuple: _Printer.tuple_,
    tree.List: _Printer.list_,
    tree.Call: _Printer.call,
    tree.Ellipsis_: lambda printer, node: printer.word("..."),
    tree.Index: _Printer.index,
    tree.Attribute: _Printer.attribute,
    tree.Chain: _Printer.chain,
    tree.Unary: _Printer.unary,
    tree.Power: _Printer.power,
    tree.Range: _Printer.range_,
    tree.If: _Printer.if_,
    tree.Repeat: _Printer.repeat,
    tree.For: _Printer.for_,
    tree.Scan: _Printer.scan,
}
_STATEMENTS: dict[type, Callable[[_Printer, Any, Line | None], Row]] = {
    tree.Let: _Printer.let,
    tree.Decl: _Printer.decl,
    tree.Set: _Printer.set_,
    tree.Field: _Printer.field,
    tree.Section: _Printer.section,
    tree.Out: _Printer.out,
    tree.Assert: _Printer.assert_,
    tree.Use: _Printer.use,
    tree.Fn: _Printer.fn,
    tree.Block: _Printer.block,
}
