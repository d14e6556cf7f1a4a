"""Running a graph node by node: sizes from arrays, checked types, and the float64 twin."""

import numpy as np
import pytest

from nnc.ir.builder import Builder
from nnc.ir.dims import symbol
from nnc.ir.graph import Array, Graph, Node
from nnc.ir.interpret import as_float64, interpret, with_sizes
from nnc.ir.types import TensorType
from nnc.ir.verify import GraphError, verify

N = symbol("N")


def mean_of_squares() -> Graph:
    """The mean over a symbolic batch of x^2 * 0.1, x: f32[N, 2]."""
    builder = Builder(Graph("loss"))
    x = builder.input("x", TensorType("f32", (N, 2)))
    builder.graph.outputs = {"loss": (x * x * 0.1).mean((0, 1)).value}
    return builder.graph


def test_sizes_are_those_of_the_arrays() -> None:
    graph = mean_of_squares()
    for count in (1, 5):
        result = interpret(graph, {"x": np.full((count, 2), 3.0, np.float32)})["loss"]
        assert result == pytest.approx(0.9, rel=1e-6)
        assert result.dtype == np.float32


def test_inputs_go_by_name_or_order_and_extra_ones_are_left() -> None:
    builder = Builder(Graph())
    x, y = (builder.input(name, TensorType("i32")) for name in "xy")
    builder.graph.outputs = {"d": (x - y).value}
    assert interpret(builder.graph, [5, 3])["d"] == 2
    assert interpret(builder.graph, {"y": 3, "z": 0, "x": 5})["d"] == 2


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 3), np.float32), "`x` is f32[N, 2], and the array has the shape [2, 3]"),
        (np.zeros(2, np.float32), "the array has the shape [2]"),
        (np.zeros((1, 2), np.complex64), "complex64 does not fit it"),
        (np.zeros((1, 2), np.bool_), "bool does not fit it"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(x: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match="the input `x` is") as refused:
        interpret(mean_of_squares(), [x])
    assert message in str(refused.value)


def test_missing_inputs_and_disagreeing_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="the graph reads x too"):
        interpret(mean_of_squares(), {})
    builder = Builder(Graph())
    for name, shape in (("x", (N,)), ("y", (2 * N + 1,))):
        builder.input(name, TensorType("f32", shape))
    assert interpret(builder.graph, [np.zeros(2), np.zeros(5)]) == {}
    with pytest.raises(ValueError, match=r"`y` is f32\[2 \* N \+ 1\].* \[4\], N = 2"):
        interpret(builder.graph, [np.zeros(2), np.zeros(4)])


def test_integers_are_converted_where_they_fit() -> None:
    builder = Builder(Graph())
    builder.graph.outputs = {"y": builder.input("seed", TensorType("u64")).value}
    assert interpret(builder.graph, [7])["y"].dtype == np.uint64
    with pytest.raises(ValueError, match="int64 does not fit it"):
        interpret(builder.graph, [-1])


def test_every_node_is_shown_in_order() -> None:
    seen: list[tuple[str, float]] = []

    def keep(node: Node, results: tuple[np.ndarray, ...]) -> None:
        seen.append((node.op, float(results[0].max())))

    interpret(mean_of_squares(), [np.ones((1, 2))], keep=keep)
    assert [op for op, _ in seen][:2] == ["input", "mul"]
    assert seen[-1] == ("div", pytest.approx(0.1))


def test_overflow_gives_infinity_without_a_warning() -> None:
    builder = Builder(Graph())
    x = builder.input("x", TensorType("f32"))
    builder.graph.outputs = {"y": x.emit("exp").value, "z": x.emit("neg").emit("log").value}
    result = interpret(builder.graph, [1e3])
    assert np.isinf(result["y"])
    assert np.isnan(result["z"])


def test_a_node_that_is_not_of_its_type_is_a_fault() -> None:
    graph = mean_of_squares()
    (power,) = (node for node in graph if node.op == "const" and node.attrs["value"] == 0.1)
    power.attrs = {"value": 0.1, "dtype": "f64"}
    with pytest.raises(GraphError, match=r"= const: evaluates to .*float64.*, not to f32"):
        interpret(graph, [np.ones((1, 2))])


# ---------------------------------------------------------------- other types
def test_sizes_replace_names_everywhere() -> None:
    body = mean_of_squares()
    builder = Builder(Graph())
    x = builder.input("x", TensorType("f32", (N, 2)))
    result = x.emit("call", body=body)
    builder.graph.outputs = {"y": (result[0] if isinstance(result, tuple) else result).value}
    concrete = with_sizes(builder.graph, {"N": 4})
    verify(concrete)
    assert concrete.node(0).type.shape == (4, 2)
    (call,) = (node for node in concrete if node.op == "call")
    (size,) = (node for node in call.attrs["body"] if node.op == "size")
    assert size.attrs["dim"] == 8
    assert builder.graph.node(0).type.shape == (N, 2)
    assert interpret(builder.graph, [np.ones((4, 2))])["y"] == np.float32(0.1)


def test_float64_twin_computes_without_rounding_to_float32() -> None:
    graph = mean_of_squares()
    twin = as_float64(graph)
    verify(twin)
    assert [node.id for node in twin] == [node.id for node in graph]
    x = np.full((3, 2), 1 / 3)
    assert interpret(twin, [x])["loss"] == pytest.approx(1 / 90, rel=1e-15)
    assert interpret(graph, [x])["loss"].dtype == np.float32


def test_float64_twin_converts_arrays_casts_and_bodies() -> None:
    builder = Builder(Graph())
    x = builder.input("x", TensorType("i32", (2,)))
    table = builder.emit("const", value=Array(np.array([0.5, 2], np.float32)), dtype="f32")
    y = table * x.cast("f32")
    result = y.emit("call", body=_square())
    builder.graph.outputs = {"y": (result[0] if isinstance(result, tuple) else result).value}
    twin = as_float64(builder.graph)
    verify(twin)
    result = interpret(twin, [[1, 3]])["y"]
    assert result.dtype == np.float64
    assert result.tolist() == [0.25, 36.0]


def _square() -> Graph:
    builder = Builder(Graph("square"))
    x = builder.input("x", TensorType("f32", (2,)))
    builder.graph.outputs = {"y": (x * x).value}
    return builder.graph


def test_float64_twin_keeps_the_bits_of_float32() -> None:
    """The exponent of a float32, as integers and put back into a float."""
    builder = Builder(Graph())
    x = builder.input("x", TensorType("f32"))
    bits = x.emit("bitcast", dtype="u32").binary("and", 0x7F800000)
    power = bits.emit("bitcast", dtype="f32")
    builder.graph.outputs = {"power": power.value, "x": (power + x).value}
    twin = as_float64(builder.graph)
    verify(twin)
    result = interpret(twin, [5.1])
    assert (result["power"], result["x"]) == (4.0, 9.1)
