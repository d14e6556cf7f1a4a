"""Where the gradients of contractions are checked."""

from tests.gradcheck import Case, normal

CASES = [
    Case("dot", (normal(2, 3), normal(3, 4)), {"contract": ((1,), (0,)), "batch": ((), ())}),
    Case(
        "dot",
        (normal(2, 3), normal(4, 3)),
        {"contract": ((1,), (1,)), "batch": ((), ())},
        label="transposed",
    ),
    Case(
        "dot",
        (normal(2, 3, 2, 2), normal(2, 4, 2, 3)),
        {"contract": ((3, 1), (2, 3)), "batch": ((0,), (0,))},
        label="batch",
        order=1,
    ),
    Case(
        "dot",
        (normal(2, 3, 2), normal(2, 2)),
        {"contract": ((), ()), "batch": ((2, 0), (0, 1))},
        label="elementwise",
    ),
    Case("dot", (normal(3), normal(3)), {"contract": ((0,), (0,)), "batch": ((), ())}, label="1d"),
    Case("dot", (normal(2), normal(3)), {"contract": ((), ()), "batch": ((), ())}, label="outer"),
]
EXEMPT = {"orthogonal": "host only, in initializers, which nobody differentiates"}
