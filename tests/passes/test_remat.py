"""What is computed twice: values stay, memory goes down, a budget is kept or refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nnc_numpy
import numpy as np
import pytest

from nnc.api import load
from nnc.backend import get
from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.liveness import step_liveness
from nnc.ir.program import Remat, Step, Training
from nnc.ir.types import TensorType
from nnc.ir.verify import verify
from nnc.language.diagnostics import NncError
from nnc.passes.autodiff import expand_gradients
from nnc.passes.checkpoints import crossing_bytes, narrow_places, plan
from nnc.passes.common import common
from nnc.passes.recompute import Halves, rebuilt
from nnc.passes.remat import plans, rematerialize

ROWS, WIDTH, DEPTH = 32, 8, 6


def chain(kind: str = "tanh") -> Graph:
    """A step on `DEPTH` layers of a product and a nonlinearity, with their gradients."""
    builder = Builder(Graph("chain"))
    x = builder.input("d.x", TensorType("f64", (ROWS, WIDTH)), "batch")
    square = TensorType("f64", (WIDTH, WIDTH))
    weights = [builder.input(f"net.{i}.w", square, "state") for i in range(DEPTH)]
    h = x
    for w in weights:
        product: Tensor = h.emit("dot", w, contract=((1,), (0,)), batch=((), ()))
        h = h + product.emit("exp").emit(kind) * product
    loss = h.sum((0, 1))
    gradients = builder.emit("gradient", loss, *weights)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    builder.graph.outputs = {"@loss": loss.value}
    for i, (w, gradient) in enumerate(zip(weights, gradients, strict=True)):
        builder.graph.outputs[f"net.{i}.w"] = (w - gradient * 0.1).value
    expand_gradients(builder.graph)
    common.run(builder.graph)
    return builder.graph


def inputs() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    shapes = [(ROWS, WIDTH), *[(WIDTH, WIDTH)] * DEPTH]
    return [random.normal(size=shape) * 0.1 for shape in shapes]


def ops(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph)


def test_all_plans_compute_the_same_to_the_bit() -> None:
    graph = chain()
    wanted = interpret(graph, inputs())
    halves = Halves.of(graph)
    found = list(plans(halves, is_cheap=False))
    assert len(found) > 3
    for each in found:
        again = rebuilt(halves, each.groups)
        verify(again)
        values = interpret(again, inputs())
        for name, value in wanted.items():
            np.testing.assert_array_equal(values[name], value, err_msg=name)


def test_cheap_plans_compute_no_product_twice_and_others_do() -> None:
    graph = chain()
    halves = Halves.of(graph)
    products = ops(graph)["dot"]
    cheap = [rebuilt(halves, each.groups) for each in plans(halves, is_cheap=True)]
    assert cheap
    assert {ops(each)["dot"] for each in cheap} == {products}
    assert all(ops(each).total() > ops(graph).total() for each in cheap)
    whole = plan(halves, narrow_places(halves, DEPTH), range(DEPTH))
    assert ops(rebuilt(halves, whole.groups))["dot"] > products


def test_policies_take_less_and_less() -> None:
    steps = [Step("s", chain(), {}, remat=Remat(policy)) for policy in ("none", "auto", "full")]
    none, auto, full = (step_liveness(rematerialize(step, "b")).most for step in steps)
    assert full < auto < none


def test_what_is_recomputed_stands_right_before_its_first_reader() -> None:
    halves = Halves.of(chain())
    graph = rebuilt(halves, plan(halves, narrow_places(halves, DEPTH), range(DEPTH)).groups)
    barriers = [at for at, node in enumerate(graph) if node.op == "barrier"]
    forward = len(halves.forward)
    assert len(barriers) > 2
    assert max(np.diff(barriers)) < 2 * forward  # spread over the backward pass
    assert barriers[0] >= forward


def test_equal_expressions_do_not_meet_again() -> None:
    halves = Halves.of(chain())
    graph = rebuilt(halves, plan(halves, [], ()).groups)
    before = ops(graph)
    assert before["exp"] + before["tanh"] > 2 * DEPTH
    common.run(graph)
    assert ops(graph) == before


def test_stretches_divide_where_little_crosses() -> None:
    halves = Halves.of(chain())
    crossing = crossing_bytes(halves)
    places = narrow_places(halves, DEPTH)
    assert len(places) == DEPTH - 1
    assert {crossing[at] for at in places} == {ROWS * WIDTH * 8}  # one residual stream


def test_a_budget_is_kept_by_the_cheapest_plan_or_refused() -> None:
    graph = chain()
    most = step_liveness(graph).most
    assert rematerialize(Step("s", graph, {}, remat=Remat(budget=most)), "b") is graph
    least = step_liveness(rematerialize(Step("s", graph, {}, remat=Remat("full")), "b")).most
    middle = (most + least) // 2
    found = rematerialize(Step("s", graph, {}, remat=Remat(budget=middle)), "b")
    assert step_liveness(found).most <= middle
    with pytest.raises(NncError) as refused:
        rematerialize(Step("s", graph, {}, remat=Remat(budget=least - 1)), "b")
    (said,) = refused.value.diagnostics
    assert said.code == "E0437"
    assert "state" in said.help


# ---------------------------------------------------------------- whole programs
PROGRAM = """language 1

data d {
  x: f32[N, 64] = npy("x.npy")
  batch = 512
}

block Layer()(x: f32[N, D]) -> f32[N, D] =
  x + (x |> LayerNorm() |> Dense(4 * D) |> gelu |> Dropout(0.2) |> Dense(D))

model Deep()(x: f32[N, D]) -> f32[N, D] = x |> repeat 6 { Layer() }

train fit {
  let net   = Deep()
  loss      = mean((net(d.x) - d.x)^2)
  optimizer = Adam(1e-3)
  steps     = 3
  SETTING
}
"""


def program(folder: Path, setting: str) -> Path:
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(512, 64)).astype("f4"))
    path = folder / "deep.nn"
    path.write_text(PROGRAM.replace("SETTING", setting))
    return path


def trained(path: Path, backend: str) -> dict[str, np.ndarray]:
    model = load(path).compile(backend)
    state = model.init()
    for at in range(2):
        state, _ = model.step(state, model.batch(at))
    found: dict[str, np.ndarray] = model._plan.border.to_numpy(state)
    return found


@pytest.mark.parametrize("setting", ["remat = auto", "remat = full", "memory = 9MB"])
def test_numpy_trains_the_same_to_the_bit_in_less_memory(tmp_path: Path, setting: str) -> None:
    wanted = trained(program(tmp_path, ""), "numpy")
    before = measured(tmp_path / "deep.nn", "numpy")
    found = trained(program(tmp_path, setting), "numpy")
    for path, value in wanted.items():
        np.testing.assert_array_equal(found[path], value, err_msg=path)
    after = measured(tmp_path / "deep.nn", "numpy")
    assert after < 0.8 * before
    if "MB" in setting:
        assert after < 9e6


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_others_train_the_same_in_less_memory(tmp_path: Path, backend: str) -> None:
    wanted = trained(program(tmp_path, ""), backend)
    before = measured(tmp_path / "deep.nn", backend)
    found = trained(program(tmp_path, "remat = full"), backend)
    for path, value in wanted.items():
        np.testing.assert_allclose(found[path], value, 1e-6, 1e-9, err_msg=path)
    assert measured(tmp_path / "deep.nn", backend) < 0.7 * before


def measured(path: Path, backend: str) -> int:
    model, counts = load(path).compile(backend), get(backend)
    step, name = model._plan.phases[0].steps[0], "step"
    batch = model._plan.border.from_numpy(model.batch(0))
    scalars = step.scalars(0, 0, 0, 0)
    with np.errstate(all="ignore"):
        peak: int = counts.peak_bytes(getattr(model.module, name), model.init(), batch, scalars)  # type: ignore[attr-defined]
    return peak


def test_phases_that_share_a_step_share_what_is_made_of_it(tmp_path: Path) -> None:
    training: Training = load(program(tmp_path, "remat = full")).training()
    training.phases *= 2
    first, second = nnc_numpy.backend.legal(training).phases
    assert first.steps[0].graph is second.steps[0].graph
