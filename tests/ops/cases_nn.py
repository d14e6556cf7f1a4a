"""Where the gradients of the composites of neural networks are checked."""

import numpy as np

from tests.gradcheck import Case, normal

X = normal(2, 4)
PLAIN = {"stride": (1,), "dilation": (1,), "low": (0,), "high": (0,), "groups": 1}
HARD = {"stride": (2,), "dilation": (2,), "low": (1,), "high": (2,), "groups": 2}
TWO = {"stride": (2, 1), "dilation": (1, 2), "low": (0, 1), "high": (1, 1), "groups": 1}
DEEP = {"stride": (1,), "dilation": (1,), "low": (1,), "high": (1,), "groups": 2}
POOL = {"size": (3,), "stride": (2,), "low": (1,), "high": (1,)}
POOL2 = {"size": (2, 2), "stride": (1, 2), "low": (1, 0), "high": (0, 1)}
WINNERS = np.array([[[1, 0], [2, 2], [0, 1]]], np.int32)

CASES = [
    *(Case(op, (X,)) for op in ("sigmoid", "softplus", "log_sigmoid")),
    *(Case(op, (30 * X,), label="large") for op in ("sigmoid", "softplus", "log_sigmoid")),
    *(
        Case(op, (normal(2, 3, 2),), {"axis": axis}, label=f"axis-{axis}")
        for op in ("softmax", "log_softmax", "logsumexp")
        for axis in (1, 2)
    ),
    Case("conv", (normal(2, 4, 2), normal(3, 2, 2)), PLAIN),
    Case("conv", (normal(1, 7, 4), normal(3, 2, 4)), HARD, label="hard"),
    Case("conv", (normal(1, 4, 5, 1), normal(2, 2, 1, 2)), TWO, label="two-axes"),
    Case("conv", (normal(2, 3, 2), normal(2, 1, 4)), DEEP, label="depthwise"),
    Case("conv_input_grad", (normal(2, 2, 2), normal(3, 2, 2)), {"shape": (2, 4, 2), **PLAIN}),
    Case(
        "conv_input_grad",
        (normal(1, 3, 4), normal(3, 2, 4)),
        {"shape": (1, 7, 4), **HARD},
        label="hard",
    ),
    Case("conv_filter_grad", (normal(2, 4, 2), normal(2, 2, 2)), {"shape": (3, 2, 2), **PLAIN}),
    Case(
        "conv_filter_grad",
        (normal(1, 7, 4), normal(1, 3, 4)),
        {"shape": (3, 2, 4), **HARD},
        label="hard",
    ),
    Case("max_pool", (normal(1, 5, 2),), POOL),
    Case("max_pool", (normal(1, 3, 4, 1),), POOL2, label="two-axes"),
    Case("max_pool_grad", (normal(1, 3, 2), WINNERS), {"shape": (1, 5, 2), **POOL}, order=3),
    Case("sum_pool", (normal(1, 5, 2),), POOL),
    Case("sum_pool", (normal(1, 3, 4, 1),), POOL2, label="two-axes"),
    Case("sum_pool_grad", (normal(1, 3, 2),), {"shape": (1, 5, 2), **POOL}),
]
EXEMPT: dict[str, str] = {}
