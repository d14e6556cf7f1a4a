"""The meaning of each op, one file per family.  Importing this package fills `registry.OPS`.

`nnc.ir.builder` imports the registry, so nothing here imports the builder at module level: a vjp or
a decomposition works with the methods of the tensors it is given.
"""

from nnc.ops import (
    control,
    creation,
    dynamic,
    elementwise,
    index,
    linalg,
    nn,
    random,
    recurrent,
    reduce,
    shape,
    window,
)

__all__ = [
    "control",
    "creation",
    "dynamic",
    "elementwise",
    "index",
    "linalg",
    "nn",
    "random",
    "recurrent",
    "reduce",
    "shape",
    "window",
]
