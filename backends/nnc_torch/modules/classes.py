"""The classes of the tree: one for all instances that differ in sizes alone.

Each place of the tree is drafted by itself.  Drafts whose texts differ in numbers alone, that are
sizes of weights, of arguments and results or of modules inside, are one class, whose parameters are
those numbers.  Modules inside come first, so that their construction is part of the text.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from nnc.emit import Helper
from nnc.emit.layout import INDENT, WIDTH, statement
from nnc.ir.graph import Graph, Origin
from nnc.ir.program import Forward, StateEntry
from nnc.ir.types import TensorType
from nnc_torch.modules.drafts import DialectAt, Draft, Method, draft, method
from nnc_torch.modules.rolling import Line
from nnc_torch.modules.tree import RESERVED, Branch, tree

Column = tuple[str, ...]  # what stands at one place in the text of each draft


@dataclass(frozen=True)
class Class:
    """A class of the file: its name and the parameters of its constructor."""

    name: str
    parameters: Mapping[Column, str]
    text: str


def class_texts(
    forwards: Sequence[Forward],
    state: Mapping[str, StateEntry],
    at: DialectAt,
    helper: Helper,
    methods: Mapping[str, str],
    doc: str,
) -> list[str]:
    """The classes in an order in which each stands after those it uses; `Model`, the root, last.

    `methods` names the root's method for each forward.
    """
    root = tree(forwards, state)
    used = {path: node for forward in forwards for path, node in call_places(forward.structured)}
    made: dict[str, str] = {}
    classes: dict[str, Class] = {}
    branches = [b for b in root if not b.is_numbered and b is not root]
    made |= {branch.path: "nn.Identity()" for branch in branches if branch.is_identity}
    branches = [branch for branch in branches if branch.path not in made]
    heights: dict[int, list[Branch]] = {}
    for branch in branches:
        heights.setdefault(branch.height, []).append(branch)
    for height in sorted(heights):
        drafts = [draft(root, branch, made, at, helper, used) for branch in heights[height]]
        for group in grouped(drafts):
            known = class_of(group, unused(group[0].wish, classes), classes)
            classes[known.name] = known
            for index, each in enumerate(group):
                values = ", ".join(column[index] for column in known.parameters)
                made[each.branch.path] = f"{known.name}({values})"
    model = draft(root, root, made, at, helper, used)
    model.methods = [
        method(root, root, f.structured, methods[f.name], at, helper, None) for f in forwards
    ]
    model.doc = doc
    return [*(each.text for each in classes.values()), class_of([model], "Model", classes).text]


def call_places(graph: Graph) -> Iterator[tuple[str, Origin]]:
    """Where the program applies each instance."""
    for node in graph:
        body = node.attrs.get("body")
        if body is not None:
            if node.origin and body.scope:
                yield body.scope, node.origin[0]
            yield from call_places(body)


def unused(wish: str, classes: Mapping[str, Class]) -> str:
    name, number = wish, 1
    while name in (*classes, "Model", "Tensor"):
        number += 1
        name = f"{wish}{number}"
    return name


# ---------------------------------------------------------------- which are alike
@dataclass(frozen=True)
class Number:
    """A number in a text: where it stands, and its own text."""

    start: int
    end: int
    text: str


def section_text(lines: Sequence[Line]) -> str:
    return "\n".join(INDENT * (depth - 2) + text for depth, text in lines)


@lru_cache(maxsize=1024)
def numbers(text: str) -> tuple[Number, ...]:
    """The numbers of `text` in order."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            assert node.end_col_offset is not None
            start, end = (
                starts[node.lineno - 1] + c for c in (node.col_offset, node.end_col_offset)
            )
            found.append(Number(start, end, text[start:end]))
    return tuple(sorted(found, key=lambda number: number.start))


def with_numbers(text: str, replacements: Sequence[str]) -> str:
    parts, end = [], 0
    for number, replacement in zip(numbers(text), replacements, strict=True):
        parts += [text[end : number.start], replacement]
        end = number.end
    return "".join([*parts, text[end:]])


def form(each: Draft) -> tuple[str, ...]:
    """What drafts of one class have in common: all but the numbers."""
    texts = [section_text(lines) for lines in each.sections]
    bare = (with_numbers(text, ["0"] * len(numbers(text))) for text in texts)
    return (each.wish, *(m.head for m in each.methods), *bare)


def columns(group: Sequence[Draft]) -> list[Column]:
    """The numbers of all drafts, place by place."""
    rows = [
        [number.text for lines in each.sections for number in numbers(section_text(lines))]
        for each in group
    ]
    return list(zip(*rows, strict=True))


def grouped(drafts: Sequence[Draft]) -> list[list[Draft]]:
    """Drafts that are one class together."""
    groups: dict[tuple[str, ...], list[Draft]] = {}
    for each in drafts:
        groups.setdefault(form(each), []).append(each)
    result: list[list[Draft]] = []
    for group in groups.values():
        sizes = size_columns(group)
        fixed = [
            column
            for column in columns(group)
            if len(set(column)) > 1 and column not in sizes and "." not in column[0]
        ]
        parts: dict[tuple[str, ...], list[Draft]] = {}
        for index, each in enumerate(group):
            parts.setdefault(tuple(column[index] for column in fixed), []).append(each)
        result += parts.values()
    return result


def size_columns(group: Sequence[Draft]) -> set[Column]:
    """The numbers that are sizes: in constructors, and in the types of arguments and results."""
    first = [len(numbers(section_text(each.init))) for each in group]
    found = set(columns(group)[: first[0]])
    for types in zip(*(signature(each) for each in group), strict=True):
        for axis in range(-min(type.rank for type in types), 0):
            found.add(tuple(str(type.shape[axis]) for type in types))
    return found


def signature(each: Draft) -> list[TensorType]:
    return [type for m in each.methods for type in (*m.arguments, *m.results)]


# ---------------------------------------------------------------- a class
def class_of(group: Sequence[Draft], name: str, classes: Mapping[str, Class]) -> Class:
    """The class for a group of drafts."""
    first = group[0]
    table = columns(group)
    parameters = parameter_names(group, table, classes)
    count = len(numbers(section_text(first.init)))
    init = filled(first.init, [parameters.get(c, c[0]) for c in table[:count]])
    used: dict[str, None] = {}
    texts: list[list[Line]] = []
    place = count
    for each in first.methods:
        here = len(numbers(section_text(each.lines)))
        row = table[place : place + here]
        used |= dict.fromkeys(parameters[c] for c in row if c in parameters)
        texts.append(
            filled(each.lines, [f"self.{parameters[c]}" if c in parameters else c[0] for c in row])
        )
        place += here
    init = [(2, f"self.{parameter} = {parameter}") for parameter in used] + init
    lines = [f"class {name}(nn.Module):"]
    lines += [INDENT + line for line in document(group, parameters)]
    if init:
        hints = [f"{p}: {'float' if '.' in c[0] else 'int'}" for c, p in parameters.items()]
        head = f"def __init__({', '.join(['self', *hints])}) -> None:"
        lines += ["", *statement(head, 1), f"{INDENT * 2}super().__init__()", *printed(init)]
    for each, body in zip(first.methods, texts, strict=True):
        lines += ["", *statement(each.head, 1)]
        if len(first.methods) > 1:
            lines.append(f'{INDENT * 2}"""{described(group, each, parameters)}."""')
        lines += printed(body)
    return Class(name, parameters, "\n".join(lines))


def filled(lines: Sequence[Line], replacements: Sequence[str]) -> list[Line]:
    text = with_numbers(section_text(lines), replacements)
    return [
        (depth, line.removeprefix(INDENT * (depth - 2)))
        for (depth, _), line in zip(lines, text.split("\n"), strict=bool(lines))
    ]


def printed(lines: Sequence[Line]) -> list[str]:
    result: list[str] = []
    for depth, text in lines:
        is_code = bool(text) and not text.startswith("#")
        result += statement(text, depth) if is_code else [(INDENT * depth + text).rstrip()]
    return result


def parameter_names(
    group: Sequence[Draft], table: Sequence[Column], classes: Mapping[str, Class]
) -> dict[Column, str]:
    """A name for each number that is not the same in all drafts."""
    known = known_names(group, classes)
    taken = {*RESERVED, *group[0].branch.weights, *group[0].branch.branches}
    parameters: dict[Column, str] = {}
    for column in table:
        if len(set(column)) > 1 and column not in parameters:
            wish = known.get(column, "scale" if "." in column[0] else "size")
            name, number = wish, 1
            while name in taken:
                number += 1
                name = f"{wish}_{number}"
            taken.add(name)
            parameters[column] = name
    return parameters


def known_names(group: Sequence[Draft], classes: Mapping[str, Class]) -> dict[Column, str]:
    """What numbers are called: by the last axes of argument and result, else as inside."""
    names: dict[Column, str] = {}
    for number, parameter in inner_parameters(group[0], classes):
        names.setdefault(columns(group)[number], parameter)
    methods = [each.methods[0] for each in group if each.methods]
    if methods and all(m.arguments and m.arguments[0].rank for m in methods):
        inputs = tuple(str(m.arguments[0].shape[-1]) for m in methods)
        outputs = tuple(str(m.results[0].shape[-1]) if m.results[0].rank else "" for m in methods)
        names |= {outputs: "outputs", inputs: "inputs"}
        if inputs == outputs:
            names[inputs] = "features"
    return names


def inner_parameters(each: Draft, classes: Mapping[str, Class]) -> Iterator[tuple[int, str]]:
    """The numbers in `__init__` that are arguments of classes: their places in order, and names."""
    text = section_text(each.init)
    starts = {(number.start): index for index, number in enumerate(numbers(text))}
    lines = [0]
    for line in text.split("\n"):
        lines.append(lines[-1] + len(line) + 1)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            known = classes.get(node.func.id)
            for argument, name in zip(
                node.args, known.parameters.values() if known else (), strict=False
            ):
                start = lines[argument.lineno - 1] + argument.col_offset
                if start in starts:
                    yield starts[start], name


# ---------------------------------------------------------------- docstrings
def document(group: Sequence[Draft], parameters: Mapping[Column, str]) -> list[str]:
    first = group[0]
    if first.doc:
        text = first.doc
    elif not first.methods:
        text = f"Weights of `{first.branch.path}`."
    elif len(first.methods) > 1:
        text = f"{first.wish}, for arguments of {len(first.methods)} shapes."
    else:
        text = f"{described(group, first.methods[0], parameters)}."
    if len(text) + 10 <= WIDTH:
        return [f'"""{text}"""']
    return split_document(text)


def split_document(text: str) -> list[str]:
    """A long signature, its result on a line of its own."""
    arguments, arrow, result = text.partition(" -> ")
    return [f'"""{arguments}', f"{arrow.strip()} {result}", '"""']


def described(group: Sequence[Draft], each: Method, parameters: Mapping[Column, str]) -> str:
    """`x: f32[N, inputs] -> f32[N, outputs] (std/layers.nn:9)`."""
    index = group[0].methods.index(each)
    methods = [draft.methods[index] for draft in group]
    arguments = [
        f"{name}: {type_text([m.arguments[i] for m in methods], parameters)}"
        for i, name in enumerate(each.names)
    ]
    results = [
        type_text([m.results[i] for m in methods], parameters) for i in range(len(each.results))
    ]
    text = f"{', '.join(arguments)} -> {', '.join(results)}".strip()
    return f"{text} ({each.place})" if each.place else text


def type_text(types: Sequence[TensorType], parameters: Mapping[Column, str]) -> str:
    """The type that all have in common: `_` for a size that differs, `...` for axes."""
    ranks = {type.rank for type in types}
    shown = types[0].rank if len(ranks) == 1 else min(ranks) - 1
    dims = ["..."] if len(ranks) > 1 else []
    for axis in range(-shown, 0):
        column = tuple(str(type.shape[axis]) for type in types)
        same = len(set(column)) == 1
        dims.append(column[0] if same else parameters.get(column, "_"))
    return types[0].dtype + (f"[{', '.join(dims)}]" if dims else "")
