"""From the parser's reductions to the tree, one method per rule of the grammar.

The parser calls a method whenever it has completed a rule, so the tree grows from the leaves
without recursion, however deep it is.  Every token of a rule is among its children (also the
punctuation), therefore a node reaches from its first child to its last.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from nnc.language import tree
from nnc.language.diagnostics import Diagnostic
from nnc.language.tree import Source, Span

MAX_DIGITS = 400
_NUMBER = re.compile(r"([0-9_.]+(?:[eE][+-]?[0-9]+)?)(.*)")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}
LANGUAGE_VERSION = 1


class _Items(NamedTuple):
    """The elements between two brackets."""

    items: tuple[Any, ...]
    trailing_comma: bool


class _Group(NamedTuple):
    """Names, or a parameter list or body with its brackets."""

    items: tuple[Any, ...]
    span: Span


class Builder:
    """Holds what one parse needs: the source, its `##` comments, the faults found on the way."""

    def __init__(self) -> None:
        self.source = Source("", "")
        self.docs: dict[int, str] = {}
        self.faults: list[Diagnostic] = []

    # ------------------------------------------------------------ helpers
    def _token_span(self, token: Any) -> Span:
        return Span(self.source, token.start_pos, token.end_pos)

    def _span_of(self, child: Any) -> Span:
        return child.span if hasattr(child, "span") else self._token_span(child)

    def _span(self, children: list[Any]) -> Span:
        last = next(child for child in reversed(children) if child is not None)
        return self._span_of(children[0]).to(self._span_of(last))

    def _doc(self, span: Span) -> str:
        return self.docs.get(span.line - 1, "") if self.docs else ""

    def _fault(self, code: str, message: str, span: Span, help: str) -> None:
        self.faults.append(Diagnostic(code, message, span, help=help))

    # ------------------------------------------------------------ leaves
    def on_NAME(self, token: Any) -> tree.Name:
        return tree.Name(str(token), self._token_span(token))

    def on_NUMBER(self, token: Any) -> tree.Number:
        match = _NUMBER.fullmatch(str(token))
        assert match is not None
        digits, unit = match.groups()
        span = self._token_span(token)
        if len(digits) > MAX_DIGITS:
            self._fault("E0023", "a number with too many digits", span, "write it as `1e30`")
            digits = "0"
        plain = digits.replace("_", "")
        value = int(plain) if plain.isdigit() else float(plain)
        if value == float("inf"):
            self._fault("E0023", "a number too large for float64", span, "the largest is `1.7e308`")
        return tree.Number(value, unit, str(token), span)

    def on_STRING(self, token: Any) -> tree.String:
        span = self._token_span(token)

        def decode(match: re.Match[str]) -> str:
            if match[1] not in _ESCAPES:
                start = span.start + 1 + match.start()
                place = Span(self.source, start, start + 2)
                self._fault(
                    "E0022",
                    f"unknown escape `{match[0]}` in a string",
                    place,
                    'the escapes are `\\"`, `\\\\`, `\\n` and `\\t`; write `\\\\` for a backslash',
                )
            return _ESCAPES.get(match[1], match[1])

        return tree.String(_ESCAPE.sub(decode, str(token)[1:-1]), span)

    def on_TRUE(self, token: Any) -> tree.Literal:
        return tree.Literal(True, self._token_span(token))

    def on_FALSE(self, token: Any) -> tree.Literal:
        return tree.Literal(False, self._token_span(token))

    def on_NONE(self, token: Any) -> tree.Literal:
        return tree.Literal(None, self._token_span(token))

    def on_ELLIPSIS(self, token: Any) -> tree.Ellipsis_:
        return tree.Ellipsis_(self._token_span(token))

    # ------------------------------------------------------------ lists of things
    def on_names(self, c: list[Any]) -> _Group:
        return _Group(tuple(c[::2]), self._span(c))

    on_path = on_names

    def on_args(self, c: list[Any]) -> _Items:
        items = tuple(
            x if isinstance(x, tree.Argument) else tree.Argument("", x, x.span) for x in c[::2]
        )
        return _Items(items, len(c) > 0 and len(c) % 2 == 0)

    on_dims = on_args

    def on_kwarg(self, c: list[Any]) -> tree.Argument:
        key = c[0].id if isinstance(c[0], tree.Name) else str(c[0])
        return tree.Argument(key, c[2], self._span(c), self._span_of(c[0]))

    def on_params(self, c: list[Any]) -> _Group:
        return _Group(tuple(c[1:-1:2]), self._span(c))

    def on_param(self, c: list[Any]) -> tree.Parameter:
        return tree.Parameter(c[0].id, c[2], c[4], self._span(c), c[0].span)

    def on_body(self, c: list[Any]) -> _Group:
        return _Group(tuple(c[1:-1]), self._span(c))

    # ------------------------------------------------------------ types
    def on_tensor(self, c: list[Any]) -> tree.TensorTypeExpr:
        dims = None if c[2] is None else c[2].items
        return tree.TensorTypeExpr(c[0].id, dims, self._span(c))

    def on_record(self, c: list[Any]) -> tree.RecordTypeExpr:
        return tree.RecordTypeExpr(c[0].items, c[0].span)

    # ------------------------------------------------------------ expressions
    def _chain(self, kind: str, c: list[Any]) -> tree.Chain:
        rest = tuple(
            (tree.Operator(str(op), self._token_span(op)), x)
            for op, x in zip(c[1::2], c[2::2], strict=True)
        )
        return tree.Chain(kind, c[0], rest, self._span(c))

    def on_expr(self, c: list[Any]) -> tree.Chain:
        return self._chain("pipe", c)

    def on_disj(self, c: list[Any]) -> tree.Chain:
        return self._chain("or", c)

    def on_conj(self, c: list[Any]) -> tree.Chain:
        return self._chain("and", c)

    def on_cmp(self, c: list[Any]) -> tree.Chain:
        return self._chain("compare", c)

    def on_sum(self, c: list[Any]) -> tree.Chain:
        return self._chain("sum", c)

    def on_term(self, c: list[Any]) -> tree.Chain:
        return self._chain("term", c)

    def on_range(self, c: list[Any]) -> tree.Range:
        return tree.Range(c[0], c[2], self._span(c))

    def on_minus(self, c: list[Any]) -> tree.Unary:
        return tree.Unary(tree.Operator(str(c[0]), self._token_span(c[0])), c[1], self._span(c))

    on_not = on_minus

    def on_power(self, c: list[Any]) -> tree.Power:
        return tree.Power(
            c[0], c[2], tree.Operator(str(c[1]), self._token_span(c[1])), self._span(c)
        )

    def on_call(self, c: list[Any]) -> tree.Call:
        return tree.Call(c[0], c[2].items, self._span(c))

    def on_index(self, c: list[Any]) -> tree.Index:
        return tree.Index(c[0], c[2].items, self._span(c))

    def on_attr(self, c: list[Any]) -> tree.Attribute:
        name = c[2].id if isinstance(c[2], tree.Name) else str(c[2])
        return tree.Attribute(c[0], name, self._span(c), self._span_of(c[2]))

    def on_tuple(self, c: list[Any]) -> tree.Tuple:
        items = c[1].items
        is_one = len(items) == 1 and not items[0].name  # else a last comma says nothing
        return tree.Tuple(items, is_one and c[1].trailing_comma, self._span(c))

    def on_list(self, c: list[Any]) -> tree.List:
        return tree.List(c[1].items, self._span(c))

    def on_if(self, c: list[Any]) -> tree.If:
        # if cond { then } [else If | else { orelse }]
        present = [x for x in c if x is not None]
        orelse = None
        if len(present) > 5:
            orelse = present[6] if len(present) == 7 else present[7]
        return tree.If(present[1], present[3], orelse, self._span(present))

    def on_repeat(self, c: list[Any]) -> tree.Repeat:
        return tree.Repeat(c[1], c[3], self._span(c))

    def on_for(self, c: list[Any]) -> tree.For:
        return tree.For(c[1].items, c[3], c[5], self._span(c))

    def on_scan(self, c: list[Any]) -> tree.Scan:
        carries = tuple(x for x in c if isinstance(x, tree.Argument))
        return tree.Scan(c[1].items, c[3], c[5], carries, c[-1].items, self._span(c))

    # ------------------------------------------------------------ statements
    def on_let(self, c: list[Any]) -> tree.Let:
        span = self._span(c)
        return tree.Let(c[1].items, c[3], c[5], self._doc(span), span)

    def on_decl(self, c: list[Any]) -> tree.Decl:
        span = self._span(c)
        return tree.Decl(str(c[0]), c[1].id, c[3], c[5], c[7], self._doc(span), span, c[1].span)

    def on_set(self, c: list[Any]) -> tree.Set:
        return tree.Set(c[0].items, c[2], self._span(c))

    def on_field(self, c: list[Any]) -> tree.Field:
        return tree.Field(c[0].id, c[2], c[4], self._span(c), c[0].span)

    def on_out(self, c: list[Any]) -> tree.Out:
        return tree.Out(str(c[0]), c[1], self._span(c))

    def on_assert(self, c: list[Any]) -> tree.Assert:
        message = None if c[3] is None else c[3].value
        return tree.Assert(c[1], message, self._span(c))

    # ------------------------------------------------------------ items
    def on_use(self, c: list[Any]) -> tree.Use:
        path = c[1].value if isinstance(c[1], tree.String) else tuple(n.id for n in c[1].items)
        alias = c[3].id if c[3] is not None else ""
        names = c[5].items if c[5] is not None else ()
        return tree.Use(path, alias, names, self._span(c))

    def on_fn(self, c: list[Any]) -> tree.Fn:
        body = c[-1].items if isinstance(c[-1], _Group) else c[-1]
        span = self._span(c)
        return tree.Fn(c[1].id, c[2].items, c[4], body, self._doc(span), span, c[1].span)

    def on_block(self, c: list[Any]) -> tree.Block:
        body = c[-1].items if isinstance(c[-1], _Group) else c[-1]
        inputs = None if c[3] is None else c[3].items
        span = self._span(c)
        return tree.Block(
            str(c[0]), c[1].id, c[2].items, inputs, c[5], body, self._doc(span), span, c[1].span
        )

    def on_section(self, c: list[Any]) -> tree.Section:
        name, arguments = c[1], c[3]
        span = self._span(c)
        return tree.Section(
            kind=c[0].id,
            name="" if name is None else name.id,
            arguments=() if arguments is None else arguments.items,
            body=c[-1].items,
            doc=self._doc(span),
            span=span,
            kind_span=c[0].span,
            name_span=None if name is None else name.span,
        )

    def on_version(self, c: list[Any]) -> tree.Number:
        number: tree.Number = c[1]
        if number.text != str(LANGUAGE_VERSION):
            self._fault(
                "E0121",
                f"language version `{number.text}` is not known",
                number.span,
                f"this compiler reads `language {LANGUAGE_VERSION}`",
            )
        return number

    def on_start(self, c: list[Any]) -> tree.Program:
        version = int(c.pop(0).value) if c and isinstance(c[0], tree.Number) else None
        return tree.Program(self.source, version, tuple(c))

    def __getattr__(self, rule: str) -> Any:
        # The parser asks for a method by the name of its rule; some are Python's own words.
        try:
            return object.__getattribute__(self, "on_" + rule)
        except AttributeError:
            raise AttributeError(rule) from None
