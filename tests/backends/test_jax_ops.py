"""Every op in JAX is spelt, expanded, or refused with a reason; what is spelt is what it means."""

from pathlib import Path

import numpy as np
import pytest
from nnc_jax import backend

from nnc.language.diagnostics import NncError
from nnc.ops.registry import OPS
from nnc.passes.legalize import MARKERS
from tests.backends.cases import CASES
from tests.backends.harness import (
    TOLERANCE,
    assert_computes,
    forward,
    load,
    single_op,
    source_of,
    training,
)
from tests.backends.test_numpy_ops import GIVEN, assert_clean, narrow
from tests.gradcheck import Case

REFUSED = {
    "gradient": "the autodiff pass expands it",
    "orthogonal": "it has no emitter for it",  # initial values are NumPy's in every file
}


def test_no_op_is_left_out() -> None:
    spelt = set(backend.emitters)
    composites = {name for name, op in OPS.items() if op.composite}
    assert spelt | composites | set(REFUSED) | set(MARKERS) | GIVEN == set(OPS)
    assert not spelt & (set(REFUSED) | set(MARKERS) | GIVEN)


HERE = [case for case in CASES if case.op not in REFUSED]


@pytest.mark.parametrize("case", HERE, ids=map(str, HERE))
def test_float64(case: Case) -> None:
    graph = single_op(case.op, case.arrays, case.attrs)
    assert_computes(graph, case.arrays, TOLERANCE["f64"], optimized=False, backend=backend)


@pytest.mark.parametrize("case", HERE, ids=map(str, HERE))
def test_float32(case: Case) -> None:
    single = narrow(case)
    if single is None:
        pytest.skip("the case is of another type")
    graph = single_op(case.op, single.arrays, case.attrs)
    assert_computes(graph, single.arrays, TOLERANCE["f32"], backend=backend)


@pytest.mark.parametrize("op", REFUSED)
def test_refused_with_the_reason(op: str) -> None:
    inputs = (np.ones((2, 2)), np.asarray(2.0))[: 1 if op == "orthogonal" else 2]
    inputs = (np.asarray(1.0), np.asarray(2.0)) if op == "gradient" else inputs
    with pytest.raises(NncError, match=REFUSED[op]):
        source_of(single_op(op, inputs, {}), backend=backend)


def test_all_sources_are_formatted_and_clean(tmp_path: Path) -> None:
    for number, case in enumerate(HERE):
        source = source_of(single_op(case.op, case.arrays, case.attrs), backend=backend)
        (tmp_path / f"case_{number}.py").write_text(source)
    assert_clean(tmp_path)


def test_all_helpers_fit_into_one_file() -> None:
    graphs = [single_op(case.op, case.arrays, case.attrs) for case in HERE]
    emitted = load(backend.emit(training(*(forward(f"f{i}", g) for i, g in enumerate(graphs)))))
    assert callable(emitted["_conv_filter_grad"])
    assert callable(emitted["_max_pool"])
