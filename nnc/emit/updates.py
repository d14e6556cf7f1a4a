"""Updates of many parameters that are alike, as one loop over their paths.

An optimizer updates every parameter by the same formula.  Updates whose graphs have one form, with
only the parameter, its moments and its gradient exchanged, are printed once:

    gradients = {"net.dense_0.w": x.T @ d_h, ...}
    for path, grad in gradients.items(): ...
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from nnc.emit.expressions import Expr
from nnc.emit.function import Printer
from nnc.emit.layout import string
from nnc.emit.variables import variables_in
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.order import reads
from nnc.ops.registry import OPS

SHARED = ""  # the owner of what several parameters' updates read


@dataclass
class Member:
    """The update of one parameter, in the terms of its form."""

    path: str
    roles: dict[str, str]  # template of a state path -> the path
    outputs: dict[str, Value]  # template -> new value
    form: Hashable = None
    nodes: list[Node] = field(default_factory=list)
    holes: list[Value] = field(default_factory=list)
    state: dict[str, Value] = field(default_factory=dict)  # template -> old value, where read
    shared: list[Value] = field(default_factory=list)


@dataclass
class Loop:
    members: list[Member]

    @property
    def paths(self) -> set[str]:
        return {path for member in self.members for path in member.roles.values()}

    @property
    def shared(self) -> list[Value]:
        return self.members[0].shared


def shared_updates(graph: Graph, updates: Mapping[str, Value]) -> list[Loop]:
    """The loops that print at least two parameters' updates each."""
    members = group_by_parameter(updates)
    owners = exclusive_owners(graph, updates, members)
    groups: dict[Hashable, list[Member]] = {}
    for member in members:
        Form(graph, owners, member).find()
        if member.nodes and 1 <= len(member.holes) <= 2:
            groups.setdefault(member.form, []).append(member)
    return [Loop(group) for group in groups.values() if len(group) > 1]


def group_by_parameter(updates: Mapping[str, Value]) -> list[Member]:
    """The state paths of each parameter: its own, and `@opt/.../PATH` of its moments."""
    members = {
        path: Member(path, {"{path}": path}, {"{path}": value})
        for path, value in updates.items()
        if not path.startswith("@")
    }
    for path, value in updates.items():
        owner = next((p for p in _suffixes(path) if p in members), None)
        if path.startswith("@") and owner is not None:
            template = path.removesuffix(owner) + "{path}"
            members[owner].roles[template] = path
            members[owner].outputs[template] = value
    return list(members.values())


def _suffixes(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[i:]) for i in range(1, len(parts))]


def exclusive_owners(
    graph: Graph, updates: Mapping[str, Value], members: list[Member]
) -> dict[int, str]:
    """Node -> the only parameter whose update needs it, or SHARED."""
    owners: dict[int, str] = {}

    def claim(id: int, owner: str) -> None:
        owners[id] = owner if owners.get(id, owner) == owner else SHARED

    by_path = {path: member.path for member in members for path in member.roles.values()}
    for name, value in graph.outputs.items():
        claim(value.node, by_path.get(name, SHARED))
    for node in reversed(list(graph)):
        if node.id in owners:
            for value in node.operands:
                claim(value.node, owners[node.id])
    return owners


class Form:
    """The form of one member's update: its ops from the new values down to what is exchanged."""

    def __init__(self, graph: Graph, owners: Mapping[int, str], member: Member):
        self.graph = graph
        self.owners = owners
        self.member = member
        self.shape = graph.type(member.outputs["{path}"]).shape
        self.seen: dict[Value, int] = {}
        self.templates = {path: template for template, path in member.roles.items()}

    def find(self) -> None:
        """Fill in the member's form, nodes and leaves."""
        outputs = sorted(self.member.outputs.items())
        self.member.form = tuple((template, self.visit(value)) for template, value in outputs)

    def visit(self, value: Value) -> Hashable:
        if value in self.seen:
            return "again", self.seen[value]
        node = self.graph.producer(value)
        if node.op == "const" and not node.type.rank:
            return "const", node.type.dtype, repr(node.attrs["value"])
        self.seen[value] = len(self.seen)
        if node.op == "input" and node.attrs["name"] in self.templates:
            template = self.templates[node.attrs["name"]]
            self.member.state[template] = value
            return "state", template, node.type.dtype
        type = self.graph.type(value)
        if not type.rank and self.owners.get(node.id) != self.member.path:
            self.member.shared.append(value)
            return "shared", value
        if self.owners.get(node.id) != self.member.path or not self.is_alike(node):
            self.member.holes.append(value)
            return "hole", type.dtype
        children = tuple((r.axes == (), self.visit(r.value)) for r in reads(self.graph, node))
        self.member.nodes.append(node)
        return node.op, node.attrs.get("dtype"), children

    def is_alike(self, node: Node) -> bool:
        """Whether the text of `node` is the same for parameters of any shape."""
        if node.name == f"d_{self.member.path}":  # the gradient itself, which has its section
            return False
        if OPS[node.op].family != "elementwise" or node.type.shape not in (self.shape, ()):
            return False
        return all(
            read.axes in (None, ()) and self.graph.producer(read.value).op != "broadcast"
            for read in reads(self.graph, node)
        )


# ---------------------------------------------------------------- printing
def print_shared(printer: Printer, loops: Sequence[Loop]) -> None:
    """Give names to what several updates read."""
    for loop in loops:
        for value in loop.shared:
            if printer.read(value).size:
                printer.variable(value)


def print_loop(printer: Printer, loop: Loop) -> None:
    """A loop that gives each entry of the state its new value."""
    table, holes, inner = open_loop(printer, loop)
    first, body, depth = loop.members[0], printer.body, printer.depth
    target = holes[0] if len(holes) == 1 else f"({', '.join(holes)})"
    body.add(depth, f"for path, {target} in {table}.items():")
    for template, value in state_entries(first):
        name = printer.names.new(state_name(template))
        body.add(depth + 1, f"{name} = state[{state_key(template)}]")
        inner.bind(value, Expr(name))
        inner.take_over(value, first.outputs[template], first.nodes)
    inner.print(first.nodes)
    for template, value in first.outputs.items():
        if template != "{path}":
            body.add(depth + 1, f"state[{state_key(template)}] = {inner.explicit(value)}")
    body.add(depth + 1, inner.fitted("state[path] = ", first.outputs["{path}"], depth + 1))
    body.place = ""


def open_loop(printer: Printer, loop: Loop) -> tuple[str, list[str], Printer]:
    """What differs from parameter to parameter, printed as a table; a name for each part of an
    entry; and a printer of the loop's body, where these and numbers are bound.

    The name of the table comes first.
    """
    first = loop.members[0]
    body, names, depth = printer.body, printer.names, printer.depth
    table = names.new("gradients")
    body.add(depth, f"{table} = {hole_table(printer, loop)}")
    holes = [names.new(wish) for wish in ("grad", "other")[: len(first.holes)]]
    body.section("update")
    if first.nodes[-1].origin:
        places = (f"{origin.file}:{origin.line}" for origin in first.nodes[-1].origin)
        body.comment(depth, ", ".join(places))

    inner = printer.inside(printer.graph, 1)
    inner.commented = False
    inner.exprs = dict(printer.exprs)
    for name, value in zip(holes, first.holes, strict=True):
        inner.bind(value, Expr(name))
    inner.count(first.nodes, first.outputs.values())
    inner.nameless = {
        nodes[0].id
        for nodes in zip(*(member.nodes for member in loop.members), strict=True)
        if len({node.name for node in nodes}) > 1
    }
    for node in first.nodes:
        for read in reads(printer.graph, node):
            constant = printer.graph.producer(read.value)
            if constant.op == "const" and not constant.type.rank:
                number = constant.attrs["value"]
                inner.bind(read.value, printer.dialect.literal(number, constant.type.dtype))
    return table, holes, inner


def state_entries(member: Member) -> list[tuple[str, Value]]:
    """The entries that an update reads, by template, the parameter first."""
    return sorted(member.state.items(), key=lambda item: item[0] != "{path}")


def hole_table(printer: Printer, loop: Loop) -> str:
    """What differs from parameter to parameter, as a dictionary from paths."""
    pairs = [_entry(printer, member) for member in loop.members]
    return f"{{{', '.join(pairs)}}}"


def _entry(printer: Printer, member: Member) -> str:
    if len(member.holes) == 1:
        return printer.fitted(f"{string(member.path)}: ", member.holes[0], 2)
    texts = [printer.explicit(hole) for hole in member.holes]
    return f"{string(member.path)}: ({', '.join(texts)})"


def state_name(template: str) -> str:
    """What the entry is called in an update: `p`, or the name of a moment."""
    parts = template.split("/")
    return "p" if len(parts) == 1 else parts[-2]


def state_key(template: str) -> str:
    """The path of an entry in the terms of `path`, as Python."""
    return "path" if template == "{path}" else f'f"{template}"'


# ---------------------------------------------------------------- updates in place
VIEWS = ("reshape", "transpose", "slice", "broadcast", "reverse")


def settle_readers(printer: Printer, loops: Sequence[Loop], copy: str) -> None:
    """Compute now what would read an old parameter after it has been written to in place.

    `copy` is the method of an array that copies it.
    """
    graph = printer.graph
    old = {
        expr.text
        for value, expr in printer.exprs.items()
        if expr.is_name and is_view_of_state(graph, value)
    }
    looped = {path for loop in loops for path in loop.paths}
    waiting = [value for name, value in graph.outputs.items() if name not in looped]
    waiting += [hole for loop in loops for member in loop.members for hole in member.holes]
    for value in waiting:
        expr = printer.read(value)
        if is_view_of_state(graph, value):
            printer.bind(value, printer.dialect.method(expr, copy))
            printer.assign(value, printer.read(value))
        elif not expr.is_name and old.intersection(variables_in(expr.text)):
            printer.assign(value, expr)


def is_view_of_state(graph: Graph, value: Value) -> bool:
    """Whether `value` has its elements in an entry of the state."""
    node = graph.producer(value)
    while node.op in VIEWS:
        node = graph.producer(node.operands[0])
    return node.op == "input" and node.attrs["kind"] == "state"
