"""Random programs as text, for laws that hold for all of them."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from nnc.language.faults import BINARY
from nnc.language.lexer import tokens

NAMES = ["a", "b", "x", "net", "Dense", "relu", "_", "loss", "digits"]
NUMBERS = ["0", "3", "200_000", "0.5", "1e-3", "10%", "5epochs", "1.5e3"]
names = st.sampled_from(NAMES)
atoms = st.one_of(
    names,
    st.sampled_from(NUMBERS),
    st.sampled_from(['"n t d"', '"a # no comment"', '"\\"q\\" \\\\ \\n"', "true", "none", "()"]),
)


def _joined(operators: list[str], parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    more = st.lists(st.tuples(st.sampled_from(operators), parts), min_size=1, max_size=4)
    return st.builds(
        lambda first, rest: first + "".join(f" {op} {x}" for op, x in rest), parts, more
    )


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    group = inner.map(lambda e: f"({e})")
    operand = st.one_of(atoms, group)
    argument = st.one_of(
        inner, st.builds("{} = {}".format, st.sampled_from(["a", "over", "long_name"]), inner)
    )
    arguments = st.lists(argument, max_size=4).map(", ".join)
    return st.one_of(
        group,
        _joined([" + ", " - "], operand),
        _joined(["*", "//", "%", "@"], operand),
        _joined(["and"], operand),
        _joined(["or"], operand),
        _joined(["|>"], st.one_of(operand, st.builds("{}({})".format, names, arguments))),
        st.builds("{} |> repeat {} {{ {} }} |> {}".format, names, operand, inner, names),
        st.builds("{} == {}".format, operand, operand),
        st.builds("{}..{}".format, operand, operand),
        st.builds("-{}^{}".format, operand, operand),
        st.builds("not {}".format, operand),
        st.builds("{}({})".format, names, arguments),
        st.builds(
            "{}[{}]".format, names, st.sampled_from(["0", "T = 0..8", "..., -1", ":".join("")])
        ),
        st.builds("{}.{}".format, names, st.sampled_from(["table", "model", "x"])),
        st.builds("({},)".format, inner),
        st.builds("[{}]".format, arguments),
        st.builds("if {} {{ {} }} else {{ {} }}".format, operand, inner, inner),
        st.builds(
            "if {} {{ {} }} else {{ if a {{ {} }} else {{ b }} }}".format, operand, inner, inner
        ),
        st.builds("if {} {{ {} }} else if a {{ {} }}".format, operand, inner, inner),
        st.builds("for a, b in {} {{ {} }}".format, operand, inner),
        st.builds(
            "scan a in {} over T with h = {} {{\nh = {}\nyield a\n}}".format,
            operand,
            operand,
            inner,
        ),
    )


expressions = st.recursive(atoms, _compound, max_leaves=12)
types = st.sampled_from(
    ["f32", "int", "f32[...]", "f32[N, T = 64]", "i32[N, H // 2, _]", "(a: f32, b: i32[N])"]
)

statements = st.one_of(
    st.builds("let {} = {}".format, names, expressions),
    st.builds("let a, b: {} = {}".format, types, expressions),
    st.builds("{} = {}".format, names, expressions),
    st.builds("param {}: {} = {}".format, names, types, expressions),
    st.builds("buffer {}: {}".format, names, types),
    st.builds("{}: {} = {}".format, names, types, expressions),
    st.builds("return {}".format, expressions),
    st.builds('assert {}, "why"'.format, expressions),
    st.builds("step {}(times = {}) {{ loss = {} }}".format, names, expressions, expressions),
)
bodies = st.lists(statements, max_size=5).map(lambda s: "{\n" + "\n".join(s) + "\n}")
items = st.one_of(
    st.builds("config {}: int = {} in {}".format, names, expressions, expressions),
    st.builds("let {} = {}".format, names, expressions),
    st.builds(
        "fn {}({}: {} = {}) -> {} = {}".format, names, names, types, expressions, types, expressions
    ),
    st.builds("block {}(a: int, b: f32)(x: {}) -> {} {}".format, names, types, types, bodies),
    st.builds("train {} {}".format, names, bodies),
    st.sampled_from(["use std.layers (Dense)", 'use "other.nn" as other']),
)


@st.composite
def programs(draw: st.DrawFn) -> str:
    """A program whose lines have comments and empty lines in any place that allows them."""
    text = "\n\n".join(draw(st.lists(items, min_size=1, max_size=4)))
    lines: list[str] = []
    for line in text.split("\n"):
        lines += draw(st.sampled_from([[], [], [], [""], ["# own"], ["", "  ## doc", ""]]))
        lines.append(line + draw(st.sampled_from(["", "", "", "  # behind", "#close"])))
    return "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n# end"]))


def commented(text: str, seed: int) -> str:
    """A program with comments between any of its tokens where a line may end."""
    random = Random(seed)
    out, before = "", None
    for token in tokens(text):
        gap = "" if before is None else text[before.end : token.start]
        may_end = before is not None and before.kind != "comment" and before.text not in BINARY
        if may_end and "\n" not in gap and random.random() < 0.15:
            gap = random.choice([" # here\n", "\n# above\n", " # one\n\n  # two\n"])
        out += gap + token.text
        before = token
    return out
