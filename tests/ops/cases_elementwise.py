"""Where the gradients of the elementwise ops are checked."""

import numpy as np

from tests.gradcheck import Case, normal, uniform

X, Y = normal(2, 3), normal(2, 3, seed=1)
POSITIVE, OTHER_POSITIVE = uniform(0.5, 3.0, 2, 3), uniform(0.5, 3.0, 2, 3, seed=1)
INSIDE = uniform(-0.9, 0.9, 2, 3)
CONDITION = np.array([[True, False, True], [False, False, True]])

CASES = [
    *(Case(op, (X,)) for op in ("neg", "abs", "exp", "expm1", "sin", "cos", "tanh", "erf")),
    *(Case(op, (POSITIVE,)) for op in ("log", "log1p", "sqrt", "rsqrt")),
    Case("tan", (INSIDE,)),
    Case("erfinv", (INSIDE,)),
    *(Case(op, (X, Y)) for op in ("add", "sub", "mul", "maximum", "minimum", "atan2")),
    Case("div", (X, OTHER_POSITIVE)),
    Case("rem", (X, OTHER_POSITIVE)),
    Case("pow", (POSITIVE, Y)),
    Case("pow", (POSITIVE, OTHER_POSITIVE), order=3, label="third"),
    Case("where", (CONDITION, X, Y)),
    Case("cast", (X,), {"dtype": "f64"}),
    Case("round_to", (X,), {"dtype": "f64"}),
]
EXEMPT: dict[str, str] = {}
