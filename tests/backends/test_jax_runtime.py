"""What every emitted file of JAX sets up, by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from nnc_jax import backend, runtime
from nnc_jax.dot import transposed
from nnc_jax.runtime import compiled, xla_options

from nnc.ir.builder import Tensor
from nnc.ir.types import TensorType
from tests.backends.programs import digits
from tests.backends.test_jax_source import check
from tests.passes.graphs import graph


def test_a_compiled_function_may_be_a_part_of_another() -> None:
    double = compiled(lambda state: {"x": state["x"] * 2})
    assert double({"x": np.float64(3.0)})["x"].dtype == np.float64
    assert jax.jit(lambda x: double({"x": x})["x"] + 1)(jnp.float32(3.0)) == 7.0


def test_what_compilation_leaves_is_given_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    monkeypatch.setattr(runtime, "trim_memory", lambda: calls.append(None))
    double = compiled(lambda x: x * 2)
    assert [double(np.float32(x)) for x in (3, 4)] == [6, 8]
    assert len(calls) == 1


@pytest.mark.parametrize(("rows", "left"), [(1024, "transposed(x0)"), (5, "x0.T")])
def test_the_left_factor_of_a_long_product_is_turned_before_it(rows: int, left: str) -> None:
    def product(x: Tensor, y: Tensor) -> Tensor:
        return x.emit("dot", y, contract=((0,), (0,)), batch=((), ()))

    made = graph(product, TensorType("f64", (rows, 3)), TensorType("f64", (rows, 2)))
    assert f"{left} @ x1" in check(made)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="what XLA does on a CPU")
def test_on_a_cpu_the_turned_factor_is_an_array() -> None:
    x, y = jnp.ones((64, 32)), jnp.ones((64, 16))
    text = jax.jit(lambda x, y: transposed(x) @ y).lower(x, y).compile().as_text()
    assert "lhs_contracting_dims={0}" not in text


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="what XLA does on a CPU")
def test_on_a_cpu_convolutions_are_not_those_of_the_library_with_one_core() -> None:
    x, w = jnp.ones((8, 16, 16, 32)), jnp.ones((3, 3, 32, 32))

    def conv(x: jax.Array, w: jax.Array) -> jax.Array:
        layouts = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=layouts)

    text = jax.jit(conv, compiler_options=xla_options()).lower(x, w).compile().as_text()
    assert " convolution(" in text
    assert "ynn" not in text


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise jax.errors.JaxRuntimeError("No such compile option")

    monkeypatch.setattr(jax, "jit", refuse)
    assert not any("ynn" in name for name in xla_options.__wrapped__())


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="what XLA does on a CPU")
@pytest.mark.parametrize("small", [False, True])
def test_small_products_are_loops_and_others_the_librarys(
    small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "SMALL", small)
    x, w = jnp.ones((32, 64)), jnp.ones((64, 32))
    options = xla_options.__wrapped__()
    text = jax.jit(jnp.matmul, compiler_options=options).lower(x, w).compile().as_text()
    assert ("ynn_fusion" not in text) is small


@pytest.mark.parametrize("small", [False, True])
def test_a_file_knows_whether_all_its_products_are_small(
    small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small:
        monkeypatch.setattr("nnc_jax.dialect.SMALL", 64 * 64 * 256)
    assert f"\nSMALL = {small}\n" in backend.emit(digits())


@pytest.mark.parametrize("large", [False, True])
def test_a_large_step_runs_on_its_callers_thread(
    large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr("nnc_jax.dialect.LARGE", 1024)
    assert ("\nrun_in_caller()\n" in backend.emit(digits())) is large
