"""Algebraic rules as data: `pattern -> replacement`, written as Python expressions.

Names stand for any value (the same name twice for the same value), numbers for a constant or a
broadcast constant.  A rule is here only if it holds to the bit for every float, infinities, nans
and signed zeros included; so `x + 0.0` stays (it turns -0.0 into 0.0), and so does `x ** 0.5` (it
is +inf at -inf, where sqrt is nan).  One exception: `x ** 2` becomes `x * x`, which rounds once
where `pow` may be off by a unit in the last place.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.types import TensorType
from nnc.passes.common import COMMUTATIVE
from nnc.passes.fold_constants import is_constant, splat


def is_integer(type: TensorType) -> bool:
    return not type.is_float and type.dtype != "bool"


#: (pattern, replacement) or (pattern, replacement, condition on the type of the result)
ALGEBRA: tuple[tuple[Any, ...], ...] = (
    # signs
    ("-(-x)", "x"),
    ("x + -y", "x - y"),
    ("x - -y", "x + y"),
    ("-x * -y", "x * y"),
    ("-x * y", "-(x * y)"),
    ("x * -y", "-(x * y)"),
    ("-x / -y", "x / y"),
    ("-x / y", "-(x / y)"),
    ("x / -y", "-(x / y)"),
    ("abs(-x)", "abs(x)"),
    ("abs(abs(x))", "abs(x)"),
    # neutral elements
    ("x * 1", "x"),
    ("x * -1", "-x"),
    ("x / 1", "x"),
    ("x / -1", "-x"),
    ("x - 0", "x"),
    ("x + -0.0", "x"),
    ("x + 0", "x", is_integer),
    ("x * 0", "0", is_integer),
    ("x // 1", "x", is_integer),
    # powers
    ("x ** 0", "1"),
    ("x ** 1", "x"),
    ("x ** 2", "x * x"),
    ("x ** -1", "1 / x", lambda type: type.is_float),
    # logic
    ("not (not x)", "x"),
    ("not x == y", "x != y"),
    ("not x != y", "x == y"),
    ("x & x", "x"),
    ("x | x", "x"),
    ("x & True", "x"),
    ("x & False", "False"),
    ("x | False", "x"),
    ("x | True", "True"),
    # choice
    ("where(True, x, y)", "x"),
    ("where(False, x, y)", "y"),
    ("where(c, x, x)", "x"),
    ("where(not c, x, y)", "where(c, y, x)"),
    ("where(c, where(d, x, y), y)", "where(c & d, x, y)"),
    ("where(c, where(c, x, y), z)", "where(c, x, z)"),
    ("where(c, x, where(c, y, z))", "where(c, x, z)"),
    ("maximum(x, x)", "x"),
    ("minimum(x, x)", "x"),
)

_OPERATORS: dict[type, str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.FloorDiv: "floordiv",
    ast.Pow: "pow", ast.USub: "neg", ast.Not: "not", ast.BitAnd: "and", ast.BitOr: "or",
    ast.Eq: "eq", ast.NotEq: "ne",
}  # fmt: skip


@dataclass(frozen=True)
class Apply:
    op: str
    operands: tuple[Pattern, ...]


@dataclass(frozen=True)
class Number:
    value: bool | int | float


Pattern = str | Number | Apply
Bindings = dict[str, Value]
Operands = tuple[Value, ...]


@dataclass(frozen=True)
class Rule:
    pattern: Apply
    replacement: Pattern
    condition: Callable[[TensorType], bool] | None = None

    @cached_property
    def asked(self) -> frozenset[str]:
        """What some operands must be made by for this rule to match."""
        made = {pattern.op for pattern in self.pattern.operands if isinstance(pattern, Apply)}
        is_number = any(isinstance(pattern, Number) for pattern in self.pattern.operands)
        return frozenset(made | {"const"} if is_number else made)

    def apply(self, builder: Builder, node: Node, operands: Operands) -> Tensor | None:
        """What takes the place of `node`, or None where the rule does not match `operands`."""
        if self.condition is not None and not self.condition(node.type):
            return None
        bindings: Bindings = {}
        if not _match_all(builder.graph, operands, self.pattern.operands, bindings):
            return None
        return build(builder, self.replacement, bindings, node.type)


def rewrite(builder: Builder, node: Node) -> Tensor | None:
    """What takes the place of `node` by the first rule; operands may change places if need be."""
    graph = builder.graph
    made = {graph.producer(value).op for value in node.operands}
    if any(is_constant(graph, value) for value in node.operands):
        made.add("const")
    rules = [rule for rule in RULES.get(node.op, ()) if rule.asked <= made]
    if not rules:
        return None
    for operands in (node.operands, node.operands[::-1])[: 1 + (node.op in COMMUTATIVE)]:
        for rule in rules:
            result = rule.apply(builder, node, operands)
            if result is not None:
                return result
    return None


def parse(text: str) -> Pattern:
    return _pattern(ast.parse(text, mode="eval").body)


def _pattern(tree: ast.expr) -> Pattern:
    match tree:
        case ast.Name(id=name):
            return name
        case ast.Constant(value=bool() | int() | float() as value):
            return Number(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return Number(-value)
        case ast.UnaryOp(op=op, operand=x):
            return Apply(_OPERATORS[type(op)], (_pattern(x),))
        case ast.BinOp(left=x, op=op, right=y):
            return Apply(_OPERATORS[type(op)], (_pattern(x), _pattern(y)))
        case ast.Compare(left=x, ops=[op], comparators=[y]):
            return Apply(_OPERATORS[type(op)], (_pattern(x), _pattern(y)))
        case ast.Call(func=ast.Name(id=name), args=args):
            return Apply(name, tuple(map(_pattern, args)))
    raise ValueError(f"not a pattern: {ast.unparse(tree)}")


def _match_all(
    graph: Graph, values: tuple[Value, ...], patterns: tuple[Pattern, ...], bindings: Bindings
) -> bool:
    for value, pattern in zip(values, patterns, strict=True):
        if not _match(graph, value, pattern, bindings):
            return False
    return True


def _match(graph: Graph, value: Value, pattern: Pattern, bindings: Bindings) -> bool:
    if isinstance(pattern, str):
        return _is_same(graph, bindings.setdefault(pattern, value), value)
    if isinstance(pattern, Number):
        return _is_number(graph, value, pattern.value)
    node = graph.producer(value)
    return node.op == pattern.op and _match_all(graph, node.operands, pattern.operands, bindings)


def _is_same(graph: Graph, a: Value, b: Value) -> bool:
    """Whether two values are one, or are the same constant everywhere."""
    if a == b:
        return True
    if not is_constant(graph, a) or not is_constant(graph, b):
        return False
    x, y = splat(graph, a), splat(graph, b)
    if x is None or y is None or graph.type(a) != graph.type(b):
        return False
    return x.tobytes() == y.tobytes()


def _is_number(graph: Graph, value: Value, number: bool | int | float) -> bool:
    """Whether `value` is the constant `number` everywhere; 0.0 and -0.0 are two numbers."""
    scalar = splat(graph, value)
    if scalar is None or isinstance(number, bool) != (scalar.dtype == bool) or scalar != number:
        return False
    return bool(number) or str(float(scalar)) == str(float(number)) or scalar.dtype.kind in "iub"


def build(builder: Builder, pattern: Pattern, bindings: Bindings, type: TensorType) -> Tensor:
    """`pattern` as nodes; `type` is that of the result, and of the numbers in it."""
    if isinstance(pattern, str):
        return builder.tensor(bindings[pattern])
    if isinstance(pattern, Number):
        value = float(pattern.value) if type.is_float else pattern.value
        return builder.full(value, type.dtype, type.shape)
    operands = []
    for index, operand in enumerate(pattern.operands):
        condition = pattern.op == "where" and index == 0
        of = type.with_dtype("bool") if condition else type
        operands.append(build(builder, operand, bindings, of))
    result: Tensor = builder.emit(pattern.op, *operands)
    return result


def _by_op() -> dict[str, list[Rule]]:
    rules: dict[str, list[Rule]] = {}
    for text, replacement, *condition in ALGEBRA:
        pattern = parse(text)
        assert isinstance(pattern, Apply), text
        rules.setdefault(pattern.op, []).append(Rule(pattern, parse(replacement), *condition))
    return rules


RULES = _by_op()
