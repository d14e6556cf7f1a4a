"""Names of places: `net.dense_0.w` (semantics 10).

The place of an instance is its `let` name, else the snake_case name of its block with a number by
textual order in its body.  Numbers are taken from the text, untaken branches included, so they do
not depend on static arguments.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nnc.language import tree
from nnc.language.walk import walk

if TYPE_CHECKING:
    from nnc.elaborate.layers import Layers
    from nnc.elaborate.values import Template


def snake_case(name: str) -> str:
    """`BatchNorm` -> `batch_norm`, `LSTMCell` -> `lstm_cell`, `Conv2D` -> `conv2d`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return words.lower()


def is_camel_case(name: str) -> bool:
    return name[:1].isupper()


def place_names(body: Any) -> dict[int, tuple[str, str]]:
    """For each static call in `body` (by its offset): its name in the body and inside its `let`."""
    cached = _CACHE.get(id(body))
    if cached is None or cached[0] is not body:
        statements = isinstance(body, tuple)
        names = _of_statements(body) if statements else _of_expression(body)
        cached = _CACHE[id(body)] = (body, names)
    return cached[1]


# By identity: equal texts at different places are equal trees, but have other offsets.
_CACHE: dict[int, tuple[Any, dict[int, tuple[str, str]]]] = {}


def _of_expression(body: tree.Expr) -> dict[int, tuple[str, str]]:
    return {offset: (name, name) for offset, name in _numbered(body).items()}


def _of_statements(body: tuple[tree.Statement, ...]) -> dict[int, tuple[str, str]]:
    counts: dict[str, int] = {}
    names: dict[int, tuple[str, str]] = {}
    for statement in body:
        inner = _numbered(statement)
        for offset in inner:
            base = inner[offset].rsplit("_", 1)[0]
            names[offset] = (f"{base}_{counts.get(base, 0)}", inner[offset])
            counts[base] = counts.get(base, 0) + 1
    return names


def _numbered(root: Any) -> dict[int, str]:
    counts: dict[str, int] = {}
    calls = [n for n in walk(root) if isinstance(n, tree.Call) and _callee(n)]
    names: dict[int, str] = {}
    for call in sorted(calls, key=lambda n: n.span.start):
        base = snake_case(_callee(call))
        names[call.span.start] = f"{base}_{counts.get(base, 0)}"
        counts[base] = counts.get(base, 0) + 1
    return names


def _callee(call: tree.Call) -> str:
    """The block's name where `call` is the static call of one (`Dense(3)`, `lib.Dense(3)`)."""
    function = call.function
    if isinstance(function, tree.Name) and is_camel_case(function.id):
        return function.id
    if isinstance(function, tree.Attribute) and is_camel_case(function.name):
        return function.name
    return ""


class Naming:
    """Names the places of one body, below `prefix`; a `fn` owns none.

    `names` gives for each static call, by its offset, its name in the body and inside its `let`.
    Which of the two holds shows only after the `let` is evaluated: where its value is a stage,
    `active` is set and the places stand below the `let`'s name.  The prefix may be an instance
    whose own name is not known yet; `stacks` are what the stars in it stand for.
    """

    def __init__(
        self,
        prefix: str | Template,
        names: dict[int, tuple[str, str]],
        let: str = "",
        owns: bool = True,
        stacks: tuple[Layers, ...] = (),
    ):
        self.prefix = prefix
        self.names = names
        self.let = let
        self.owns = owns
        self.stacks = stacks
        self.active = False

    def within(self, let: str) -> Naming:
        """For the value of `let NAME = ...` in the same body."""
        return Naming(self.prefix, self.names, let, self.owns, self.stacks)

    def path(self, place: tuple[str, str], iteration: tuple[Any, ...] = ()) -> str:
        in_body, in_let = place
        name = f"{self.let}.{in_let}" if self.active else in_body
        suffix = "".join(f".{i}" for i in iteration)
        prefix = self.prefix if isinstance(self.prefix, str) else self.prefix.path
        return f"{prefix}.{name}{suffix}" if prefix else name + suffix
