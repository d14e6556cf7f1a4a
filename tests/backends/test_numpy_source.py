"""How emitted source reads: names, comments, loops, brackets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnc_numpy import backend, runtime, updates

from nnc.emit.expressions import dim_text
from nnc.emit.functions import scalars_function
from nnc.emit.layout import WIDTH
from nnc.ir import host
from nnc.ir.builder import Builder, Tensor
from nnc.ir.dims import Dim, symbol
from nnc.ir.graph import Graph
from nnc.ir.host import HostConst, HostExpr, HostIf, HostOp, HostVar
from nnc.ir.reverse import vjp
from nnc.ir.types import TensorType
from nnc.passes.pipeline import optimize_training
from tests.backends.harness import assert_computes, load, source_of
from tests.backends.programs import digits
from tests.gradcheck import normal
from tests.ops.bodies import cell
from tests.passes.graphs import graph
from tests.std.program import training_of

MATRIX = TensorType("f32", (4, 3))
ROW = TensorType("f32", (3,))
COLUMN = TensorType("f32", (4,))
N = symbol("N")


def body(made: Graph | str, function: str = "forward") -> str:
    """The statements of one function, without docstring and indentation."""
    source = made if isinstance(made, str) else source_of(made)
    text = source.split(f"def {function}(")[1].split("\n\n\n")[0]
    lines = text.split('"""')[2].strip("\n").split("\n")
    return "\n".join(line.removeprefix("    ") for line in lines)


def returned(function: Callable[..., Tensor], *types: TensorType) -> str:
    """What the emitted function returns for a graph of one output."""
    made = graph(function, *types)
    made.outputs = {"output": made.outputs["y0"]}
    text = body(made)
    assert text.startswith("return "), text
    return text.removeprefix("return ")


BRACKETS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "x0 - (x1 - x0)": lambda x, y: x - (y - x),
    "x0 - x1 - x0": lambda x, y: (x - y) - x,
    "x0 / (x1 * x0)": lambda x, y: x / (y * x),
    "(x0 + x1) * x0": lambda x, y: (x + y) * x,
    "x0 + x1 * x0": lambda x, y: x + y * x,
    "-(x0 * x1)": lambda x, y: x * -y,
    "-(x0 - x1)": lambda x, y: -(x - y),
    "np.exp(x0 + x1)": lambda x, y: (x + y).emit("exp"),
    "(x0 > x1) & (x1 > 0.5)": lambda x, y: (x > y).binary("and", y > 0.5),
    "~(x0 > x1)": lambda x, y: (x > y).emit("not"),
    "np.where(x0 > 0.0, x0, 0.0)": lambda x, y: (x > 0.0).where(x, 0.0),
    "(x0 + x1).astype(np.float64)": lambda x, y: (x + y).cast("f64"),
    "x0.T.dot(x1)": lambda x, y: x.emit("dot", y, contract=((0,), (0,)), batch=((), ())),
    "x0.dot(x1.T)": lambda x, y: x.emit("dot", y, contract=((1,), (1,)), batch=((), ())),
}


@pytest.mark.parametrize("text", BRACKETS)
def test_brackets_are_the_fewest(text: str) -> None:
    assert returned(BRACKETS[text], MATRIX, MATRIX) == text


BROADCASTS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "x0 + x1": lambda m, row, column: m + row,
    "x0 * x2[:, None]": lambda m, row, column: m * column.broadcast((4, 3), (0,)),
    "x1 * x2[:, None]": lambda m, row, column: (
        row.broadcast((4, 3), (1,)) * column.broadcast((4, 3), (0,))
    ),
    "x0 - np.maximum.reduce(x0, axis=1, keepdims=True)": lambda m, row, column: (
        m - m.max((1,)).restore((4, 3), (1,))
    ),
    "np.broadcast_to(x2[:, None], (4, 3))": lambda m, row, column: column.broadcast((4, 3), (0,)),
    "np.zeros((4, 3), np.float32)": lambda m, row, column: m.builder.full(0, "f32", (4, 3)),
    "x2[:, None]": lambda m, row, column: column.reshape((4, 1)),
}


@pytest.mark.parametrize("text", BROADCASTS)
def test_broadcasts_vanish_where_numpy_does_them(text: str) -> None:
    assert returned(BROADCASTS[text], MATRIX, ROW, COLUMN) == text


def test_large_arrays_are_reduced_by_their_methods() -> None:
    large = TensorType("f32", (128, 64))
    assert returned(lambda x: x.sum((0,)), large) == "x0.sum(axis=0)"
    assert returned(lambda m: m.sum((0,)), MATRIX) == "np.add.reduce(x0, axis=0)"
    assert returned(lambda m: m.sum((0, 1)), MATRIX) == "x0.sum()"


def test_constants_keep_float32() -> None:
    made = graph(lambda x: (x > 0.0).where(x.builder.full(1.0, "f32", (4, 3)), 0.5) * 0.1, MATRIX)
    assert_computes(made, [np.ones((4, 3), np.float32)], 1e-7)


def test_names_that_python_or_the_file_has_are_not_taken() -> None:
    names = ("class", "np", "sum", "state", "2nd value", "forward_2")
    builder = Builder(Graph("names"))
    x = builder.input("x", MATRIX)
    total = x
    for name in names:
        value = total.emit("exp")
        builder.graph.producer(value.value).name = name
        total = value * value
    builder.graph.outputs = {"output": total.value}
    variables = [line.split(" = ")[0] for line in body(builder.graph).split("\n")[:-1]]
    assert variables == ["class_2", "np_2", "sum_2", "state_2", "v_2nd_value", "forward_2"]


def test_sizes_are_bound_from_shapes_where_they_are_read() -> None:
    n = symbol("N")
    made = graph(lambda x: x.reshape((n * 3,)), TensorType("f32", (n, 3)))
    made.outputs = {"output": made.outputs["y0"]}
    assert body(made) == "n = x0.shape[0]\nreturn x0.reshape(3 * n)"


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (symbol("N") * 2 + 1, "2 * n + 1"),
        (symbol("N") - symbol("H") * 3, "n - 3 * h"),
        ((symbol("H") + 1) // 2 * 4, "4 * ((h + 1) // 2)"),
        (symbol("N") ** 2, "n ** 2"),
    ],
)
def test_dims(dim: Dim, text: str) -> None:
    assert eval(dim_text(dim), {"n": 7, "h": 5}) == eval(text, {"n": 7, "h": 5})


def test_a_scan_is_a_loop_that_keeps_its_carry_in_one_variable() -> None:
    builder = Builder(Graph("rnn"))
    types = [TensorType("f64", s) for s in ((2, 3), (2, 3, 2), (2, 3), (3, 3))]
    operands = [builder.input(f"a{i}", type) for i, type in enumerate(types)]
    results = builder.emit(
        "scan", *operands, body=cell(), carries=1, sequences=1, axes=(1,), out_axes=(1,),
        length=3, reverse=True,
    )  # fmt: skip
    builder.graph.outputs = {"h": results[0].value, "hs": results[1].value}
    text = body(builder.graph)
    assert "for t in reversed(range(3)):" in text
    assert "[:, t]" in text


SLICES = {
    "x0[1:]": ((1,), (N,), (1,)),
    "x0[: n - 1]": ((0,), (N - 1,), (1,)),
    "x0[1 : n - 1]": ((1,), (N - 1,), (1,)),
    "x0[1 : n - 1 : 2]": ((1,), (N - 1,), (2,)),
    "x0[::2]": ((0,), (N,), (2,)),
}


@pytest.mark.parametrize("text", SLICES)
def test_slices(text: str) -> None:
    start, stop, step = SLICES[text]
    vector = TensorType("f32", (N,))
    made = graph(lambda x: x.emit("slice", start=start, stop=stop, step=step), vector)
    made.outputs = {"output": made.outputs["y0"]}
    assert body(made).split("\n")[-1] == f"return {text}"


# ---------------------------------------------------------------- steps
UPDATE = """
for p, m, v, grad in updated(state, gradients, "@opt/adamw/m/", "@opt/adamw/v/"):
    m *= 0.9
    m += 0.1 * grad
    product_2 = grad * grad
    product_2 *= 0.001
    v *= 0.999
    v += product_2
"""
UPDATE_OF_FEW = """
for path, grad in gradients.items():
    p = state[path]
    m = state[f"@opt/adamw/m/{path}"]
    v = state[f"@opt/adamw/v/{path}"]
    m *= 0.9
    m += 0.1 * grad
    product_2 = grad * grad
    product_2 *= 0.001
    v *= 0.999
    v += product_2
"""


def test_alike_updates_are_one_loop_in_place() -> None:
    text = body(backend.emit(digits()), "classify")
    assert text.count("np.sqrt") == 1
    assert UPDATE.strip("\n") in text


def test_few_updates_of_small_arrays_are_made_array_by_array(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(updates, "MANY", 1000)
    text = body(backend.emit(digits()), "classify")
    assert UPDATE_OF_FEW.strip("\n") in text


DESCENT = """
language 1
data d {{
  x: f32[N, 3] = npz("data.npz", "x")
  batch = 4
}}
block Net()(x: f32[N, D]) -> f32[N, 2] {{
  param a: f32[2] = zeros()
  param b: f32[2] = zeros()
  return (x |> Dense(2)) + a + 2 * b
}}
train fit {{
  let net = Net()
  loss      = sum(net(d.x)^2)
  optimizer = SGD(0.1)
  steps     = 5{clip}
}}
"""


@pytest.mark.parametrize(
    ("clip", "update"),
    [("", "    grad *= 0.1\n    p -= grad"), ("\n  clip_norm = 1.0", "p -= 0.1 * (grad *")],
)
def test_a_gradient_that_the_update_alone_reads_is_scaled_in_place(
    tmp_path: Path, clip: str, update: str
) -> None:
    training = training_of(tmp_path, DESCENT.format(clip=clip), x=np.ones((4, 3)))
    optimize_training(training)
    assert update in body(backend.emit(training), "step")


def test_small_arrays_are_packed_and_stay_packed() -> None:
    state = {name: np.full(3, float(i)) for i, name in enumerate(("a", "b", "m/a", "m/b"))}
    for _ in range(2):
        for p, m, grad in runtime.updated(state, {"a": np.ones(3), "b": np.zeros(3)}, "m/"):
            assert p.shape == m.shape == (6,)
            p += grad
            m += p
    np.testing.assert_array_equal(state["a"], np.full(3, 2.0))
    np.testing.assert_array_equal(state["b"], np.full(3, 1.0))
    np.testing.assert_array_equal(state["m/a"], np.full(3, 2.0 + 1 + 2))
    np.testing.assert_array_equal(state["m/b"], np.full(3, 3.0 + 1 + 1))


def test_what_the_caller_puts_into_the_state_is_updated() -> None:
    first = {"a": np.zeros(3), "b": np.zeros(2)}
    second = {"a": np.ones(3), "b": np.ones(2)}
    for state in (first, second, first):
        for p, grad in runtime.updated(state, {"a": np.ones(3), "b": np.ones(2)}):
            p += grad
    first["b"] = np.full(2, 10.0)
    for p, grad in runtime.updated(first, {"a": np.ones(3), "b": np.ones(2)}):
        p += grad
    np.testing.assert_array_equal(first["a"], np.full(3, 3.0))
    np.testing.assert_array_equal(first["b"], np.full(2, 11.0))
    np.testing.assert_array_equal(second["b"], np.full(2, 2.0))


def test_pieces_are_views_of_all_elements_once() -> None:
    x, y = np.zeros((200, 300)), np.arange(60_000.0).reshape(200, 300)
    for part, other in runtime.pieces(x, y):
        part += other
    np.testing.assert_array_equal(x, y)
    for part, other in runtime.pieces(x.T, y.T):
        part += other
    np.testing.assert_array_equal(x, 2 * y)


def test_a_step_has_its_sections_and_places() -> None:
    lines = body(backend.emit(digits()), "classify").split("\n")
    comments = [line for line in lines if line.startswith("# ") and ":" not in line]
    assert comments == ["# forward", "# gradients", "# update"]
    assert "# digits.nn:14 net.dense_0" in lines


def test_equal_initializers_are_one_function() -> None:
    source = backend.emit(digits())
    assert source.count("random_bits(shape, seed, path)") == 1
    assert 'uniform(seed, (64, 256), "init/net.dense_0.w"' in source


def test_no_line_is_too_long() -> None:
    assert max(map(len, backend.emit(digits()).split("\n"))) <= WIDTH


def test_helpers_stand_in_the_file_only_where_they_are_used() -> None:
    with_dropout, without = backend.emit(digits()), source_of(graph(lambda x: x + x, MATRIX))
    assert "def bits64(" in with_dropout
    assert "def " not in without.split("def init")[0]


# ---------------------------------------------------------------- scalars
numbers = st.sampled_from([0.5, 2, 3, 0.001])
leaves = st.one_of(numbers.map(HostConst), st.sampled_from(["step", "updates"]).map(HostVar))


def grow(inner: st.SearchStrategy[HostExpr]) -> st.SearchStrategy[HostExpr]:
    ops = st.sampled_from(["add", "sub", "mul", "minimum"])
    conditions = st.builds(lambda a, b: HostOp("lt", (a, b)), inner, inner)
    return st.one_of(
        st.builds(lambda op, a, b: HostOp(op, (a, b)), ops, inner, inner),
        st.builds(HostIf, conditions, inner, inner),
    )


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["lr", "step", "c1"]), st.recursive(leaves, grow, max_leaves=12)
    )
)
def test_scalars_are_what_the_host_computes(scalars: dict[str, HostExpr]) -> None:
    module = load(scalars_function(scalars, "scalars"))
    for step in (0, 1, 5):
        counters = {"step": step, "updates": 2 * step, "seed": 3, "draw": step}
        expected: dict[str, Any] = {k: host.evaluate(e, counters) for k, e in scalars.items()}
        assert module["scalars"](**counters) == expected


def test_what_has_a_name_is_a_variable_and_made_once() -> None:
    left = HostOp("sub", (HostConst(1), HostOp("pow", (HostConst(0.9), HostVar("updates")))))
    root = HostOp("sqrt", (left,), "correction")
    rate = HostOp("mul", (HostOp("mul", (HostVar("step"), HostConst(0.1)), "lr"), root), "rate")
    text = scalars_function(
        {"eps": HostOp("mul", (HostConst(1e-8), root)), "rate": rate}, "scalars"
    )
    assert (
        text.split('"""')[2]
        == """
    correction = math.sqrt(1 - 0.9**updates)
    lr = step * 0.1
    return {"eps": 1e-08 * correction, "rate": lr * correction}"""
    )


def test_a_branch_not_taken_is_not_computed() -> None:
    half = HostOp("div", (HostConst(1.0), HostVar("step")))
    safe = HostIf(HostOp("gt", (HostVar("step"), HostConst(0))), half, HostConst(0.0))
    scalars = load(scalars_function({"lr": HostOp("mul", (safe, HostConst(2.0)))}, "scalars"))
    assert scalars["scalars"](0, 0, 0, 0) == {"lr": 0.0}
    assert scalars["scalars"](4, 0, 0, 0) == {"lr": 0.5}


def test_attention_keeps_its_weights_for_the_gradient() -> None:
    """Once, in views of the heads; where only the result is wanted, it keeps none."""
    head = TensorType("f64", (3, 2, 5, 4))

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mixed: Tensor = q.emit("attention", k, v, scale=0.5, causal=True)[0]
        return mixed

    arrays = [normal(*head.shape, seed=seed) for seed in range(4)]
    assert "= attention(" in assert_computes(graph(attend, head, head, head), arrays[:3], 1e-12)

    def gradients(q: Tensor, k: Tensor, v: Tensor, dy: Tensor) -> Tensor:
        dq, dk, dv = vjp(q.builder, [attend(q, k, v)], [dy], [q, k, v])
        assert dq is not None
        assert dk is not None
        assert dv is not None
        return dq + dk * dv

    source = assert_computes(graph(gradients, *[head] * 4), arrays, 1e-12)
    assert source.count("= attention_with_weights(") == 1
    assert source.count("= attention_weights_grad(") == 1
    assert "_softmax" not in source


def test_steps_share_no_function(tmp_path: Path) -> None:
    """What belongs to a step is named after it, which another step's own name may be too."""
    text = """
language 1
data d {
  x: f32[N, 3] = npz("data.npz", "x")
  batch = 4
}
block Net()(x: f32[N, D]) -> f32[N, 1] = x |> Dense(1)
train fit {
  let net = Net()
  phase fit_scalars {
    loss = mean(net(d.x)^2)
    optimizer = Adam(0.1)
    steps = 1
  }
  phase fit {
    loss = mean(net(d.x))
    optimizer = Adam(0.1)
    steps = 1
  }
}
"""
    source = backend.emit(training_of(tmp_path, text, x=np.zeros((8, 3), np.float32)))
    assert "def step_fit_scalars(state, batch, scalars):" in source
    names = [line.split("(")[0] for line in source.split("\n") if line.startswith("def ")]
    assert len(set(names)) == len(names)
