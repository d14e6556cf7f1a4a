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
from nnc.language.alignment import Row, align
from nnc.language.comments import Comments, NoComments
from nnc.language.expressions import INDENT, ExpressionPrinter
from nnc.language.layout import WIDTH, Doc, Group, Line, Nest, flat, render


def print_program(program: tree.Program) -> str:
    """A tree as canonical text, with its documentation but no other comments."""
    return _Printer(NoComments()).program(program)


def print_with_comments(program: tree.Program) -> str:
    """A parsed program as canonical text, with all comments of its source."""
    return _Printer(Comments(program.source.text)).program(program)


def print_expression(node: tree.Expr) -> str:
    """An expression on one line, as messages and reports show it."""
    return flat(_Printer(NoComments()).expression(node))


class _Printer(ExpressionPrinter):
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
