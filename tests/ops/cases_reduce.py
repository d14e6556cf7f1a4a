"""Where the gradients of reductions are checked."""

import numpy as np

from tests.gradcheck import Case, normal

X = normal(2, 3, 2)
WITH_ZEROS = np.array([[0.0, 2.0, 0.5], [0.0, 0.0, 3.0]])

CASES = [
    *(Case(op, (X,), {"axes": (1,)}) for op in ("sum", "max", "min", "prod")),
    *(Case(op, (X,), {"axes": (0, 2)}, label="two") for op in ("sum", "max", "min", "prod")),
    *(Case(op, (X,), {"axes": ()}, label="none") for op in ("sum", "max", "min", "prod")),
    Case("prod", (WITH_ZEROS,), {"axes": (1,)}, label="zeros", order=3),
    Case("prod", (normal(1, 7),), {"axes": (1,)}, label="long"),
    Case("cumsum", (X,), {"axis": 1, "reverse": False}),
    Case("cumsum", (X,), {"axis": 1, "reverse": True}, label="reverse"),
]
EXEMPT: dict[str, str] = {}
