"""Finds Adam and AdamW in the formula of an update, for which PyTorch has a kernel.

The kernel reads and writes each array once; `torch._foreach_*` go over all of them eight times.
What is looked for (Kingma & Ba 2015; Loshchilov & Hutter 2019):

    m' = beta1 * m + (1 - beta1) * g,  v' = beta2 * v + (1 - beta2) * g * g
    p' = p - decay * p - rate * m' / (sqrt(v' / correction) + eps)

where g is the gradient, or the gradient times what clips all of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nnc.emit import MUL, Dialect, Expr, Printer, reads
from nnc.emit.updates import Member
from nnc.ir.graph import Value
from nnc_torch import kernels
from nnc_torch.terms import ONE, negative, plus, product


@dataclass
class Factors:
    """A product: its sign, arrays above and below the line, and numbers of the host."""

    above: Counter[Value] = field(default_factory=Counter)
    below: Counter[Value] = field(default_factory=Counter)
    factor: Expr | None = None
    divisor: Expr | None = None
    sign: int = 1

    def times(self, dialect: Dialect, other: Factors) -> Factors:
        return Factors(
            self.above + other.above,
            self.below + other.below,
            product(dialect, self.factor, other.factor),
            product(dialect, self.divisor, other.divisor),
            self.sign * other.sign,
        )

    @property
    def inverse(self) -> Factors:
        return Factors(self.below, self.above, self.divisor, self.factor, self.sign)

    @property
    def negative(self) -> Factors:
        return replace(self, sign=-self.sign)

    def is_only(self, value: Value) -> bool:
        """Whether it has no other array than `value`."""
        return self.above == Counter([value]) and not self.below

    def number(self, dialect: Dialect) -> Expr:
        """What stands before the arrays."""
        number = self.factor or ONE
        if self.divisor is not None:
            number = dialect.binary("/", MUL, number, self.divisor)
        return number if self.sign > 0 else negative(number)


@dataclass(frozen=True)
class Adam:
    """What was found; `m` and `v` are templates of the state."""

    m: str
    v: str
    beta1: float
    beta2: float
    rate: Expr
    eps: Expr
    correction: Expr | None
    decay: Expr | None
    scale: Value | None

    def call(self, printer: Printer, names: Mapping[str, str], grads: str) -> str:
        """The statement; `names` are the variables of the lists of the state."""
        options = {
            "betas": f"({self.beta1!r}, {self.beta2!r})",
            "rate": self.rate.text,
            "eps": self.eps.text,
        }
        if self.correction is not None:
            options["correction"] = self.correction.text
        if self.decay is not None:
            options["decay"] = self.decay.text
        if self.scale is not None:
            options["scale"] = printer.read(self.scale).text
        lists = [names["{path}"], grads, names[self.m], names[self.v]]
        texts = [*lists, *(f"{key}={text}" for key, text in options.items())]
        return f"{printer.helper(kernels.adam_)}({', '.join(texts)})"


def find(printer: Printer, member: Member) -> Adam | None:
    """The Adam that updates `member`, if one does."""
    if len(member.holes) != 1 or len(member.state) != 3 or len(member.outputs) != 3:
        return None
    return Search(printer, member).found()


class Search:
    """The look for Adam in one update."""

    def __init__(self, printer: Printer, member: Member):
        self.printer = printer
        self.graph = printer.graph
        self.dialect = printer.dialect
        self.old, self.new = member.state, member.outputs
        self.shared = set(member.shared)
        self.inner = {node.id for node in member.nodes}
        (self.grad,) = member.holes

    # ------------------------------------------------------------ formulas
    def number(self, value: Value) -> Expr | None:
        """A number of the host."""
        node = self.graph.producer(value)
        if self.graph.type(value).rank:
            return None
        if node.op == "const":
            return self.dialect.literal(node.attrs["value"], node.type.dtype)
        expr = self.printer.exprs.get(value)
        return expr if expr is not None and expr.weak else None

    def parts(self, value: Value, *ops: str) -> tuple[str, list[Value]] | None:
        """The op and operands that make `value`, where it is one of `ops` and only passes by."""
        node = self.graph.producer(value)
        if node.id not in self.inner or node.op not in ops:
            return None
        return node.op, [read.value for read in reads(self.graph, node)]

    def factors(self, value: Value) -> Factors:
        number = self.number(value)
        if number is not None:
            return Factors(factor=number)
        made = None if value in self.new.values() else self.parts(value, "mul", "div", "neg")
        if made is None:
            return Factors(Counter([value]))
        op, (first, *others) = made[0], map(self.factors, made[1])
        if op == "neg":
            return first.negative
        return first.times(self.dialect, others[0].inverse if op == "div" else others[0])

    def terms(self, value: Value) -> list[Factors]:
        """The terms of the sum that makes a new entry of the state."""
        made = self.parts(value, "add", "sub")
        if made is None:
            return [self.factors(value)]
        op, (left, right) = made
        sides = [
            [self.factors(side)] if side in self.new.values() else self.terms(side)
            for side in (left, right)
        ]
        return sides[0] + [term.negative if op == "sub" else term for term in sides[1]]

    # ------------------------------------------------------------ parts of Adam
    def found(self) -> Adam | None:
        moments = [template for template in self.old if template != "{path}"]
        types = {self.graph.type(value).dtype for value in (*self.old.values(), self.grad)}
        if types not in ({"f32"}, {"f64"}) or self.old.keys() != self.new.keys():
            return None
        for m, v in (moments, moments[::-1]):
            first, second = self.moment(m, 1), self.moment(v, 2)
            step = self.step(self.new[m], self.new[v])
            if first is not None and second is not None and step is not None:
                (beta1, once), (beta2, twice) = first, second
                if once + once == twice and len(once) < 2 and self.shared.issuperset(once):
                    return Adam(m, v, beta1, beta2, *step, next(iter(once), None))
        return None

    def moment(self, template: str, power: int) -> tuple[float, Counter[Value]] | None:
        """beta, and what scales the gradient, where `template` is the average of its `power`."""
        terms = self.terms(self.new[template])
        for kept, new in (terms, terms[::-1]) if len(terms) == 2 else ():
            beta, rest = (known(term.number(self.dialect)) for term in (kept, new))
            is_sum = kept.is_only(self.old[template]) and new.above[self.grad] == power
            if is_sum and not new.below and abs(1 - beta - rest) <= 1e-6 * rest:
                return beta, new.above - Counter({self.grad: power})
        return None

    def step(self, m: Value, v: Value) -> tuple[Expr, Expr, Expr | None, Expr | None] | None:
        """rate, eps, correction and decay of the new parameter."""
        terms = self.terms(self.new["{path}"])
        kept = [term for term in terms if term.is_only(self.old["{path}"])]
        moved = [term for term in terms if term not in kept]
        if not kept or len(moved) != 1 or moved[0].above != Counter([m]):
            return None
        below = list(moved[0].below.elements())
        root = self.root(below[0], v) if len(below) == 1 else None
        rate = moved[0].negative.number(self.dialect)
        return None if root is None else (rate, *root, self.decay(kept))

    def root(self, value: Value, v: Value) -> tuple[Expr, Expr | None] | None:
        """eps and the correction, where `value` is `sqrt(v / correction) + eps`."""
        sides = (self.parts(value, "add") or ("", []))[1]
        for side, other in zip(sides, sides[::-1], strict=True):
            eps, root = self.number(other), self.parts(side, "sqrt")
            if eps is not None and root is not None:
                inside = self.factors(root[1][0])
                if inside.is_only(v) and inside.factor is None and inside.sign > 0:
                    return eps, inside.divisor
        return None

    def decay(self, kept: list[Factors]) -> Expr | None:
        """What of the parameter is taken away: 1 less all numbers that it is multiplied with."""
        numbers = [term.number(self.dialect) for term in kept]
        lost = None if ONE in numbers else ONE
        for number in numbers:
            if number != ONE:
                lost = plus(self.dialect, lost, negative(number))
        return lost


def known(number: Expr) -> float:
    """The value of a number, nan for one that only the step knows."""
    try:
        return float(number.text)
    except ValueError:
        return math.nan
