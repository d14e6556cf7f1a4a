"""Every op on every backend and in every element type: computed, or refused with reason and line.

The table of docs/ops.md says which; here its cells are tried.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pytest

from nnc.backend import Backend, get
from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Origin
from nnc.ir.interpret import interpret
from nnc.ir.types import NUMPY_DTYPES, TensorType, dtype_of
from nnc.language.diagnostics import NncError
from nnc.ops.registry import OPS, OpError
from nnc.passes.legalize import REFUSED, reason
from tests.backends import torch_harness
from tests.backends.cases import CASES
from tests.backends.harness import forward, load, single_op, source_of, training
from tests.docs import ops as table
from tests.docs.snippets import DOCS
from tests.gradcheck import Case, normal
from tests.ops.bodies import body, f64

HERE = Origin("net.nn", 7, 3)

#: one use of each op
USES: dict[str, Case] = {case.op: case for case in reversed(CASES)} | {
    "on_gradient": Case(
        "on_gradient", (normal(2),), {"body": body({"dy": f64(2)}, lambda dy: [dy + dy])}
    ),
    "gradient": Case("gradient", (normal(), normal())),
}


def used(op: str) -> Graph:
    """A graph with `op`, said to come from line 7 of net.nn."""
    if op == "input":
        builder = Builder(Graph("input"))
        builder.graph.outputs = {"y": builder.input("x", TensorType("f32", (2,))).value}
        return builder.graph
    case = USES[op]
    graph = single_op(op, case.arrays, case.attrs)
    for node in graph:
        node.origin = (HERE,)
    return graph


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", table.BACKENDS)
def test_what_the_table_says_is_what_happens(name: str, op: str) -> None:
    backend, graph = get(name), used(op)
    cell = table.cell(op, backend)
    if cell in ("native", "decomposed", "dropped"):
        source = source_of(graph, optimized=False, backend=backend)
        assert "def forward(" in source
        compile(source, "<emitted>", "exec")
        return
    with pytest.raises(NncError) as caught:
        source_of(graph, optimized=False, backend=backend)
    (refusal,) = caught.value.diagnostics
    assert refusal.code == "E0903"
    assert refusal.message == (f"net.nn:7: the backend `{name}` cannot spell `{op}`: {reason(op)}")
    if cell == table.INITIAL:
        assert load(table.emitted_initial(op, backend))["init"](0).keys() == {"w"}
    else:
        assert cell == table.EXPANDED or cell == f"{REFUSED}: {reason(op)}"


def test_no_cell_is_undecided() -> None:
    assert list(table.undecided()) == []


def test_the_document_has_a_row_for_each_op_and_a_column_for_each_backend() -> None:
    text = (DOCS / "ops.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|((?:.*\|)+)$", text[: text.index("## Element types")], re.M)
    assert sorted(name for name, _ in rows) == sorted(OPS)
    for name, cells in rows:
        count = len(table.BACKENDS)
        assert all(cell.strip() for cell in cells.split("|")[-count - 1 : -1]), name


# ---------------------------------------------------------------- element types
#: how many results there are at least, by kind of element type
LEAST = {"f": 70, "i": 45, "u": 45, "b": 20}
#: undefined for integers where an operand is 0 or below
POSITIVE = ("floordiv", "rem", "pow")
#: what rounding leaves of a few operations
TOLERANCE = {"f16": 2e-2, "f32": 1e-4}


def in_type(case: Case, dtype: str) -> tuple[np.ndarray, ...]:
    """The operands of a case, those that have the type of the first in another."""
    first = case.arrays[0].dtype

    def changed(array: np.ndarray) -> np.ndarray:
        if array.dtype != first:
            return array
        if dtype[0] == "u" or (case.op in POSITIVE and dtype[0] == "i"):
            array = np.abs(array)
        return array.astype(NUMPY_DTYPES[dtype]) + (case.op in POSITIVE and dtype[0] in "iu")

    return tuple(map(changed, case.arrays))


def every_op(dtype: str) -> tuple[Graph, Mapping[str, np.ndarray]]:
    """One graph with each op that takes `dtype` as its first operand; the operands by name."""
    builder, inputs = Builder(Graph(dtype)), {}
    with builder.at((HERE,)):
        for op, case in USES.items():
            if not case.arrays or op in ("scan", "call", "gradient", "orthogonal", "on_gradient"):
                continue
            arrays = in_type(case, dtype)
            names = [f"{op}_{i}" for i, _ in enumerate(arrays)]
            types = [TensorType(dtype_of(array), array.shape) for array in arrays]
            if not admits(op, types, case.attrs):
                continue
            operands = [builder.input(*pair) for pair in zip(names, types, strict=True)]
            made = builder.emit(op, *operands, **case.attrs)
            inputs |= dict(zip(names, arrays, strict=True))
            results = made if isinstance(made, tuple) else (made,)
            builder.graph.outputs |= {f"{op}.{i}": x.value for i, x in enumerate(results)}
    return builder.graph, inputs


def admits(op: str, types: list[TensorType], attrs: Mapping[str, object]) -> bool:
    try:
        OPS[op].infer(*types, **attrs)
    except OpError:
        return False
    return True


def computed(
    backend: Backend, graph: Graph, inputs: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    arrays = list(inputs.values())
    if backend.name == "torch":
        module = load(torch_harness.source_of(graph))
        return torch_harness.run(module, "batch", graph, arrays)
    module = load(backend.emit(training(forward("net", graph))))
    return {name: np.asarray(x) for name, x in module["forward"]({}, *arrays).items()}


@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
@pytest.mark.parametrize("name", table.BACKENDS)
def test_an_element_type_that_an_op_takes_is_computed_everywhere(name: str, dtype: str) -> None:
    graph, inputs = every_op(dtype)
    assert len(graph.outputs) >= LEAST[dtype[0]]
    with np.errstate(all="ignore"):
        wanted = interpret(graph, inputs)
        found = computed(get(name), graph, inputs)
    tolerance = TOLERANCE.get(dtype, 1e-9)
    for output, value in wanted.items():
        assert (found[output].dtype, found[output].shape) == (value.dtype, value.shape), output
        np.testing.assert_allclose(found[output], value, tolerance, tolerance, err_msg=output)
