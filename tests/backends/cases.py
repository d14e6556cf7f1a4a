"""Small uses of every op: those whose gradients are tested, and here those that have none."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from nnc.ir.graph import Array
from tests.gradcheck import Case, normal

FAMILIES = ("control", "creation", "elementwise", "index", "linalg", "nn", "reduce", "shape")

X = normal(3, 4)
INTS = np.array([[7, -8, 0], [3, 2, -1]], np.int32)
SMALL = np.array([[1, 2, 3], [3, 2, 1]], np.int32)
TRUE = np.array([[True, False, True], [False, False, True]])
COUNTERS = tuple(np.asarray(n, np.uint64) for n in (7, 3, 1, 5))

WITHOUT_GRADIENT = [
    *(Case(op, (INTS, SMALL)) for op in ("and", "or", "xor", "shift_left", "shift_right")),
    *(Case(op, (TRUE, ~TRUE[::-1]), label="bool") for op in ("and", "or", "xor", "eq", "ne")),
    *(Case(op, (X, np.round(X))) for op in ("eq", "ne", "lt", "le", "gt", "ge", "floordiv")),
    *(Case(op, (INTS, SMALL), label="int") for op in ("add", "sub", "mul", "floordiv", "rem")),
    *(Case(op, (INTS,), {"axes": (1,)}, label="int") for op in ("sum", "prod", "max")),
    *(Case(op, (X * 3,)) for op in ("floor", "ceil", "round", "sign", "is_finite")),
    *(Case(op, (X,), {"axis": 0}) for op in ("argmax", "argmin", "argsort")),
    Case("not", (TRUE,)),
    Case("abs", (INTS,), label="int"),
    Case("cast", (X * 5,), {"dtype": "i32"}, label="int"),
    Case("cast", (TRUE,), {"dtype": "f32"}, label="bool"),
    *(Case("cast", (X,), {"dtype": d}, label=d) for d in ("bf16", "f16")),
    *(Case("round_to", (X,), {"dtype": d}, label=d) for d in ("bf16", "f16", "f32")),
    Case("bitcast", (X,), {"dtype": "u64"}),
    Case("const", (), {"value": 0.1, "dtype": "f32"}),
    Case("const", (), {"value": Array(np.array([[0.1, -np.inf], [2.0, 3e-5]])), "dtype": "f64"}),
    Case("iota", (), {"shape": (4,), "axis": 0, "dtype": "i32"}),
    Case("iota", (), {"shape": (2, 3), "axis": 0, "dtype": "f32"}, label="spread"),
    Case("size", (), {"dim": 7, "dtype": "f64"}),
    Case("cumsum", (INTS,), {"axis": 1, "reverse": True}, label="int"),
    Case("random_bits", COUNTERS, {"path": "dropout/a", "ordinal": 2, "shape": (3, 5)}),
    Case(
        "random_bits",
        (*COUNTERS, np.asarray(2**63 + 9, np.uint64)),
        {"path": "dropout/*.a", "ordinal": 2, "shape": (3, 5)},
        label="tag",
    ),
    Case("stream_tags", (), {"path": "dropout/*.a.*", "sizes": (2, 3)}),
    Case("orthogonal", (normal(4, 3),)),
    Case("stop_gradient", (X,)),
    Case("with_gradient", (X, X + 1)),
]

CASES: list[Case] = [
    case
    for family in FAMILIES
    for case in import_module(f"tests.ops.cases_{family}").CASES
    if case.op != "on_gradient"
] + WITHOUT_GRADIENT
