"""The tables of docs/ops.md: what each backend does with each op and element type.

Every cell comes from the tables of emitters or from trying; none is written by hand.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nnc import backend as backends
from nnc.backend import Backend
from nnc.ir.builder import Builder
from nnc.ir.graph import Graph
from nnc.ir.program import StateEntry
from nnc.ir.types import NUMPY_DTYPES, dtype_of
from nnc.language.diagnostics import NncError
from nnc.ops.registry import OPS
from nnc.passes.legalize import REFUSED, reason, treatment
from nnc.train.module import Border, load_module
from tests.backends.cases import CASES
from tests.backends.harness import training

BACKENDS = ("numpy", "jax", "torch")
EXPANDED, INITIAL, HOST = "expanded", "initial values", "in NumPy"


def families() -> dict[str, list[str]]:
    """The names of the ops by family, in the order of their definitions."""
    found: dict[str, list[str]] = {}
    for op in OPS.values():
        found.setdefault(op.family, []).append(op.name)
    return found


def row(op: str) -> list[str]:
    """Name, meaning, and what becomes of `op` on each backend."""
    cells = (cell(op, backends.get(name)) for name in BACKENDS)
    return [f"`{op}`", " ".join(OPS[op].doc.split()), *cells]


def cell(op: str, backend: Backend) -> str:
    """What `backend` does with `op`; a refusal with its reason."""
    what = treatment(op, backend.emitters)
    if what != REFUSED:
        return what
    if op == "gradient":
        return EXPANDED
    return INITIAL if makes_initial_values(op, backend) else f"{REFUSED}: {reason(op)}"


def makes_initial_values(op: str, backend: Backend) -> bool:
    """Whether a weight can begin as a result of `op`."""
    try:
        emitted_initial(op, backend)
    except NncError:
        return False
    return True


def emitted_initial(op: str, backend: Backend) -> str:
    """The file of a program whose only weight begins as a result of `op`."""
    case = next(case for case in CASES if case.op == op)
    builder = Builder(Graph("init"))
    operands = [builder.const(array, dtype_of(array)) for array in case.arrays]
    made = builder.emit(op, *operands, **case.attrs)
    builder.graph.outputs = {"value": made.value}
    program = training()
    program.state = {"w": StateEntry("w", made.type, "param", builder.graph)}
    return backend.emit(program)


# ---------------------------------------------------------------- element types
def type_row(dtype: str) -> list[str]:
    return [f"`{dtype}`", *(type_cell(dtype, backends.get(name)) for name in BACKENDS)]


def type_cell(dtype: str, backend: Backend) -> str:
    """Who computes with values of `dtype`: asked of the border of an emitted file."""
    module = load_module(backend.emit(training()), "empty.py")
    array = np.ones(2, NUMPY_DTYPES[dtype])
    (value,) = Border.of(module).from_numpy({"x": array}).values()
    is_host = isinstance(value, np.ndarray) and backend.name != "numpy"
    return HOST if is_host else "native"


def undecided() -> Iterator[str]:
    """The cells that say neither what is done nor why not."""
    for op in OPS:
        for name, text in zip(BACKENDS, row(op)[2:], strict=True):
            known = ("native", "decomposed", "dropped", EXPANDED, INITIAL)
            if text not in known and not text.startswith(f"{REFUSED}: "):
                yield f"{op} on {name}: {text}"
