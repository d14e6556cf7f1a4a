"""`rearrange` and `einsum`: axes named in a string, with errors that point inside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from nnc.elaborate.calls import Site
from nnc.elaborate.functions.registry import builtin
from nnc.elaborate.values import TensorValue, describe, is_int
from nnc.ir.builder import Tensor
from nnc.ir.dims import Dim, equal, product
from nnc.language.diagnostics import NncError, error, suggest
from nnc.language.tree import Span


@dataclass(frozen=True)
class Axis:
    """A name in a pattern, with its place in the string."""

    name: str
    offset: int


Group = tuple[Axis, ...]  # one axis of the tensor: a name, or several in brackets


class Pattern:
    """A parsed string; `places` maps its characters to the source."""

    def __init__(self, site: Site, text: Any):
        self.site = site
        if not isinstance(text, str):
            raise site.wrong(
                "E0310", f"the pattern is a string; this is {describe(text)}", "pattern"
            )
        self.text = text

    def at(self, axis: Axis | int, message: str, help: str = "") -> NncError:
        offset = axis if isinstance(axis, int) else axis.offset
        length = 1 if isinstance(axis, int) else len(axis.name)
        whole = self.site.place("pattern")
        quote = whole.text.find('"')
        start = whole.start + quote + 1 + offset
        return error("E0327", message, Span(whole.source, start, start + length), help=help)

    def sides(self) -> tuple[str, str, int]:
        left, arrow, right = self.text.partition("->")
        if not arrow:
            raise self.at(len(self.text) - 1, "a pattern has the form `inputs -> output`")
        return left, right, len(left) + 2

    def groups(self, text: str, offset: int) -> list[Group]:
        found: list[Group] = []
        open_group: list[Axis] | None = None
        for token in re.finditer(r"[A-Za-z_]\w*|\.\.\.|1|\(|\)|\S", text):
            word, at = token.group(), offset + token.start()
            if word == "(" and open_group is None:
                open_group = []
            elif word == ")" and open_group is not None:
                found.append(tuple(open_group))
                open_group = None
            elif re.fullmatch(r"[A-Za-z_]\w*|\.\.\.|1", word):
                axis = Axis(word, at)
                if open_group is None:
                    found.append((axis,))
                else:
                    open_group.append(axis)
            else:
                raise self.at(at, f"`{word}` cannot stand here in a pattern")
        if open_group is not None:
            raise self.at(offset + text.rindex("("), "this bracket is not closed")
        return found


@builtin()
def rearrange(site: Site, x: TensorValue, pattern: str, **sizes: Any) -> TensorValue:
    """`rearrange(x, "n t (h d) -> n h t d", h = 4)`: split, reorder and join axes (einops)."""
    parsed = Pattern(site, pattern)
    left, right, offset = parsed.sides()
    inputs = _spread(parsed, parsed.groups(left, 0), x)
    outputs = _outputs(parsed, parsed.groups(right, offset), inputs)
    if len(inputs) != x.rank:
        raise parsed.at(0, f"the pattern has {len(inputs)} axes; this is {describe(x)}")
    known = _known_sizes(parsed, inputs, x, sizes)
    flat_in = [a for group in inputs for a in group if a.name != "1"]
    flat_out = [a for group in outputs for a in group if a.name != "1"]
    _same_axes(parsed, flat_in, flat_out)
    order = [[a.name for a in flat_in].index(a.name) for a in flat_out]
    with site.cx.at(site.span):
        tensor = x.tensor.reshape(tuple(known[a.name] for a in flat_in))
        tensor = tensor.transpose(tuple(order))
        tensor = tensor.reshape(
            tuple(product([known[a.name] for a in group if a.name != "1"]) for group in outputs)
        )
    labels = {
        group[0].name: name for group, name in zip(inputs, x.names, strict=True) if len(group) == 1
    }
    names = tuple(labels.get(g[0].name) if len(g) == 1 else None for g in outputs)
    return TensorValue(tensor, names)


def _spread(parsed: Pattern, groups: list[Group], x: TensorValue) -> list[Group]:
    """`...` replaced by as many axes as the tensor has there."""
    dots = [i for i, g in enumerate(groups) if g and g[0].name == "..."]
    if not dots:
        return groups
    count = max(x.rank - (len(groups) - 1), 0)
    at = groups[dots[0]][0].offset
    many: list[Group] = [(Axis(f"...{i}", at),) for i in range(count)]
    return groups[: dots[0]] + many + groups[dots[0] + 1 :]


def _outputs(parsed: Pattern, groups: list[Group], inputs: list[Group]) -> list[Group]:
    rest: list[Group] = [g for g in inputs if g and g[0].name.startswith("...")]
    found: list[Group] = []
    for group in groups:
        found.extend(rest if group and group[0].name == "..." else [group])
    return found


def _known_sizes(
    parsed: Pattern, inputs: list[Group], x: TensorValue, sizes: dict[str, Any]
) -> dict[str, Dim]:
    known: dict[str, Dim] = {}
    for name, value in sizes.items():
        if not is_int(value):
            raise parsed.site.wrong("E0307", f"`{name}` is a size; this is {describe(value)}")
        known[name] = value
    for group, size in zip(inputs, x.shape, strict=True):
        names = [a for a in group if a.name != "1"]
        open_axes = [a for a in names if a.name not in known]
        if len(open_axes) > 1:
            raise parsed.at(
                open_axes[1],
                f"give the size of `{open_axes[0].name}` or `{open_axes[1].name}`",
                help=f"`{open_axes[0].name} = ...`",
            )
        given = product([known[a.name] for a in names if a.name in known])
        if open_axes:
            if not equal(size % given, 0):
                raise parsed.at(open_axes[0], f"an axis of {size} is no multiple of {given}")
            known[open_axes[0].name] = size // given
        elif not equal(given, size):
            at = names[0] if names else (group[0] if group else 0)
            raise parsed.at(at, f"this axis has {size} elements, not {given}")
    return known


def _same_axes(parsed: Pattern, left: list[Axis], right: list[Axis]) -> None:
    names = [a.name for a in left]
    for side in (left, right):
        seen: set[str] = set()
        for axis in side:
            if axis.name in seen:
                raise parsed.at(axis, f"`{axis.name}` stands twice on one side")
            seen.add(axis.name)
    for axis in right:
        if axis.name not in names:
            raise parsed.at(axis, f"`{axis.name}` is not on the left", suggest(axis.name, names))
    for axis in left:
        if axis.name not in [a.name for a in right]:
            raise parsed.at(
                axis, f"`{axis.name}` is lost on the right", "`mean` and `sum` reduce axes"
            )


@builtin()
def einsum(site: Site, pattern: str, *tensors: Any) -> TensorValue:
    """`einsum("n i d, n j d -> n i j", a, b)`: products summed over axes missing on the right.

    `...` stands for any axes, the same in every input that has it.
    """
    parsed = Pattern(site, pattern)
    left, right, offset = parsed.sides()
    terms, begin = [], 0
    for part in left.split(","):
        terms.append(_term(parsed, part, begin))
        begin += len(part) + 1
    if len(terms) != len(tensors):
        raise parsed.at(0, f"the pattern has {len(terms)} inputs; {len(tensors)} are given")
    for value in tensors:
        if not isinstance(value, TensorValue):
            raise site.wrong("E0311", f"`einsum` of {describe(value)}")
    terms = [
        _dots(term, value.rank - len(term) + 1) for term, value in zip(terms, tensors, strict=True)
    ]
    free = max((sum(a.name.startswith("...") for a in term) for term in terms), default=0)
    output = _dots(_term(parsed, right, offset), free)
    operands, labels = _operands(parsed, terms, tensors)
    for axis in output:
        if not any(axis.name in names for names, _ in operands):
            raise parsed.at(axis, f"`{axis.name}` is not on the left")
    names = [a.name for a in output]
    with site.cx.at(site.span):
        current = operands[0]
        for i, other in enumerate(operands[1:], 1):
            later = {n for ns, _ in operands[i + 1 :] for n in ns}
            current = _contract(site, current, other, set(names) | later)
        has, tensor = _sum_away(current, set(names))
        tensor = tensor.transpose(tuple(has.index(n) for n in names))
    return TensorValue(tensor, tuple(labels.get(n) for n in names))


def _term(parsed: Pattern, text: str, offset: int) -> list[Axis]:
    """The axes of one input or of the output; `einsum` joins none."""
    groups = parsed.groups(text, offset)
    for group in groups:
        if len(group) != 1 or group[0].name == "1":
            at = group[0] if group else offset
            raise parsed.at(at, "`einsum` has plain axes; `rearrange` splits and joins them")
    return [group[0] for group in groups]


def _dots(term: list[Axis], count: int) -> list[Axis]:
    """`...` replaced by that many axes."""
    found: list[Axis] = []
    for axis in term:
        dots = axis.name == "..."
        found += [Axis(f"...{i}", axis.offset) for i in range(count)] if dots else [axis]
    return found


_Operand = tuple[list[str], Tensor]


def _operands(
    parsed: Pattern, terms: list[list[Axis]], tensors: tuple[Any, ...]
) -> tuple[list[_Operand], dict[str, str | None]]:
    sizes: dict[str, Dim] = {}
    labels: dict[str, str | None] = {}
    operands: list[_Operand] = []
    for term, value in zip(terms, tensors, strict=True):
        if len(term) != value.rank:
            raise parsed.at(term[0] if term else 0, f"{len(term)} axes for {describe(value)}")
        seen: set[str] = set()
        for axis, size, label in zip(term, value.shape, value.names, strict=True):
            if axis.name in seen:
                raise parsed.at(axis, f"`{axis.name}` stands twice in one input")
            seen.add(axis.name)
            if not equal(sizes.setdefault(axis.name, size), size):
                raise parsed.at(axis, f"`{axis.name}` is {sizes[axis.name]} and {size}")
            labels.setdefault(axis.name, label)
        operands.append(([a.name for a in term], value.tensor))
    return operands, labels


def _sum_away(operand: _Operand, wanted: set[str]) -> _Operand:
    names, tensor = operand
    axes = tuple(i for i, n in enumerate(names) if n not in wanted)
    return [n for n in names if n in wanted], tensor.sum(axes) if axes else tensor


def _contract(site: Site, a: _Operand, b: _Operand, wanted: set[str]) -> _Operand:
    shared = [n for n in a[0] if n in b[0]]
    a = _sum_away(a, wanted | set(shared))
    b = _sum_away(b, wanted | set(shared))
    batch = [n for n in shared if n in wanted]
    summed = [n for n in shared if n not in wanted]
    places = tuple(
        (tuple(a[0].index(n) for n in ns), tuple(b[0].index(n) for n in ns))
        for ns in (summed, batch)
    )
    tensor = site.emit("dot", a[1], b[1], contract=places[0], batch=places[1])
    rest = [n for n in a[0] if n not in shared] + [n for n in b[0] if n not in shared]
    return batch + rest, tensor
