"""How emitted JAX reads, where it is not what NumPy is with another prefix."""

from collections.abc import Callable

import numpy as np
import pytest
from nnc_jax import backend

from nnc.ir.builder import Builder, Tensor
from nnc.ir.dims import symbol
from nnc.ir.graph import Graph
from nnc.ir.types import TensorType
from tests.backends.harness import assert_computes, source_of
from tests.backends.programs import digits
from tests.backends.test_numpy_loops import SCALAR, VECTOR, arrays, scan
from tests.backends.test_numpy_source import body
from tests.ops.bodies import I32, cell
from tests.ops.bodies import body as make_body
from tests.passes.graphs import graph


def check(made: Graph) -> str:
    """The body of `forward` in the source of a graph, as it is, that computes what it should."""
    return body(assert_computes(made, arrays(made), 1e-12, optimized=False, backend=backend))


# ---------------------------------------------------------------- loops
def test_a_loop_is_a_function_of_its_carry_and_its_slices() -> None:
    types = [TensorType("f64", s) for s in ((2, 3), (3, 2, 2), (2, 3), (3, 3))]
    text = check(scan(cell(), 1, 1, (0,), *types, length=3))
    lines = text.split("\n")
    assert lines[0] == "def scan_step(h, x_t):"
    assert "h, y1s = lax.scan(scan_step, a0, a1)" in lines


def test_several_carries_and_slices_are_tuples() -> None:
    swap = make_body(
        {"i": I32, "a": SCALAR, "b": SCALAR, "x": SCALAR, "z": SCALAR},
        lambda i, a, b, x, z: [b, a + x * z],
    )
    text = check(scan(swap, 2, 2, (), SCALAR, SCALAR, VECTOR, VECTOR))
    assert "def scan_step(carry, inputs):\n    a, b = carry\n    x_t, z_t = inputs\n" in text
    assert "return (b, a + x_t * z_t), None" in text
    assert "(a, b), _ = lax.scan(scan_step, (a0, a1), (a2, a3))" in text


def test_the_iteration_is_scanned_only_where_it_is_read() -> None:
    count = make_body(
        {"i": I32, "s": SCALAR}, lambda i, s: [s * 2.0 + i.cast("f64"), i.cast("f64") * 0.5]
    )
    text = check(scan(count, 1, 0, (0,), SCALAR, reverse=True))
    assert "lax.scan(scan_step, a0, jnp.arange(5, dtype=jnp.int32), reverse=True)" in text
    double = make_body({"i": I32, "s": SCALAR}, lambda i, s: [s * 2.0])
    assert "lax.scan(scan_step, a0, None, length=5)" in check(scan(double, 1, 0, (), SCALAR))


def test_other_axes_are_scanned_in_front() -> None:
    types = [TensorType("f64", s) for s in ((2, 3), (2, 3, 2), (2, 3), (3, 3))]
    text = check(scan(cell(), 1, 1, (1,), *types, length=3, axis=1))
    assert "lax.scan(scan_step, a0, a1.swapaxes(0, 1))" in text
    assert "y1s = y1s.swapaxes(0, 1)" in text


def test_a_loop_in_a_loop_reads_what_is_around_it() -> None:
    inner = make_body({"i": I32, "s": SCALAR, "k": SCALAR}, lambda i, s, k: [s * k])

    def outer(i: Tensor, s: Tensor, x: Tensor) -> list[Tensor]:
        (power,) = s.builder.emit(
            "scan", s, x, body=inner, carries=1, sequences=0, axes=(), out_axes=(), length=3,
            reverse=False,
        )  # fmt: skip
        return [power, power]

    loop = make_body({"i": I32, "s": SCALAR, "x": SCALAR}, outer)
    text = check(scan(loop, 1, 1, (0,), SCALAR, VECTOR))
    assert text.count("lax.scan(") == 2
    assert "    def scan_step_2(" in text


# ---------------------------------------------------------------- convolution
IMAGES = TensorType("f32", (2, 5, 6, 4))


def convolution(groups: int = 1, **changes: tuple[int, ...]) -> Graph:
    geometry = {"stride": (1, 1), "dilation": (1, 1), "low": (1, 1), "high": (1, 1), **changes}
    filters = TensorType("f32", (3, 3, 4 // groups, 8))
    return graph(lambda x, w: x.emit("conv", w, groups=groups, **geometry), IMAGES, filters)


def test_a_convolution_names_its_layouts_and_leaves_defaults_out() -> None:
    text = " ".join(body(source_of(convolution(), backend=backend)).split())
    assert 'dimension_numbers=("NHWC", "HWIO", "NHWC")' in text
    assert "((1, 1), (1, 1))" in text
    assert "rhs_dilation" not in text
    assert "feature_group_count" not in text


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions(groups: int) -> None:
    made = convolution(groups, stride=(2, 1), dilation=(1, 2), low=(0, 2), high=(2, 1))
    draw = np.random.default_rng(0)
    inputs = [draw.normal(size=made.node(id).type.shape).astype("f4") for id in made.inputs]
    assert_computes(made, inputs, 1e-5, backend=backend)


def test_a_convolution_of_four_axes_has_numbered_layouts() -> None:
    x, w = TensorType("f32", (1, 3, 3, 3, 3, 2)), TensorType("f32", (2, 2, 2, 2, 2, 1))
    ones, zeros = (1,) * 4, (0,) * 4
    made = graph(
        lambda x, w: x.emit("conv", w, stride=ones, dilation=ones, low=zeros, high=zeros, groups=1),
        x,
        w,
    )
    inputs = [np.ones(made.node(id).type.shape, np.float32) for id in made.inputs]
    assert "N0123C" in assert_computes(made, inputs, 1e-5, backend=backend)


# ---------------------------------------------------------------- what JAX has to be told
ROWS, PLACES = TensorType("f32", (5, 3)), TensorType("i32", (2,))
PAIRS = TensorType("f32", (2, 3))
MATRIX = TensorType("f32", (4, 3))

TOLD: dict[str, tuple[Callable[..., Tensor], tuple[TensorType, ...]]] = {
    "_take(x0, x1, axis=0)": (
        lambda x, i: x.emit("take", i, axis=0),
        (ROWS, PLACES),
    ),
    "_scatter_add(x0, x1, x2, axis=0)": (
        lambda x, i, u: x.emit("scatter_add", i, u, axis=0),
        (ROWS, PLACES, PAIRS),
    ),
    "x0.argmax(axis=1).astype(jnp.int32)": (lambda x: x.emit("argmax", axis=1), (MATRIX,)),
    "x0.argsort(axis=1, stable=True).astype(jnp.int32)": (
        lambda x: x.emit("argsort", axis=1),
        (MATRIX,),
    ),
    "lax.bitcast_convert_type(x0, jnp.uint32)": (
        lambda x: x.emit("bitcast", dtype="u32"),
        (MATRIX,),
    ),
    "jax.nn.log_softmax(x0, axis=1)": (lambda x: x.emit("log_softmax", axis=1), (MATRIX,)),
    "x0 @ x1.T": (
        lambda x, w: x.emit("dot", w, contract=((1,), (1,)), batch=((), ())),
        (MATRIX,) * 2,
    ),
}


@pytest.mark.parametrize("text", TOLD)
def test_spellings(text: str) -> None:
    function, types = TOLD[text]
    made = graph(function, *types)
    made.outputs = {"output": made.outputs["y0"]}
    assert body(source_of(made, backend=backend)) == f"return {text}"


@pytest.mark.parametrize("outside", [-1, 9])
def test_an_index_outside_reads_nan_and_adds_nothing(outside: int) -> None:
    read = graph(lambda x, i: x.emit("take", i, axis=0), ROWS, PLACES)
    add = graph(lambda x, i, u: x.emit("scatter_add", i, u, axis=0), ROWS, PLACES, PAIRS)
    x, places = np.ones((5, 3), np.float32), np.array([1, outside], np.int32)
    assert np.isnan(run(read, x, places)).tolist() == [[False] * 3, [True] * 3]
    added = run(add, x, places, np.ones((2, 3), np.float32))
    assert added.sum(axis=1).tolist() == [3, 6, 3, 3, 3]


def run(made: Graph, *inputs: np.ndarray) -> np.ndarray:
    """The one result of a graph that is printed, and run."""
    module: dict[str, Callable[..., dict[str, np.ndarray]]] = {}
    exec(source_of(made, backend=backend), module)
    return np.asarray(module["forward"]({}, *inputs)["y0"])


def test_matrices_of_any_rank_are_multiplied_by_one_operator() -> None:
    x, w = TensorType("f64", (4, 5, 6)), TensorType("f64", (6, 7))
    made = graph(lambda x, w: x.emit("dot", w, contract=((2,), (0,)), batch=((), ())), x, w)
    assert "x0 @ x1" in check(made)


def test_sizes_stay_open() -> None:
    n = symbol("N")
    made = graph(lambda x: x.reshape((n * 3,)), TensorType("f32", (n, 3)))
    assert "n = x0.shape[0]" in source_of(made, backend=backend)


# ---------------------------------------------------------------- steps
def test_functions_are_compiled_and_the_step_consumes_its_state() -> None:
    source = backend.emit(digits())
    donated = '@functools.partial(compiled, donate_argnames="state")\n'
    assert f"{donated}def classify(state, batch, scalars):" in source
    assert (
        '@functools.partial(compiled, static_argnames="count")\ndef evaluate_val_finish(' in source
    )
    assert "@compiled\ndef forward(state, x):" in source
    assert "\ndef run_classify(state, data, order, scalars):" in source


def test_helpers_stand_in_the_file_only_where_they_are_used() -> None:
    with_dropout = backend.emit(digits())
    without = source_of(graph(lambda x: x + x, MATRIX), backend=backend)
    assert "def random_words(" in with_dropout
    assert "def random_words(" not in without
    assert "->" not in with_dropout  # types are left out


def test_a_step_without_data_has_no_chunks() -> None:
    builder = Builder(Graph("empty"))
    builder.graph.outputs = {"@loss": builder.const(1.0, "f32").value}
    program = digits()
    program.phases[0].steps[0].graph = builder.graph
    assert "def run_" not in backend.emit(program)
