"""What the type rules accept, with symbolic sizes too, and how they refuse the rest."""

from typing import Any

import numpy as np
import pytest

from nnc.ir.dims import symbol
from nnc.ir.graph import Array
from nnc.ir.types import TensorType
from nnc.ops.registry import OPS, OpError

N, H = symbol("N"), symbol("H")


def t(*shape: Any, dtype: str = "f32") -> TensorType:
    return TensorType(dtype, shape)


def i32(*shape: Any) -> TensorType:
    return TensorType("i32", shape)


BOOL = TensorType("bool", (2,))

ACCEPTED: list[tuple[str, tuple[TensorType, ...], dict[str, Any], TensorType]] = [
    ("add", (t(N, 4), t(N, 4)), {}, t(N, 4)),
    ("lt", (t(N), t(N)), {}, TensorType("bool", (N,))),
    ("reshape", (t(N, 8, 8),), {"shape": (N, 64)}, t(N, 64)),
    ("reshape", (t(2 * N, 3),), {"shape": (N, 6)}, t(N, 6)),
    ("transpose", (t(N, H, 3),), {"perm": (2, 0, 1)}, t(3, N, H)),
    ("broadcast", (t(4),), {"shape": (N, 4), "axes": (1,)}, t(N, 4)),
    ("slice", (t(N, 8),), {"start": (1, 0), "stop": (N, 8), "step": (1, 3)}, t(N - 1, 3)),
    ("pad", (t(N),), {"low": (1,), "high": (N,), "value": 0}, t(2 * N + 1)),
    ("concat", (t(N, 2), t(H, 2)), {"axis": 0}, t(N + H, 2)),
    ("take", (t(10, 3), i32(N, H)), {"axis": 0}, t(N, H, 3)),
    ("sum", (t(N, H, 3),), {"axes": (0, 2)}, t(H)),
    ("argmax", (t(N, 3),), {"axis": 1}, i32(N)),
    ("iota", (), {"shape": (N, 2), "axis": 0, "dtype": "i32"}, i32(N, 2)),
    ("size", (), {"dim": N * H, "dtype": "f32"}, t()),
    ("const", (), {"value": Array(np.zeros((2, 3), np.float32)), "dtype": "f32"}, t(2, 3)),
]


@pytest.mark.parametrize(("op", "types", "attrs", "result"), ACCEPTED)
def test_types(
    op: str, types: tuple[TensorType, ...], attrs: dict[str, Any], result: TensorType
) -> None:
    assert OPS[op].infer(*types, **attrs) == result


def test_same_padding_halves_a_symbolic_axis() -> None:
    """(H + 1) // 2 from the window formula and from the language's "same" rule are one dim."""
    padded = OPS["pad"].infer(t(H), low=(1,), high=(1,), value=0)
    windows = OPS["window"].infer(padded, axes=(0,), size=(3,), stride=(2,), dilation=(1,))
    assert windows == t((H + 2 - 1) // 2, 3)
    strided = OPS["slice"].infer(t(H), start=(0,), stop=(H,), step=(2,))
    assert strided.shape == ((H + 1) // 2,)


STARTS = (i32(), i32())
REFUSED: list[tuple[str, tuple[TensorType, ...], dict[str, Any], str]] = [
    ("add", (t(64, 10), t(64, 1)), {}, "shapes [64, 10] and [64, 1] differ"),
    ("add", (t(2), t(2, 2)), {}, "shapes [2] and [2, 2] differ"),
    ("add", (t(N, 2), t(H, 2)), {}, "shapes [N, 2] and [H, 2] are not known to be equal"),
    ("add", (t(N, 2), t(N + 1, 2)), {}, "shapes [N, 2] and [N + 1, 2] differ"),
    ("mul", (t(2), i32(2)), {}, "element types f32 and i32 differ"),
    ("div", (i32(2), i32(2)), {}, "`div` takes floats, not i32"),
    ("exp", (i32(2),), {}, "`exp` takes floats, not i32"),
    ("lt", (BOOL, BOOL), {}, "`lt` takes numbers, not bool"),
    ("and", (t(2), t(2)), {}, "`and` takes bool or integers, not f32"),
    ("not", (i32(2),), {}, "`not` takes bool, not i32"),
    ("where", (i32(2), t(2), t(2)), {}, "the condition of `where` is i32, not bool"),
    ("where", (BOOL, t(3), t(3)), {}, "shapes [2] and [3] differ"),
    ("cast", (t(2),), {"dtype": "f31"}, "there is no element type f31"),
    ("bitcast", (t(2),), {"dtype": "u64"}, "the bits of f32 are not those of a u64"),
    ("bitcast", (BOOL,), {"dtype": "bool"}, "the bits of bool are not those of a bool"),
    ("const", (), {"value": 1.5, "dtype": "i32"}, "1.5 is not a value of i32"),
    ("const", (), {"value": True, "dtype": "f32"}, "True is not a value of f32"),
    ("const", (), {"value": -1, "dtype": "u32"}, "-1 is not a value of u32"),
    ("const", (), {"value": 1e39, "dtype": "f32"}, "1e+39 is not a value of f32"),
    (
        "const",
        (),
        {"value": Array(np.zeros(1)), "dtype": "f32"},
        "an array of f64 is not a constant of f32",
    ),
    ("iota", (), {"shape": (2,), "axis": 1, "dtype": "i32"}, "which has 1 axis"),
    ("reshape", (t(N, 8),), {"shape": (N, 9)}, "f32[N, 8] has 8 * N elements and [N, 9] has 9 * N"),
    ("transpose", (t(2, 3),), {"perm": (0,)}, "`transpose` needs one place for each of 2 axes"),
    ("transpose", (t(2, 3),), {"perm": (0, 0)}, "`transpose` names an axis twice: (0, 0)"),
    ("broadcast", (t(3),), {"shape": (3, 2), "axes": (1,)}, "shapes [3] and [2] differ"),
    ("broadcast", (t(2, 3),), {"shape": (3, 2), "axes": (1, 0)}, "(1, 0) is not ascending"),
    (
        "slice",
        (t(4),),
        {"start": (2,), "stop": (5,), "step": (1,)},
        "the slice 2..5 is not inside an axis of 4",
    ),
    (
        "slice",
        (t(N),),
        {"start": (0,), "stop": (N + 1,), "step": (1,)},
        "the slice 0..N + 1 is not inside an axis of N",
    ),
    ("slice", (t(4),), {"start": (0,), "stop": (4,), "step": (0,)}, "a slice in steps of 0"),
    ("pad", (t(4),), {"low": (-1,), "high": (0,), "value": 0}, "negative padding"),
    (
        "concat",
        (t(2, 3), t(2, 4)),
        {"axis": 0},
        "axis 0 of f32[2, 3] and f32[2, 4], whose other axes are not the same",
    ),
    ("concat", (t(2), t(2, 1)), {"axis": 0}, "whose other axes are not the same"),
    ("concat", (), {"axis": 0}, "`concat` of nothing"),
    (
        "window",
        (t(4),),
        {"axes": (0,), "size": (3,), "stride": (1,), "dilation": (2,)},
        "a window of 5 does not fit into an axis of 4",
    ),
    (
        "fold",
        (t(3, 2),),
        {"shape": (5,), "axes": (0,), "size": (2,), "stride": (1,), "dilation": (1,)},
        "f32[5] has windows [4, 2], not f32[3, 2]",
    ),
    ("dynamic_slice", (t(2, 3), i32()), {"size": (1, 1)}, "needs one start for each of 2 axes"),
    ("dynamic_slice", (t(2, 3), *STARTS), {"size": (1, 4)}, "[1, 4] does not fit into f32[2, 3]"),
    ("dynamic_slice", (t(2), t()), {"size": (1,)}, "starts at i32 scalars, not at f32"),
    ("take", (t(2), t(2)), {"axis": 0}, "takes integers, not f32"),
    ("take", (t(2), i32(2)), {"axis": 1}, "`take` over axis 1 of f32[2], which has 1 axis"),
    ("take_along", (t(2, 3), i32(2)), {"axis": 0}, "whose numbers of axes differ"),
    ("scatter_add", (t(4), i32(2), t(3)), {"axis": 0}, "shapes [2] and [3] differ"),
    ("sum", (BOOL,), {"axes": (0,)}, "`sum` takes numbers, not bool"),
    ("sum", (t(2, 3),), {"axes": (2,)}, "`sum` over axis 2 of f32[2, 3], which has 2 axes"),
    ("max", (t(0, 2),), {"axes": (0,)}, "`max` of no elements"),
    ("input", (), {"name": "x", "kind": "data"}, "the input `x` is declared, not inferred"),
]


@pytest.mark.parametrize(("op", "types", "attrs", "message"), REFUSED)
def test_refusals(
    op: str, types: tuple[TensorType, ...], attrs: dict[str, Any], message: str
) -> None:
    with pytest.raises(OpError) as refused:
        OPS[op].infer(*types, **attrs)
    assert message in str(refused.value)


@pytest.mark.parametrize("op", sorted(OPS))
def test_every_op_says_what_it_does(op: str) -> None:
    assert OPS[op].doc
