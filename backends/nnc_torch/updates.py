"""Updates of many parameters at once, in place: `torch._foreach_*` on lists of them.

What an optimizer does to each parameter is a formula of lists (parameters, moments, gradients) and
numbers.  It is kept as a sum of terms `number * a`, `number * a * b` and `number * a / b` for as
long as it is one, since these are what the kernels add to a list: `add`, `addcmul`, `addcdiv`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nnc.emit import Dialect, Expr, Printer, reads, sources
from nnc.emit.updates import (
    Loop,
    Member,
    hole_table,
    print_loop,
    settle_readers,
    state_entries,
    state_key,
    state_name,
)
from nnc.ir.graph import Graph, Node, Value
from nnc_torch import adam
from nnc_torch.terms import (
    Sum,
    Term,
    Unsupported,
    addition,
    is_variable,
    merged,
    negative,
    plus,
    product,
    scaling,
)

#: functions of one list
UNARY_OPS = frozenset(
    {"abs", "ceil", "cos", "erf", "exp", "expm1", "floor", "log", "log1p", "round", "rsqrt"}
    | {"sigmoid", "sin", "sqrt", "tan", "tanh"}
)
#: functions of a list and a list or a number
BINARY_OPS = {
    "maximum": ("maximum", "clamp_min"),
    "minimum": ("minimum", "clamp_max"),
    "pow": ("pow", "pow"),
}


# ---------------------------------------------------------------- all loops of a step
def print_updates(printer: Printer, loops: Sequence[Loop]) -> bool:
    """Whether there is one among them that is a kernel for all of its parameters."""
    settle_readers(printer, loops, "clone")
    found = False
    for loop in loops:
        try:
            formula = Formula(printer, loop)
            formula.compute()
        except Unsupported:
            print_loop(printer, loop)
        else:
            formula.print()
            found |= formula.is_kernel
    return found


# ---------------------------------------------------------------- one loop
@dataclass
class Formula:
    """The update of the first parameter, whose form all of the loop share."""

    printer: Printer
    loop: Loop
    lines: list[str] = field(default_factory=list)
    values: dict[Value, Sum] = field(default_factory=dict)
    left: Counter[Value] = field(default_factory=Counter)  # readers that are still to come
    lists: dict[str, str] = field(default_factory=dict)  # variable of the state -> template
    fresh: set[str] = field(default_factory=set)  # lists made here
    is_kernel: bool = False

    @property
    def dialect(self) -> Dialect:
        return self.printer.dialect

    @property
    def graph(self) -> Graph:
        return self.printer.graph

    def compute(self) -> None:
        """The statements of the formula; Unsupported where it has others than these kernels'."""
        first = self.loop.members[0]
        self.name_lists(first)
        found = adam.find(self.printer, first)
        if found is not None:
            names = {template: name for name, template in self.lists.items()}
            self.lines.append(found.call(self.printer, names, self.holes[0]))
            self.results = names
            self.is_kernel = True
            return
        for node in first.nodes:
            self.left.update(sources(self.graph, node))
        self.left.update(first.outputs.values())
        for node in first.nodes:
            self.visit(node)
        self.results = {
            template: self.variable(self.values[value]) if value in self.values else self.lost()
            for template, value in first.outputs.items()
        }

    def name_lists(self, first: Member) -> None:
        """Names for the table, and for the lists that the formula begins with."""
        names = self.printer.names
        self.table = names.new("gradients")
        wishes = ("grads", "others")[: len(first.holes)]
        self.holes = [names.new(wish) for wish in wishes]
        for name, value in zip(self.holes, first.holes, strict=True):
            self.values[value] = Sum((Term(name),))
        self.shape = self.graph.type(first.outputs["{path}"]).shape
        for template, value in state_entries(first):
            name = names.new(state_name(template))
            self.lists[name] = template
            self.values[value] = Sum((Term(name),))

    def lost(self) -> str:
        raise Unsupported

    def visit(self, node: Node) -> None:
        value, first = Value(node.id), self.loop.members[0]
        if node.type.shape != self.shape:
            raise Unsupported  # a number of each parameter
        operands = [self.operand(read.value) for read in reads(self.graph, node)]
        for read in reads(self.graph, node):
            self.left[read.value] -= 1
        made = self.apply(node, operands)
        if value in first.outputs.values() or self.left[value] > 1:
            made = Sum((Term(self.list_of(made, node, value)),))
        self.values[value] = made

    def operand(self, value: Value) -> Sum | Expr:
        """A list, or a number of all parameters."""
        if value in self.values:
            return self.values[value]
        node = self.graph.producer(value)
        if node.op == "const" and not node.type.rank:
            return self.dialect.literal(node.attrs["value"], node.type.dtype)
        if node.type.rank or value not in self.printer.exprs:
            raise Unsupported
        return self.printer.read(value)

    # ------------------------------------------------------------ ops
    def apply(self, node: Node, operands: list[Sum | Expr]) -> Sum:
        if node.op == "neg":
            term = self.alone(operands[0], node)
            return Sum((replace(term, factor=negative(term.factor)),))
        if node.op in UNARY_OPS:
            return self.called(node.op, node, operands[0])
        if node.op in BINARY_OPS:
            with_list, with_number = BINARY_OPS[node.op]
            x, y = operands
            if isinstance(x, Expr) or (isinstance(y, Expr) and not y.weak):
                raise Unsupported
            if isinstance(y, Expr):
                return self.called(with_number, node, x, y.text)
            return self.called(with_list, node, x, self.name_of(y, node))
        if node.op in ("add", "sub", "mul", "div"):
            return getattr(self, node.op)(node, *operands)
        raise Unsupported

    def add(self, node: Node, x: Sum | Expr, y: Sum | Expr) -> Sum:
        if isinstance(x, Expr):
            x, y = y, x
        assert isinstance(x, Sum), "a list is one of the two"
        if isinstance(y, Sum):
            return Sum(
                merged(self.dialect, (*x.terms, *y.terms)), plus(self.dialect, x.number, y.number)
            )
        if not y.weak:
            return self.called("add", node, x, y.text)
        return Sum(x.terms, plus(self.dialect, x.number, y))

    def sub(self, node: Node, x: Sum | Expr, y: Sum | Expr) -> Sum:
        if isinstance(y, Expr):
            if not y.weak:
                raise Unsupported
            return self.add(node, x, negative(y))
        minus = Sum(
            tuple(replace(t, factor=negative(t.factor)) for t in y.terms),
            negative(y.number) if y.number else None,
        )
        return self.add(node, x, minus)

    def mul(self, node: Node, x: Sum | Expr, y: Sum | Expr) -> Sum:
        if isinstance(x, Expr):
            x, y = y, x
        if isinstance(y, Expr):
            if not y.weak:
                return self.called("mul", node, x, y.text)
            return self.times(self.alone(x, node), y)
        a, b = self.alone(x, node), self.alone(y, node)
        a, b = (self.simple(term, node) for term in (a, b))
        factor = product(self.dialect, a.factor, b.factor)
        divisor = product(self.dialect, a.divisor, b.divisor)
        return Sum((Term(a.a, b.a, False, factor, divisor),))

    def div(self, node: Node, x: Sum | Expr, y: Sum | Expr) -> Sum:
        if isinstance(x, Expr):
            if not x.weak:
                raise Unsupported
            inverse = self.called("reciprocal", node, y)
            return self.times(self.alone(inverse, node), x)
        if isinstance(y, Expr):
            if not y.weak:
                return self.called("div", node, x, y.text)
            term = self.alone(x, node)
            return Sum((replace(term, divisor=product(self.dialect, term.divisor, y)),))
        a = self.simple(self.alone(x, node), node)
        return Sum((replace(a, b=self.name_of(y, node), is_quotient=True),))

    def times(self, term: Term, number: Expr) -> Sum:
        return Sum((replace(term, factor=product(self.dialect, number, term.factor)),))

    # ------------------------------------------------------------ lists
    def alone(self, x: Sum | Expr, node: Node) -> Term:
        """`x` as one term."""
        assert isinstance(x, Sum), "the form has a list here"
        if len(x.terms) == 1 and x.number is None:
            return x.terms[0]
        return Term(self.list_of(x, node))

    def simple(self, term: Term, node: Node) -> Term:
        """`term` as a list times a number."""
        return term if not term.b else Term(self.list_of(Sum((term,)), node))

    def name_of(self, x: Sum | Expr, node: Node) -> str:
        assert isinstance(x, Sum), "the form has a list here"
        return self.variable(x) if is_variable(x) else self.list_of(x, node)

    def variable(self, x: Sum) -> str:
        if not is_variable(x):
            raise Unsupported
        return x.terms[0].a

    def called(self, function: str, node: Node, x: Sum | Expr, *rest: str) -> Sum:
        name = self.name_of(x, node)
        arguments = ", ".join([name, *rest])
        if self.is_free(name, Value(node.id)) and name not in rest:
            self.lines.append(f"torch._foreach_{function}_({arguments})")
            return Sum((Term(name),))
        return Sum((Term(self.made(node, f"torch._foreach_{function}({arguments})")),))

    def made(self, node: Node, text: str) -> str:
        name = self.printer.names.of(self.graph, node)
        self.lines.append(f"{name} = {text}")
        self.fresh.add(name)
        return name

    def is_free(self, name: str, new: Value) -> bool:
        """Whether the list `name` may be overwritten: nothing reads it any more.

        That is so of lists made here, and of an old entry of the state by the new one.
        """
        live = (x for value, x in self.values.items() if self.left[value] > 0)
        if any(name in x.names for x in live):
            return False
        outputs = self.loop.members[0].outputs
        return name in self.fresh or (name in self.lists and outputs.get(self.lists[name]) == new)

    def list_of(self, x: Sum, node: Node, new: Value | None = None) -> str:
        """The variable of a list that holds `x`, after the statements that compute it."""
        if is_variable(x) and x.terms[0].a not in (*self.lists, *self.holes):
            return x.terms[0].a
        new = new or Value(node.id)
        base, rest = self.base(x, new)
        others = {name for term in rest for name in term.names}
        if not base.b and base.a not in others and self.is_free(base.a, new):
            name = base.a
            self.scale(name, base)
        elif base.b:
            function = "div" if base.is_quotient else "mul"
            name = self.made(node, f"torch._foreach_{function}({base.a}, {base.b})")
            self.scale(name, base)
        elif base.is_scaled:
            name = self.made(node, f"torch._foreach_{scaling(self.dialect, base, '')}")
        elif rest:
            name = self.made(node, f"torch._foreach_{addition(self.dialect, base.a, rest[0], '')}")
            rest = rest[1:]
        elif x.number is not None:
            return self.made(node, f"torch._foreach_add({base.a}, {x.number.text})")
        else:
            return self.made(node, f"[each.clone() for each in {base.a}]")
        for term in rest:
            self.lines.append(f"torch._foreach_{addition(self.dialect, name, term, '_')}")
        if x.number is not None:
            self.lines.append(f"torch._foreach_add_({name}, {x.number.text})")
        return name

    def scale(self, name: str, term: Term) -> None:
        if term.is_scaled:
            self.lines.append(f"torch._foreach_{scaling(self.dialect, replace(term, a=name), '_')}")

    def base(self, x: Sum, new: Value) -> tuple[Term, list[Term]]:
        """The term that the others are added to: best one whose list may be overwritten."""
        terms = list(x.terms)
        best = max(
            range(len(terms)),
            key=lambda i: (
                not terms[i].b and self.is_free(terms[i].a, new),
                not terms[i].b and not terms[i].is_scaled,
                not terms[i].b,
                -i,
            ),
        )
        return terms.pop(best), terms

    # ------------------------------------------------------------ text
    def print(self) -> None:
        printer, first = self.printer, self.loop.members[0]
        body, depth = printer.body, printer.depth
        body.add(depth, f"{self.table} = {hole_table(printer, self.loop)}")
        body.section("update")
        if first.nodes[-1].origin:
            places = (f"{origin.file}:{origin.line}" for origin in first.nodes[-1].origin)
            body.comment(depth, ", ".join(places))
        if len(self.holes) == 1:
            body.add(depth, f"{self.holes[0]} = list({self.table}.values())")
        else:
            body.add(depth, f"{', '.join(self.holes)} = zip(*{self.table}.values(), strict=True)")
        for name, template in self.lists.items():
            body.add(depth, f"{name} = [state[{state_key(template)}] for path in {self.table}]")
        for line in self.lines:
            body.add(depth, line)
        for template, name in self.results.items():
            if self.lists.get(name) != template:
                body.add(depth, self.replaced(template, name))
        body.place = ""

    def replaced(self, template: str, name: str) -> str:
        """The statement that makes a new list the entries of the state."""
        if template == "{path}":
            return f"state |= zip({self.table}, {name}, strict=True)"
        pairs = f"for path, new in zip({self.table}, {name}, strict=True)"
        return f"state |= {{{state_key(template)}: new {pairs}}}"
