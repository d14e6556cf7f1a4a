"""Every op is spelt, expanded, or refused with a reason; what is spelt computes what it means."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnc_torch import backend

from nnc.ir.graph import Graph
from nnc.language.diagnostics import NncError
from nnc.ops.registry import OPS
from nnc.passes.legalize import MARKERS
from tests.backends.cases import CASES
from tests.backends.harness import TOLERANCE, single_op
from tests.backends.test_numpy_ops import assert_clean, narrow
from tests.backends.torch_harness import assert_computes, source_of
from tests.gradcheck import Case
from tests.passes.graphs import ordinary, random_graphs, special

REFUSED = {
    "gradient": "the autodiff pass expands it",
    "orthogonal": "no emitter for it, and the op has no decomposition",
}
GIVEN = {"input"}  # no op to compute: an argument
SPELT = [case for case in CASES if case.op not in REFUSED]
NAMES = list(map(str, SPELT))


def test_no_op_is_left_out() -> None:
    spelt = set(backend.emitters)
    composites = {name for name, op in OPS.items() if op.composite}
    assert spelt | composites | set(REFUSED) | set(MARKERS) | GIVEN == set(OPS)
    assert not spelt & (set(REFUSED) | GIVEN)


def test_every_spelling_has_a_case() -> None:
    assert set(backend.emitters) <= {case.op for case in SPELT}


@pytest.mark.parametrize("case", SPELT, ids=NAMES)
def test_float64(case: Case) -> None:
    graph = single_op(case.op, case.arrays, case.attrs)
    assert_computes(graph, case.arrays, TOLERANCE["f64"], optimized=False)


@pytest.mark.parametrize("case", SPELT, ids=NAMES)
def test_float32(case: Case) -> None:
    single = narrow(case)
    if single is None:
        pytest.skip("the case is of another type")
    graph = single_op(case.op, single.arrays, case.attrs)
    assert_computes(graph, single.arrays, TOLERANCE["f32"])


@pytest.mark.parametrize("op", REFUSED)
def test_refused_with_the_reason(op: str) -> None:
    arrays = [case.arrays for case in CASES if case.op == op] or [(np.ones(()), np.ones(()))]
    with pytest.raises(NncError, match=REFUSED[op]):
        source_of(single_op(op, arrays[0], {}))


@settings(max_examples=40, deadline=None)
@given(random_graphs(), st.booleans())
def test_random_graphs(graph: Graph, optimized: bool) -> None:
    for values in (ordinary, special):
        inputs = [values((2, 3), seed) for seed, _ in enumerate(graph.inputs)]
        assert_computes(graph.copy(), inputs, TOLERANCE["f64"], optimized)


def test_all_sources_are_formatted_and_clean(tmp_path: Path) -> None:
    for number, case in enumerate(SPELT):
        source = source_of(single_op(case.op, case.arrays, case.attrs))
        (tmp_path / f"case_{number}.py").write_text(source)
    assert_clean(tmp_path)
