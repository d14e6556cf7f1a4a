"""Where the gradients of the ops that move elements are checked."""

import numpy as np

from tests.gradcheck import Case, normal

X = normal(3, 4)
START = (np.asarray(1, np.int32), np.asarray(2, np.int32))
BEYOND = (np.asarray(-3, np.int32), np.asarray(9, np.int32))
ONE_AXIS = {"axes": (1,), "size": (3,), "stride": (2,), "dilation": (1,)}
TWO_AXES = {"axes": (1, 2), "size": (2, 3), "stride": (1, 2), "dilation": (2, 1)}

CASES = [
    Case("reshape", (X,), {"shape": (2, 6)}),
    Case("transpose", (normal(2, 3, 4),), {"perm": (2, 0, 1)}),
    Case("broadcast", (normal(3),), {"shape": (2, 3, 2), "axes": (1,)}),
    Case("broadcast", (normal(),), {"shape": (2, 3), "axes": ()}, label="scalar"),
    Case("slice", (X,), {"start": (1, 0), "stop": (3, 3), "step": (1, 1)}),
    Case("slice", (X,), {"start": (0, 1), "stop": (3, 4), "step": (2, 2)}, label="steps"),
    Case("slice", (X,), {"start": (0, 0), "stop": (2, 3), "step": (3, 2)}, label="short"),
    Case("slice", (X,), {"start": (1, 2), "stop": (1, 4), "step": (1, 1)}, label="empty"),
    Case("pad", (X,), {"low": (1, 0), "high": (0, 2), "value": 3.0}),
    Case("reverse", (X,), {"axes": (0, 1)}),
    Case("concat", (X, normal(3, 2), normal(3, 1)), {"axis": 1}),
    Case("window", (normal(2, 7),), ONE_AXIS),
    Case("window", (normal(1, 5, 6, 2),), TWO_AXES, label="two-axes", order=1),
    Case("fold", (normal(2, 3, 3),), {"shape": (2, 7), **ONE_AXIS}),
    Case("fold", (normal(2, 3, 3),), {"shape": (2, 8), **ONE_AXIS}, label="unread"),
    Case("dynamic_slice", (X, *START), {"size": (2, 2)}),
    Case("dynamic_slice", (X, *BEYOND), {"size": (2, 2)}, label="clamped"),
    Case("dynamic_update", (X, normal(2, 2), *START)),
    Case("dynamic_update", (X, normal(2, 2), *BEYOND), label="clamped"),
]
EXEMPT: dict[str, str] = {}
