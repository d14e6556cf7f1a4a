"""Where the gradients of reading and adding at indices are checked."""

import numpy as np

from tests.gradcheck import Case, normal

X = normal(3, 4)
ROWS = np.array([[0, 2], [2, 2]], np.int32)
ALONG = np.array([[1, 1, 0, 2], [0, 1, 1, 2]], np.int32)

CASES = [
    Case("take", (X, ROWS), {"axis": 0}),
    Case("take", (X, np.array([3, 0, 3], np.int64)), {"axis": 1}, label="last"),
    Case("take", (X, np.asarray(1, np.int32)), {"axis": 1}, label="scalar"),
    Case("take_along", (X, ALONG), {"axis": 0}),
    Case("scatter_add", (X, ROWS, normal(2, 2, 4)), {"axis": 0}),
    Case("scatter_add", (X, np.array([3, 3], np.int32), normal(3, 2)), {"axis": 1}, label="last"),
    Case("scatter_add_along", (X, ALONG, normal(2, 4)), {"axis": 0}),
]
EXEMPT: dict[str, str] = {}
