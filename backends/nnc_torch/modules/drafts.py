"""A place of the tree as the text of a class: what its `__init__` and its methods say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nnc.backend import error
from nnc.emit import Body, Dialect, Expr, Helper, Names, identifier, needed
from nnc.emit.expressions import dim_text, size_name
from nnc.emit.inputs import argument_name, bind_sizes, sizes_in
from nnc.emit.layout import string
from nnc.ir.graph import Graph, Node, Origin, Value
from nnc.ir.program import StateEntry
from nnc.ir.types import TensorType
from nnc_torch.host import UNSIGNED
from nnc_torch.modules.printer import ModulePrinter, Scope, Weight, own_place, registry
from nnc_torch.modules.rolling import Line, rolled
from nnc_torch.modules.tree import RESERVED, Branch, is_below, is_weight, outside, own_paths

#: makes the dialect of a method whose new arrays are where `device` says
DialectAt = Callable[[str], Dialect]


@dataclass
class Method:
    """`parameters` come after `self`, those that are arrays of `arguments` first."""

    name: str
    parameters: list[str]
    result: str
    arguments: list[TensorType]
    results: list[TensorType]
    lines: list[Line]
    place: str = ""

    @property
    def head(self) -> str:
        return f"def {self.name}({', '.join(['self', *self.parameters])}) -> {self.result}:"

    @property
    def names(self) -> list[str]:
        return [text.partition(":")[0] for text in self.parameters][: len(self.arguments)]


@dataclass
class Draft:
    """A class as one instance would have it."""

    branch: Branch
    wish: str
    init: list[Line]
    methods: list[Method]
    doc: str = ""

    @property
    def sections(self) -> list[list[Line]]:
        return [self.init, *(method.lines for method in self.methods)]


def draft(root: Branch, branch: Branch, made: Mapping[str, str], at: DialectAt, helper: Helper,
          used: Mapping[str, Origin]) -> Draft:  # fmt: skip
    """`made` says how each module below is constructed, `used` where each instance is called."""
    init = [(2, registered(branch, name, entry)) for name, entry in branch.weights.items()]
    init += [
        (2, f"{attribute(branch, name)} = {constructed(below, made)}")
        for name, below in branch.branches.items()
    ]
    methods = [
        method(root, branch, body, branch.method(body), at, helper, used.get(branch.path))
        for body in branch.bodies
    ]
    if branch.bodies:
        wish = branch.bodies[0].name
    else:
        wish = branch.path.rpartition(".")[2].title().replace("_", "")
    return Draft(branch, wish, init, methods)


# ---------------------------------------------------------------- __init__
def attribute(branch: Branch, name: str) -> str:
    """What `__init__` assigns to; NncError for what a module can hold in no way."""
    if name == "training":
        path = f"{branch.path}.{name}".lstrip(".")
        raise error(
            "E0903",
            f"the backend `torch` cannot name a weight `{path}`: PyTorch's modules keep there "
            "whether they are in training",
            help="give it another name",
        )
    if name in RESERVED or not name.isidentifier():
        return f"self{registry(branch, name)}[{string(name)}]"
    return f"self.{name}"


def registered(branch: Branch, name: str, entry: StateEntry) -> str:
    """The statement that makes a weight, without its value."""
    dims = ", ".join(map(dim_text, entry.type.shape)) or "()"
    made = f"torch.empty({dims}{dtype_option(entry.type)})"
    is_parameter = entry.kind == "param"
    if is_parameter:
        made = f"nn.Parameter({made})"
    target = attribute(branch, name)
    if is_parameter or target.endswith("]"):
        return f"{target} = {made}"
    return f"self.register_buffer({string(name)}, {made})"


def dtype_option(type: TensorType) -> str:
    names = {"f32": "", "f64": "float64", "f16": "float16", "bf16": "bfloat16"}
    name = names.get(type.dtype, type.dtype.replace("i", "int").replace("u", "uint"))
    return f", dtype=torch.{name}" if name else ""


def constructed(branch: Branch, made: Mapping[str, str]) -> str:
    """The expression that makes the module of a branch."""
    items = {name: constructed(b, made) for name, b in branch.branches.items()}
    if branch.is_list:
        texts = list(items.values())
        if len(texts) > 2 and len(set(texts)) == 1:
            return f"nn.ModuleList({texts[0]} for _ in range({len(texts)}))"
        return f"nn.ModuleList([{', '.join(texts)}])"
    if branch.is_numbered:
        pairs = (f"{string(name)}: {text}" for name, text in items.items())
        return f"nn.ModuleDict({{{', '.join(pairs)}}})"
    return made[branch.path]


# ---------------------------------------------------------------- methods
def method(root: Branch, branch: Branch, graph: Graph, name: str, at: DialectAt, helper: Helper,
           used_at: Origin | None) -> Method:  # fmt: skip
    """The method that computes `graph`, in which `branch.path` is `self`."""
    inputs = [graph.node(id) for id in graph.inputs]
    given = [node for node in inputs if not is_weight(node)]
    plain = at("")
    names = [argument_name(node.attrs["name"], plain) for node in given]
    dialect = at(f"{names[0]}.device" if names else "None")
    local = Names({*dialect.taken, *names, *map(size_name, sizes_in(graph))})
    beside = {
        path: local.new(identifier(path.rpartition(".")[2])) for path in outside(graph, branch.path)
    }
    scope = Scope(root, branch.path, beside, used_at)
    printer = ModulePrinter(graph, dialect, local, helper, Body(), 2, scope)
    printer.is_top = True
    for node, argument in zip(given, names, strict=True):
        is_counter = node.type.dtype in UNSIGNED and not node.type.rank
        printer.bind(Value(node.id), Expr(argument, weak=node.type.dtype if is_counter else ""))
    for value, path in own_paths(graph).items():
        is_known = is_below(path, branch.path) or path in beside
        printer.bind(value, Weight(scope.reference(path) if is_known else "", path=path))
    place = first_place(graph, used_at)
    printer.body.place = place
    targets = list(graph.outputs.values())
    nodes = needed(graph, targets)
    printer.count(nodes, targets)
    printer.print(nodes)
    text, hint = returned(printer, graph)
    depth, last = printer.body.lines[-1] if printer.body.lines else (0, "")
    if depth == 2 and last.startswith(f"{text} = "):
        printer.body.lines.pop()
        text = last.removeprefix(f"{text} = ")
    printer.body.add(2, f"return {text}")
    bind_sizes(printer, 0)
    modules = {below.path for below in root if below.bodies} if beside else set()
    parameters = [hinted(node, argument) for node, argument in zip(given, names, strict=True)]
    parameters += [
        f"{argument}: {'nn.Module' if path in modules else 'Tensor'}"
        for path, argument in beside.items()
    ]
    lines = rolled(printer.body.lines, lists_below(branch), words(printer.body.lines))
    types = [graph.type(value) for value in targets]
    return Method(name, parameters, hint, [node.type for node in given], types, lines, place)


def hinted(node: Node, argument: str) -> str:
    """A parameter with its type: an array, or a number that says which random words to draw."""
    if node.type.dtype not in UNSIGNED:
        return f"{argument}: Tensor"
    return f"{argument}: int" + (" = 0" if node.attrs["kind"] == "scalar" else "")


def returned(printer: ModulePrinter, graph: Graph) -> tuple[str, str]:
    """The result as text, and its type: an array, a tuple, or a dictionary for a record."""
    texts = [
        printer.fitted("return ", v, 2).removeprefix("return ") for v in graph.outputs.values()
    ]
    if len(texts) == 1:
        return texts[0], "Tensor"
    if all(name.isdigit() for name in graph.outputs):
        return ", ".join(texts), f"tuple[{', '.join(['Tensor'] * len(texts))}]"
    pairs = (f"{string(name)}: {text}" for name, text in zip(graph.outputs, texts, strict=True))
    return f"{{{', '.join(pairs)}}}", "dict[str, Tensor]"


def first_place(graph: Graph, used_at: Origin | None) -> str:
    """Where the block stands: the first line of its own file that the graph comes from."""
    places = [own_place(node, used_at) for node in graph if node.op != "input"]
    known = [place for place in places if place is not None]
    if not known:
        return ""
    file = known[-1].file
    return f"{file}:{min(place.line for place in known if place.file == file)}"


def lists_below(branch: Branch) -> dict[str, int]:
    """The module lists that are reached by attributes alone, with their lengths."""
    found: dict[str, int] = {}
    for name, below in branch.branches.items():
        if below.is_list:
            found[f".{name}"] = len(below.branches)
        elif not below.is_numbered:
            found |= {f".{name}{rest}": n for rest, n in lists_below(below).items()}
    return found


def words(lines: Sequence[Line]) -> set[str]:
    return {word for _, text in lines for word in text.replace(".", " ").split()}
