"""The tree of modules: what instances a program's nets are made of, and where their weights are.

A path like `net.block_0.1.dense_0.w` names a weight by the instances that it lies in; a number is
an iteration of a loop.  Each instance that the nets call becomes a module, each iteration an entry
of a `ModuleList`, so that `state_dict()` has these paths as its keys.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from nnc.ir.graph import Graph, Node, Value
from nnc.ir.program import Forward, StateEntry
from nnc.ir.text import structural_text

#: attributes that modules have themselves
RESERVED = frozenset({*dir(nn.Module()), *keyword.kwlist})


@dataclass
class Branch:
    """A place in the tree: an instance, the iterations of a loop, or what leads to them."""

    path: str
    weights: dict[str, StateEntry] = field(default_factory=dict)
    branches: dict[str, Branch] = field(default_factory=dict)
    #: what the instance computes, one graph for each of the shapes that it is applied to
    bodies: list[Graph] = field(default_factory=list)

    @property
    def is_list(self) -> bool:
        """Whether the branches are iterations 0, 1, 2, ..."""
        return self.is_numbered and all(
            name == str(number) for number, name in enumerate(self.branches)
        )

    @property
    def is_numbered(self) -> bool:
        return (
            bool(self.branches)
            and not self.weights
            and not self.bodies
            and all(name.isdigit() or name == "*" for name in self.branches)
        )

    @property
    def is_identity(self) -> bool:
        """Whether the instance gives back its one argument, as dropout does in evaluation."""
        if self.weights or self.branches or len(self.bodies) != 1:
            return False
        (body,) = self.bodies
        return list(body.outputs.values()) == [Value(id) for id in body.inputs]

    @property
    def height(self) -> int:
        return 1 + max((branch.height for branch in self.branches.values()), default=-1)

    def __iter__(self) -> Iterator[Branch]:
        """This branch and all below it."""
        yield self
        for branch in self.branches.values():
            yield from branch

    def grow(self, path: str) -> Branch:
        """The branch at `path` below this one, which is the root."""
        found = self
        for name in path.split(".") if path else ():
            below = f"{found.path}.{name}" if found.path else name
            found = found.branches.setdefault(name, Branch(below))
        return found

    def number(self, body: Graph) -> int | None:
        """Which of the bodies is the same graph, None where none is."""
        same = [i for i, each in enumerate(self.bodies) if each is body]
        if not same and self.bodies:
            text = structural_text(body)
            same = [i for i, each in enumerate(self.bodies) if structural_text(each) == text]
        return same[0] if same else None

    def method(self, body: Graph) -> str:
        """The name of the method that computes `body`."""
        number = self.number(body)
        return f"forward_{number + 1}" if number else "forward"


def tree(forwards: Sequence[Forward], state: Mapping[str, StateEntry]) -> Branch:
    """All nets of a program; weights of nets that have no forward are left out."""
    root = Branch("")
    nets = {forward.name.partition(".")[0] for forward in forwards}
    for path, entry in state.items():
        parent, _, name = path.rpartition(".")
        if entry.kind in ("param", "buffer") and path.partition(".")[0] in nets:
            root.grow(parent).weights[name] = entry
    for forward in forwards:
        collect(root, forward.structured, own_paths(forward.structured))
    for branch in root:
        if branch.branches and all(name.isdigit() for name in branch.branches):
            branch.branches = dict(sorted(branch.branches.items(), key=lambda item: int(item[0])))
    return root


# ---------------------------------------------------------------- what a body reads
Paths = dict[Value, str]  # values that are weights: their paths


def is_weight(node: Node) -> bool:
    """Whether an input of a body is a weight; other captures have no path."""
    name, kind = node.attrs["name"], node.attrs["kind"]
    return kind == "state" or (kind == "capture" and "." in name)


def own_paths(graph: Graph) -> Paths:
    """The weights among the inputs of a net, or of an instance that has its own weights."""
    return {
        Value(id): graph.node(id).attrs["name"] for id in graph.inputs if is_weight(graph.node(id))
    }


def paths_inside(node: Node, paths: Paths) -> Paths:
    """The weights among the inputs of the body of `node`, which reads `paths` outside.

    What a loop has of a stack of weights is no weight itself.
    """
    body: Graph = node.attrs["body"]
    inputs, operands = [Value(id) for id in body.inputs], node.operands
    if node.op == "scan":
        sliced = node.attrs["carries"] + node.attrs["sequences"]
        inputs, operands = inputs[1 + sliced :], operands[sliced:]
    elif node.op == "on_gradient":
        return {}
    pairs = zip(inputs, operands, strict=True)
    return {port: paths[value] for port, value in pairs if value in paths}


def is_module_call(node: Node, paths: Paths) -> bool:
    """Whether `node` applies an instance to its own weights rather than to others."""
    if node.op != "call" or not node.attrs["body"].scope:
        return False
    body: Graph = node.attrs["body"]
    inside = paths_inside(node, paths)
    return own_paths(body) == inside


def collect(root: Branch, graph: Graph, paths: Paths) -> None:
    """Enter every instance that `graph` calls into the tree."""
    for node in graph:
        if "body" not in node.attrs:
            continue
        body: Graph = node.attrs["body"]
        if is_module_call(node, paths):
            branch = root.grow(body.scope)
            if branch.number(body) is None:
                branch.bodies.append(body)
        collect(root, body, paths_inside(node, paths))


def is_below(path: str, scope: str) -> bool:
    return not scope or path.startswith(f"{scope}.")


def outside(graph: Graph, scope: str, paths: Paths | None = None) -> list[str]:
    """Paths of the weights and instances that a body uses and that do not lie below `scope`.

    They come as arguments: a tied weight, an instance that was handed to the block.
    """
    paths = own_paths(graph) if paths is None else paths
    found: dict[str, None] = {}
    for node in graph:
        if is_module_call(node, paths):
            body: Graph = node.attrs["body"]
            used = [body.scope, *outside(body, body.scope)]
        elif "body" in node.attrs:
            used = outside(node.attrs["body"], scope, paths_inside(node, paths))
        else:
            used = [paths[value] for value in node.operands if value in paths]
        found |= dict.fromkeys(path for path in used if not is_below(path, scope))
    results = [paths[value] for value in graph.outputs.values() if value in paths]
    return list(found | dict.fromkeys(path for path in results if not is_below(path, scope)))
