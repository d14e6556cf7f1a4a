"""Reading the graph's text form (see `nnc.ir.text`) back.

A text is a file that someone may have edited: whatever is wrong with it is a `GraphError` with the
line.  Types are read, not inferred; `verify` says whether they are right.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import Any, NamedTuple, NoReturn

import numpy as np

from nnc.ir.dims import Dim, symbol
from nnc.ir.graph import Array, Graph, Origin, Value
from nnc.ir.types import DTYPES, NUMPY_DTYPES, TensorType
from nnc.ir.verify import GraphError

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<comment>\#[^\n]*)
  | (?P<string>"(?:[^"\\\n]|\\.)*")
  | (?P<id>%\d+)
  | (?P<float>\d+(?:\.\d*(?:[eE][-+]?\d+)?|[eE][-+]?\d+))
  | (?P<int>\d+)
  | (?P<name>[^\W\d][\w.]*)
  | (?P<mark>//|[-+*^(){}\[\],:=])
    """,
    re.VERBOSE,
)
_WORD = r'([\w./@-]+|"(?:[^"\\]|\\.)*")'
_ORIGIN = re.compile(rf"\s*{_WORD}:(\d+):(\d+)(?: {_WORD})?(?:,|$)")
_CONSTANTS = {"True": True, "False": False, "None": None, "inf": math.inf, "nan": math.nan}


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def parse_graph(text: str) -> Graph:
    """The graph that `print_graph` printed as `text`."""
    parser = _Parser(_tokens(text))
    graph = parser.graph()
    parser.expect("end")
    return graph


def _tokens(text: str) -> list[_Token]:
    tokens, at, line = [], 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise GraphError(f"line {line}: {text[at]!r} is not part of a graph's text")
        kind, word = str(match.lastgroup), match.group()
        if kind != "space":
            tokens.append(_Token(word if kind == "mark" else kind, word, line))
        line += word.count("\n")
        at = match.end()
    return [*tokens, _Token("end", "the end", line)]


class _Parser:
    """Recursive descent; a token's kind is its class, or itself for marks."""

    def __init__(self, tokens: list[_Token]):
        self.tokens = tokens
        self.at = 0

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    def accept(self, kind: str, text: str | None = None) -> _Token | None:
        token = self.next
        if token.kind != kind or (text is not None and token.text != text):
            return None
        self.at += 1
        return token

    def expect(self, kind: str, text: str | None = None) -> _Token:
        return self.accept(kind, text) or self.fail(f"expected {text or kind}")

    def fail(self, problem: str) -> NoReturn:
        raise GraphError(f"line {self.next.line}: {problem}, found {self.next.text!r}")

    def string(self) -> str:
        return str(json.loads(self.expect("string").text))

    # ------------------------------------------------------------ graphs and nodes
    def graph(self) -> Graph:
        self.expect("name", "graph")
        graph = Graph(self.string())
        self.expect("{")
        while self.next.kind == "id":
            self.node(graph)
        self.expect("name", "return")
        while self.next.kind == "string":
            name = self.string()
            self.expect("=")
            graph.outputs[name] = self.value(graph)
            if not self.accept(","):
                break
        self.expect("}")
        return graph

    def node(self, graph: Graph) -> None:
        id = self.new_id(graph)
        name = self.string() if self.next.kind == "string" else ""
        self.expect("=")
        op = self.expect("name").text
        self.expect("(")
        operands = []
        while self.next.kind == "id":
            operands.append(self.value(graph))
            if not self.accept(","):
                break
        self.expect(")")
        attrs = self.attributes() if self.accept("{") else {}
        self.expect(":")
        types = self.types()
        comment = self.accept("comment")
        origin = self.origins(comment) if comment else ()
        graph.insert(op, operands, attrs, types, name, origin, id)

    def new_id(self, graph: Graph) -> int:
        id = int(self.next.text[1:])
        if id in graph.nx:
            self.fail("a second node of one number")
        self.expect("id")
        return id

    def value(self, graph: Graph) -> Value:
        id = int(self.next.text[1:]) if self.next.kind == "id" else -1
        if id not in graph.nx:
            self.fail("expected a node defined above")
        self.expect("id")
        index = int(self.expect("int").text) if self.accept(":") else 0
        if index >= len(graph.node(id).types):
            self.fail(f"%{id} has no result {index}")
        return Value(id, index)

    def types(self) -> tuple[TensorType, ...]:
        if not self.accept("("):
            return (self.type(),)
        types = []
        while self.next.kind == "name":
            types.append(self.type())
            if not self.accept(","):
                break
        self.expect(")")
        return tuple(types)

    def type(self) -> TensorType:
        if self.next.text not in DTYPES:
            self.fail("expected an element type")
        dtype = self.expect("name").text
        shape: list[Dim] = []
        if self.accept("["):
            shape.append(self.sum())
            while self.accept(","):
                shape.append(self.sum())
            self.expect("]")
        return TensorType(dtype, tuple(shape))

    def origins(self, comment: _Token) -> tuple[Origin, ...]:
        found, at = [], 1
        while at < len(comment.text):
            match = _ORIGIN.match(comment.text, at)
            if match is None:
                raise GraphError(f"line {comment.line}: {comment.text!r} is not a list of places")
            file, line, column, scope = match.groups()
            found.append(Origin(_plain(file), int(line), int(column), _plain(scope or "")))
            at = match.end()
        return tuple(found)

    # ------------------------------------------------------------ attributes
    def attributes(self) -> dict[str, Any]:
        attrs = {}
        while self.next.kind == "name":
            key = self.expect("name").text
            self.expect("=")
            attrs[key] = self.sum()
            if not self.accept(","):
                break
        self.expect("}")
        return attrs

    def sum(self) -> Any:
        """Any attribute: values that are not numbers or dims are just never added."""
        total = -self.term() if self.accept("-") else self.term()
        while sign := self.accept("+") or self.accept("-"):
            total = total + self.term() if sign.kind == "+" else total - self.term()
        return total

    def term(self) -> Any:
        product = self.power()
        while sign := self.accept("*") or self.accept("//"):
            product = product * self.power() if sign.kind == "*" else product // self.power()
        return product

    def power(self) -> Any:
        base = self.primary()
        return base ** int(self.expect("int").text) if self.accept("^") else base

    def primary(self) -> Any:
        token = self.next
        if token.kind == "string":
            return self.string()
        if self.accept("int"):
            return int(token.text)
        if self.accept("float"):
            return float(token.text)
        if self.accept("("):
            return self.rest_of_brackets()
        if token.kind != "name":
            self.fail("expected a value")
        following = self.tokens[self.at + 1].kind
        if token.text == "graph" and following == "string":
            return self.graph()
        self.expect("name")
        if token.text == "array" and self.accept("("):
            return self.rest_of_array()
        return _CONSTANTS[token.text] if token.text in _CONSTANTS else symbol(token.text)

    def rest_of_brackets(self) -> Any:
        """A tuple if there is a comma or nothing, else a value in brackets."""
        items: list[Any] = []
        comma = None
        while self.next.kind != ")":
            items.append(self.sum())
            comma = self.accept(",")
            if not comma:
                break
        self.expect(")")
        return items[0] if len(items) == 1 and not comma else tuple(items)

    def rest_of_array(self) -> Array:
        type = self.type()
        elements = []
        while self.accept(","):
            elements.append(self.sum())
        try:
            element: Any = NUMPY_DTYPES[type.dtype]
            data: np.ndarray
            if len(elements) == 1 and isinstance(elements[0], str):
                data = np.frombuffer(base64.b64decode(elements[0], validate=True), element)
            else:
                data = np.array(elements, element)
            shape: Any = type.shape
            array = Array(data.reshape(shape))
        except (ValueError, TypeError, KeyError, OverflowError, binascii.Error) as fault:
            self.fail(f"no array of {type} ({fault})")
        self.expect(")")
        return array


def _plain(word: str) -> str:
    return str(json.loads(word)) if word.startswith('"') else word
