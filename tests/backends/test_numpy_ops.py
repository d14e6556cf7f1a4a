"""Every op is spelt, expanded, or refused with a reason; what is spelt computes what it means."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnc_numpy import backend

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph
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
from tests.gradcheck import Case
from tests.passes.graphs import ordinary, random_graphs, special

REFUSED = {"gradient": "the autodiff pass expands it"}
GIVEN = {"input"}  # no op to compute: an argument


def test_no_op_is_left_out() -> None:
    spelt = set(backend.emitters)
    composites = {name for name, op in OPS.items() if op.composite}
    assert spelt | composites | set(REFUSED) | set(MARKERS) | GIVEN == set(OPS)
    assert not spelt & (set(REFUSED) | set(MARKERS) | GIVEN)


def test_every_spelling_has_a_case() -> None:
    assert set(backend.emitters) <= {case.op for case in CASES}


def narrow(case: Case) -> Case | None:
    """The case in float32; None where its types say float64 themselves."""
    if case.op in ("scan", "call") or "dtype" in case.attrs:
        return None
    arrays = tuple(a.astype(np.float32) if a.dtype == np.float64 else a for a in case.arrays)
    return Case(case.op, arrays, case.attrs)


@pytest.mark.parametrize("case", CASES, ids=map(str, CASES))
def test_float64(case: Case) -> None:
    graph = single_op(case.op, case.arrays, case.attrs)
    assert_computes(graph, case.arrays, TOLERANCE["f64"], optimized=False)


@pytest.mark.parametrize("case", CASES, ids=map(str, CASES))
def test_float32(case: Case) -> None:
    single = narrow(case)
    if single is None:
        pytest.skip("the case is of another type")
    graph = single_op(case.op, single.arrays, case.attrs)
    assert_computes(graph, single.arrays, TOLERANCE["f32"])


@pytest.mark.parametrize("op", REFUSED)
def test_refused_with_the_reason(op: str) -> None:
    with pytest.raises(NncError, match=REFUSED[op]):
        source_of(single_op(op, (np.asarray(1.0), np.asarray(2.0)), {}))


@settings(max_examples=60, deadline=None)
@given(random_graphs(), st.booleans())
def test_random_graphs(graph: Graph, optimized: bool) -> None:
    for values in (ordinary, special):
        inputs = [values((2, 3), seed) for seed, _ in enumerate(graph.inputs)]
        assert_computes(graph.copy(), inputs, TOLERANCE["f64"], optimized)


def test_all_sources_are_formatted_and_clean(tmp_path: Path) -> None:
    for number, case in enumerate(CASES):
        source = source_of(single_op(case.op, case.arrays, case.attrs))
        (tmp_path / f"case_{number}.py").write_text(source)
    assert_clean(tmp_path)


def assert_clean(folder: Path) -> None:
    """`ruff check` and `ruff format --check` have nothing to say about the files of `folder`."""
    for command in (["check"], ["format", "--diff"]):
        options = ["--isolated", "--no-cache", "--line-length", "100", str(folder)]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_all_helpers_fit_into_one_file() -> None:
    graphs = [single_op(case.op, case.arrays, case.attrs) for case in CASES]
    emitted = load(backend.emit(training(*(forward(f"f{i}", g) for i, g in enumerate(graphs)))))
    assert callable(emitted["_conv"])
    assert callable(emitted["_max_pool"])


def test_large_gemms_are_one_product() -> None:
    """[N, T, K] @ [K, M] is no loop over N."""
    builder = Builder(Graph("rows"))
    x = builder.emit("iota", shape=(4, 5, 6), axis=2, dtype="f64")
    w = builder.emit("iota", shape=(6, 7), axis=0, dtype="f64")
    product = x.emit("dot", w, contract=((2,), (0,)), batch=((), ()))
    builder.graph.outputs = {"y": product.value}
    assert "np.tensordot" in assert_computes(builder.graph, [], 0.0)
