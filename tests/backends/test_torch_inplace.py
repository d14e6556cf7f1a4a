"""Statements of PyTorch that write to an array which nothing else has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from nnc_torch import kernels
from nnc_torch.inplace import LARGE
from nnc_torch.squares import SHORT

from nnc.ir.types import TensorType
from tests.backends.harness import TOLERANCE
from tests.backends.test_numpy_source import body
from tests.backends.torch_harness import assert_computes, source_of
from tests.passes.graphs import graph

SIDE = int(LARGE**0.5)
SQUARE = TensorType("f64", (SIDE, SIDE))


def times(x: Any, w: Any) -> Any:
    return x.emit("dot", w, contract=((1,), (0,)), batch=((), ()))


def relu(x: Any) -> Any:
    return x.builder.full(0, x.dtype, x.type.shape).binary("maximum", x)


WRITTEN = {
    "(x0 @ x1).relu_()": lambda x, y: relu(times(x, y)),
    "(x0 @ x1).mul_(x0)": lambda x, y: times(x, y) * x,
    "(x0 @ x1).mul_(x1)": lambda x, y: y * times(x, y),
    "torch.exp(x0).sub_(x1)": lambda x, y: x.emit("exp") - y,
    "(x0 - torch.exp(x1)).exp_()": lambda x, y: (x - y.emit("exp")).emit("exp"),
    "(x0 + x1).div_(x1).neg_()": lambda x, y: -(x + y) / y,
    "torch.sigmoid(x0).mul_(2.0).add_(x1)": lambda x, y: x.emit("sigmoid") * 2.0 + y,
    "gelu_grad_(x0 @ x1, x0)": lambda x, y: times(x, y).emit("gelu_grad", x),
    "gelu_grad(x0, x1)": lambda x, y: x.emit("gelu_grad", y),
    "torch.addmm(x0, x0, x1)": lambda x, y: x + times(x, y),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_what_stands_inside_an_expression_is_written_to(text: str) -> None:
    draw = np.random.default_rng(0).standard_normal
    made = graph(WRITTEN[text], SQUARE, SQUARE)
    source = assert_computes(made, [draw((SIDE, SIDE)), draw((SIDE, SIDE))], TOLERANCE["f64"])
    assert f'return {{"y0": {text}}}' in body(source, "evaluate_val_batch")


def test_what_is_read_again_or_has_another_shape_is_not() -> None:
    def compute(x: Any, row: Any) -> tuple[Any, ...]:
        wide = row.emit("exp").emit("broadcast", shape=x.type.shape, axes=(1,))
        y = x.emit("exp")
        return wide * x, y * x, y

    draw = np.random.default_rng(0).standard_normal
    made = graph(compute, SQUARE, TensorType("f64", (SIDE,)))
    source = assert_computes(made, [draw((SIDE, SIDE)), draw(SIDE)], TOLERANCE["f64"])
    assert "_(" not in body(source, "evaluate_val_batch")


def test_small_arrays_get_the_plainer_text() -> None:
    small = TensorType("f64", (SIDE - 1, SIDE))
    assert "_(" not in body(source_of(graph(lambda x: -x.emit("exp"), small)), "evaluate_val_batch")


def test_autograd_goes_through_no_array_that_was_overwritten() -> None:
    source = source_of(graph(lambda x, y: relu(times(x, y)), SQUARE, SQUARE))
    assert "torch.relu(x0 @ x1)" in source


@pytest.mark.parametrize("name", ["relu_grad", "gelu_grad"])
def test_a_gradient_in_place_is_the_gradient(name: str) -> None:
    dy, x = torch.randn(5, 7), torch.randn(5, 7)
    wanted = getattr(kernels, name)(dy, x)
    found = getattr(kernels, f"{name}_")(dy, x)
    assert found.data_ptr() == dy.data_ptr()
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_torch_compile_goes_through_gradients_in_place() -> None:
    def step(dy: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return kernels.relu_grad_(kernels.gelu_grad_(dy + 1, x), x)

    dy, x = torch.randn(5, 7), torch.randn(5, 7)
    fast = torch.compile(step, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(fast(dy, x), step(dy, x))


# ---------------------------------------------------------------- squares and indices
@pytest.mark.parametrize(
    ("dtype", "count", "is_one"),
    [("f32", SHORT, True), ("f32", SHORT + 1, False), ("f16", 9, False)],
)
def test_short_sums_of_squares_are_one_kernel(dtype: str, count: int, is_one: bool) -> None:
    made = graph(lambda x: (x * x).sum((0,)), TensorType(dtype, (count,)))
    x = np.random.default_rng(0).standard_normal(count).astype("f2" if dtype == "f16" else "f4")
    source = assert_computes(made, [x], 1e-2 if dtype == "f16" else 1e-5)
    assert ("square_sum(x0)" in body(source, "evaluate_val_batch")) == is_one


def test_an_index_is_converted_once() -> None:
    def compute(x: Any, index: Any) -> tuple[Any, ...]:
        picked = x.emit("take_along", index, axis=1)
        zeros, ones = (x.builder.full(n, x.dtype, t) for n, t in ((0, (5, 3)), (1, (5, 1))))
        return picked, zeros.emit("scatter_add_along", index, ones, axis=1)

    made = graph(compute, TensorType("f64", (5, 3)), TensorType("i32", (5, 1)))
    x, index = np.random.default_rng(0).standard_normal((5, 3)), np.arange(5)[:, None] % 3
    source = assert_computes(made, [x, index.astype(np.int32)], TOLERANCE["f64"])
    assert body(source, "evaluate_val_batch").count(".long()") == 1
