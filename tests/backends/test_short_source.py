"""How short floats read in emitted sources, and that frameworks round where they are told to."""

from __future__ import annotations

import nnc_jax
import nnc_numpy
import nnc_torch
import numpy as np
import pytest

from nnc.backend import Backend
from nnc.ir.builder import Tensor
from nnc.ir.graph import Graph
from nnc.ir.interpret import interpret
from nnc.ir.types import TensorType
from nnc.passes.precision import multiply_in
from tests.backends.harness import load, source_of
from tests.backends.test_numpy_source import body
from tests.passes.graphs import graph

BACKENDS = (nnc_numpy.backend, nnc_jax.backend, nnc_torch.backend)
X, W, B = TensorType("f32", (4, 16)), TensorType("f32", (16, 3)), TensorType("f32", (3,))
EXPECTED = {
    ("numpy", "bf16"): "to_bf16(to_bf16(x0).dot(to_bf16(x1))) + x2",
    ("numpy", "f16"): "to_f16(to_f16(x0).dot(to_f16(x1))) + x2",
    ("jax", "bf16"): "(x0.astype(jnp.bfloat16) @ x1.astype(jnp.bfloat16)).astype(jnp.float32)",
    ("jax", "f16"): "(x0.astype(jnp.float16) @ x1.astype(jnp.float16)).astype(jnp.float32)",
    ("torch", "bf16"): "(x0.bfloat16() @ x1.bfloat16()).float() + x2",
    ("torch", "f16"): "(x0.half() @ x1.half()).float() + x2",
}


def layer(precision: str) -> Graph:
    """x @ w + b, its product in `precision`."""

    def dense(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        product: Tensor = x.emit("dot", w, contract=((1,), (0,)), batch=((), ()))
        return product + b

    made = graph(dense, X, W, B)
    multiply_in(made, precision)
    return made


def computed(made: Graph, backend: Backend, *arrays: np.ndarray) -> dict[str, np.ndarray]:
    """What the emitted function gives, in NumPy's arrays."""
    module = load(source_of(made, backend=backend))
    given = {f"x{i}": array for i, array in enumerate(arrays)}
    native = module.get("from_numpy", dict)(given)
    found = module["forward"]({}, *native.values())
    outputs = found if isinstance(found, dict) else {"y0": found}
    return dict(module.get("to_numpy", dict)(outputs))


@pytest.mark.parametrize("precision", ["bf16", "f16"])
@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_a_layer_reads_as_by_hand(backend: Backend, precision: str) -> None:
    assert EXPECTED[backend.name, precision] in source_of(layer(precision), backend=backend)


@pytest.mark.parametrize("precision", ["bf16", "f16"])
@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_a_layer_rounds_operands_and_result(backend: Backend, precision: str) -> None:
    """Small whole numbers beside a fraction that a short float has not: sums are exact in f32."""
    draw = np.random.default_rng(0)
    x = draw.integers(-8, 9, (4, 16)) + 2.0**-12
    w, b = draw.integers(-8, 9, (16, 3)), np.zeros(3)
    arrays = [a.astype(np.float32) for a in (x, w, b)]
    made = layer(precision)
    wanted = interpret(made, arrays)["y0"]
    np.testing.assert_array_equal(computed(made, backend, *arrays)["y0"], wanted)
    assert not np.array_equal(wanted, arrays[0] @ arrays[1])


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_rounding_alone_is_not_optimized_away(backend: Backend, dtype: str) -> None:
    made = graph(lambda x: x.cast(dtype).cast("f32"), TensorType("f32", (1000,)))
    x = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    np.testing.assert_array_equal(computed(made, backend, x)["y0"], interpret(made, [x])["y0"])


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_arithmetic_in_short_floats(backend: Backend, dtype: str) -> None:
    """Every op rounds; a number beside an array has the array's type."""
    short = TensorType(dtype, (50,))
    made = graph(lambda x, y: [x * 0.1 + y, (x - y) * 3.0, x.binary("maximum", y)], short, short)
    draw = np.random.default_rng(2)
    kind = np.float16 if dtype == "f16" else np.float32
    x, y = (draw.normal(size=50).astype(kind) for _ in range(2))
    wanted = interpret(made, [x, y])
    for name, value in computed(made, backend, x, y).items():
        np.testing.assert_array_equal(value, wanted[name].astype(value.dtype), err_msg=name)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_words_become_short_floats(backend: Backend) -> None:
    made = graph(lambda x: (x.emit("xor", x) + x).cast("bf16"), TensorType("u32", (4,)))
    words = np.array([1, 255, 257, 2**32 - 1], np.uint32)
    found = computed(made, backend, words)["y0"]
    assert found.tolist() == [1, 255, 256, 2.0**32]


def test_bf16_crosses_the_border_of_a_file_as_f32() -> None:
    made = graph(lambda x: x + 1.0, TensorType("bf16", (3,)))
    for backend in BACKENDS:
        source = source_of(made, backend=backend)
        assert '"x0": ["f32", [3]]' in source
        assert computed(made, backend, np.ones(3, np.float32))["y0"].dtype == np.float32


def test_a_product_of_f16_goes_through_float32_in_numpy() -> None:
    """NumPy multiplies f16 in a plain loop."""
    half = TensorType("f16", (4, 4))
    made = graph(lambda x: x.emit("dot", x, contract=((1,), (0,)), batch=((), ())), half)
    text = body(source_of(made))
    assert ".astype(np.float32)" in text
    assert text.rstrip().endswith("astype(np.float16)}")


def test_torch_adds_products_up_in_f32_on_gpus() -> None:
    line = "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False"
    assert line in source_of(layer("bf16"), backend=nnc_torch.backend)
    assert "reduced_precision" not in source_of(layer("f32"), backend=nnc_torch.backend)
