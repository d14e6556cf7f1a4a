"""Work in place: nothing reads an array after it was overwritten, and callers keep theirs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnc_numpy import backend, inplace, loops, runtime

import nnc
from benchmarks.workloads import PROGRAMS as WORKLOADS
from benchmarks.workloads import data, sizes_of
from nnc.emit import freeing
from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.program import Phase, Step
from nnc.ir.types import NUMPY_DTYPES, TensorType
from nnc.passes.pipeline import optimize_training
from tests.backends.harness import load, training
from tests.benchmarks.test_peers import SMALL

ROOT = Path(__file__).parents[2]
SQUARE = TensorType("f32", (4, 4))


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inplace, "LARGE", 0)
    monkeypatch.setattr(freeing, "LARGE", 1)
    monkeypatch.setattr("nnc_numpy.masks.SMALL", 0)


# ---------------------------------------------------------------- random graphs
def step_of(graph: Graph) -> tuple[str, Callable[..., Any]]:
    """The file of a program with one step, whose results are the outputs of `graph`; the step."""
    program = training()
    program.phases.append(Phase("main", 1, [Step("step", graph, {})]))
    optimize_training(program)
    source = backend.emit(program)
    return source, load(source)["step"]


@st.composite
def sharing_graphs(draw: st.DrawFn) -> Graph:
    """Elementwise ops and products whose operands have several readers, and views of them."""
    builder = Builder(Graph("random"))
    pool = [builder.input(f"x{i}", SQUARE, kind="batch") for i in range(2)]
    for _ in range(draw(st.integers(2, 16))):
        recent = pool[-4:]
        pool.append(grown(draw, draw(st.sampled_from(recent)), draw(st.sampled_from(recent))))
    outputs = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=3))
    builder.graph.outputs = {f"@y{i}": x.value for i, x in enumerate(outputs)}
    return builder.graph


def grown(draw: st.DrawFn, x: Tensor, y: Tensor) -> Tensor:
    match draw(st.sampled_from(["unary", "binary", "number", "mask", "view", "spread", "dot"])):
        case "unary":
            return x.emit(draw(st.sampled_from(["neg", "abs", "tanh", "sin"])))
        case "binary":
            return x.binary(draw(st.sampled_from(["add", "sub", "mul", "maximum"])), y)
        case "number":
            return x.binary(draw(st.sampled_from(["sub", "mul", "maximum"])), 0.5)
        case "mask":
            return draw(st.sampled_from([(x > y).where(x, 0.0), (y > 0.1).where(0.0, x)]))
        case "view":
            flipped = x.emit("reverse", axes=(draw(st.integers(0, 1)),))
            folded = x.reshape((2, 8)).transpose((1, 0)).reshape((4, 4))
            views = [x.transpose((1, 0)), flipped, folded, half(x), halves(x)]
            return draw(st.sampled_from(views))
        case "spread":
            return x.sum((0,)).broadcast((4, 4), (draw(st.integers(0, 1)),)) + y
    return x.emit("dot", y, contract=((1,), (0,)), batch=((), ())) * 0.25


def half(x: Tensor) -> Tensor:
    """A part of x, as large as x."""
    part = x.emit("slice", start=(0, 0), stop=(4, 2), step=(1, 1))
    return x.builder.emit("concat", part, part, axis=1)


def halves(x: Tensor) -> Tensor:
    """What two ops make of a part of x, of which each has an operand that nothing else reads."""
    part = x.emit("slice", start=(0, 0), stop=(2, 4), step=(1, 1))
    return x.builder.emit("concat", part * 0.5, part.emit("tanh"), axis=0)


@pytest.mark.usefixtures("everything_is_large")
@settings(max_examples=400, deadline=None)
@given(sharing_graphs(), st.integers(0, 9))
def test_random_steps_give_what_the_interpreter_gives(graph: Graph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch = {f"x{i}": rng.normal(size=(4, 4)).astype(np.float32) for i in range(2)}
    given_ = {name: array.copy() for name, array in batch.items()}
    names = [graph.node(id).attrs["name"] for id in graph.inputs]
    wanted = interpret(graph, [batch[name] for name in names])
    source, step = step_of(graph)
    _, found = step({}, batch, {})
    _, again = step({}, batch, {})
    for name, value in wanted.items():
        for result in (found, again):
            np.testing.assert_allclose(
                result[name[1:]], value, 1e-4, 1e-5, err_msg=source, strict=True
            )
    for name, array in given_.items():
        np.testing.assert_array_equal(batch[name], array, err_msg=source)


@pytest.mark.usefixtures("everything_is_large")
def test_the_array_of_a_dead_operand_is_used() -> None:
    builder = Builder(Graph("chain"))
    x = builder.input("x0", SQUARE, kind="batch")
    product = x.emit("dot", x, contract=((1,), (0,)), batch=((), ()))
    builder.graph.outputs = {"@y": (product * 2.0 + x).emit("tanh").value}
    source, _ = step_of(builder.graph)
    lines = [line.strip() for line in source.split("\n")]
    assert "product *= 2.0" in lines
    assert "product += x0" in lines
    assert "np.tanh(product, out=product)" in lines


# ---------------------------------------------------------------- programs
MODELS = sorted((ROOT / "models").glob("*.nn"))


def steps_of(source: str, count: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The state after `count` steps on random batches, and what each step gave."""
    module = load(source)
    rng = np.random.default_rng(0)
    state, outs = module["init"](0), []
    entries = [step for phase in module["PROGRAM"]["phases"] for step in phase["steps"]]
    for number in range(count):
        batch = {name: field(rng, *type) for name, type in module["PROGRAM"]["batches"].items()}
        kept = {name: array.copy() for name, array in batch.items()}
        for entry in entries:
            scalars = module[entry["scalars"]](number, number, 0, number)
            state, out = module[entry["function"]](state, batch, scalars)
            outs.append(out)
        for name, array in kept.items():
            np.testing.assert_array_equal(batch[name], array, err_msg=source)
    return state, outs


def field(rng: np.random.Generator, dtype: str, shape: list[int]) -> np.ndarray:
    if dtype.startswith("f"):
        return rng.normal(size=shape).astype(NUMPY_DTYPES[dtype])
    return rng.integers(0, 2, shape).astype(NUMPY_DTYPES[dtype])


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_models_compute_the_same_in_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_the_same_in_place(nnc.load(path), monkeypatch)


@pytest.mark.parametrize("name", SMALL)
def test_workloads_compute_the_same_in_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / f"{name}.npz", **data(name, sizes_of(name, **SMALL[name])))
    path = shutil.copy(WORKLOADS / f"{name}.nn", tmp_path)
    assert_the_same_in_place(nnc.load(path, **SMALL[name]), monkeypatch)


def assert_the_same_in_place(program: nnc.Program, monkeypatch: pytest.MonkeyPatch) -> str:
    """That all gives the same if everything is large and if nothing is; the former source."""
    train = program.trainings[-1]
    monkeypatch.setattr(inplace, "LARGE", 1 << 62)
    wanted = steps_of(program.compile("numpy", train=train).source, 3)
    for module, name, value in (
        (inplace, "LARGE", 0),
        (freeing, "LARGE", 1),
        (loops, "SMALL_PRODUCT", 60),
        (loops, "NARROWEST", 1),
    ):
        monkeypatch.setattr(module, name, value)
    source = program.compile("numpy", train=train).source
    found = steps_of(source, 3)
    for before, after in zip([wanted[0], *wanted[1]], [found[0], *found[1]], strict=True):
        assert before.keys() == after.keys()
        for name, value in before.items():
            np.testing.assert_allclose(after[name], value, 1e-4, 1e-6, err_msg=source)
    return source


def test_a_matrix_in_blocks_gives_the_same_product() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 5)), rng.normal(size=(5, 8))
    for matrix in (y, np.asfortranarray(y)):
        product = runtime.times_blocks(x, runtime.column_blocks(matrix, 4))
        np.testing.assert_allclose(product, x @ y, rtol=1e-12)


@pytest.mark.parametrize("most", [1, 3, 40])
def test_rows_are_added_up_by_their_index(most: int) -> None:
    rng = np.random.default_rng(most)
    index = rng.integers(-10, 10, most * 10).astype(np.int32).reshape(most, 10)
    update = rng.normal(size=(most, 10, 2))
    wanted = np.zeros((10, 2))
    np.add.at(wanted, index, update)
    found = runtime.row_sums((10, 2), update, runtime.runs(index, 10))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    nothing = runtime.runs(index[:0], 10)
    np.testing.assert_array_equal(runtime.row_sums((10, 2), update[:0], nothing), np.zeros((10, 2)))


def test_what_is_zeroed_is_zero_whatever_it_was() -> None:
    x = np.array([1.0, np.nan, np.inf, -2.0, np.nan], np.float32)
    where = np.array([False, True, True, True, False])
    wanted = np.array([1.0, 0.0, 0.0, 0.0, np.nan], np.float32)
    np.testing.assert_array_equal(runtime.zeroed(x, where), wanted)
    np.testing.assert_array_equal(runtime.zeroed(x, where, out=x), wanted)
    np.testing.assert_array_equal(x, wanted)
