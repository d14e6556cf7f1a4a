"""Whatever a program hands to a function or block of the library, it gets an answer or an error."""

from __future__ import annotations

import random

import numpy as np
import pytest

from nnc.doc import entries
from nnc.elaborate.functions import BUILTINS
from nnc.language.diagnostics import NncError
from tests.std.program import elaborate


def _words(text: str) -> list[str]:
    return text.split()


#: Arguments of every kind that a program can write, the likely ones often.
ARGUMENTS = _words("""
0 1 2 -1 3.5 true false none "same" "n d -> d n" "" [] [1,2] [2.5] (1,2) (a=1) 1..3 5epochs 30steps
x y i m z net relu Dense Dense(2) leaky_relu(0.2) {_} step training pi weights(net) x|>sum N
axis=0 axis=-1 axis=C axis=7 axis=none keep=true shape=[N,2] stride=2 size=2 std=0.1 low=-1 high=1
x[0] i|>max_pool ... step/2 steps normal normal_like(x) glorot_uniform [x,x] (x,x) {x} 10% f32(m)
""") + 12 * _words("x y i m z net 0.5 2 3")

ARRAYS: dict[str, np.ndarray] = {
    "x": np.ones((4, 3), "f4"), "y": np.arange(4, dtype="i4") % 3, "i": np.ones((2, 5, 5, 4), "f4"),
    "m": np.array([True, False, True, True]), "z": np.float32(2.0),
}  # fmt: skip

NAMES = sorted({e.name for e in entries() if e.place.startswith("std/")} | set(BUILTINS))


@pytest.mark.parametrize("name", NAMES)
def test_an_odd_call_is_an_error_in_the_users_terms(name: str) -> None:
    draw = random.Random(name)
    for _ in range(6):
        words = draw.choices(ARGUMENTS, k=draw.randint(0, 3))
        call = f"{name}({', '.join(words)})"
        form = draw.choice(["{}", "x |> {}", "i |> {}", "{}(x)", "{}(x, x)", "sum({} * x)"])
        body = f"let net = Dense(2)\nlet w = net(x)\nreturn {form.format(call)}"
        try:
            elaborate(body, ARRAYS, training=draw.random() < 0.5, free=draw.random() < 0.3)
        except NncError as failure:
            for fault in failure.diagnostics:
                assert fault.code.startswith("E")
                assert fault.span is None or fault.span.source.path == "program.nn", body
