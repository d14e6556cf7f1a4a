"""Which formulas are found, which not, and that values and gradients stay what they were."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnc.elaborate.values import TupleValue
from nnc.ir.builder import Builder
from nnc.ir.graph import Graph
from nnc.ir.interpret import as_float64, interpret
from nnc.ir.reverse import vjp
from nnc.ir.types import TensorType
from nnc.ir.verify import verify
from nnc.passes.dead_code import dead_code
from nnc.passes.recognize import recognize
from tests.ops.bodies import body, f64
from tests.passes.graphs import graph
from tests.std.program import elaborate, training_of

COMPOSITES = {"layer_norm", "batch_norm", "attention", "gelu", "silu"}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def written(text: str, *, training: bool = True, free: bool = False, **arrays: Any) -> Graph:
    """The graph of `return TEXT`, or of a body, in float64; buffers that it writes are outputs."""
    cx, result = elaborate(text, arrays, training=training, free=free)
    made = cx.root.graph
    items = result.items if isinstance(result, TupleValue) else (("", result),)
    made.outputs = {f"y{i}": value.tensor.value for i, (_, value) in enumerate(items)}
    made.outputs |= {path: value.tensor.value for path, value in cx.written.items()}
    dead_code.run(made)
    return as_float64(made)


def composites(made: Graph) -> Counter[str]:
    return Counter(node.op for node in made if node.op in COMPOSITES)


def recognized(original: Graph) -> Graph:
    changed = original.copy()
    recognize.run(changed)
    verify(changed)
    return changed


def values_and_gradients(made: Graph, seed: int) -> dict[str, np.ndarray]:
    """All outputs, and the gradient of a function of them in every float input."""
    made = made.copy()
    builder = Builder(made)
    ys = [builder.tensor(value) for value in made.outputs.values()]
    smooth = [y for y in ys if y.type.is_float]
    xs = [builder.tensor(made.input_named(name)) for name in made.input_names]
    wrt = [x for x in xs if x.type.is_float]
    found = vjp(builder, smooth, [(y * 0.5).emit("cos") for y in smooth], wrt)
    made.outputs |= {f"d{i}": ct.value for i, ct in enumerate(found) if ct is not None}
    draw = np.random.default_rng(seed)
    inputs = {
        name: draw.random(x.shape) < 0.6  # type: ignore[arg-type]
        if x.dtype == "bool"
        else draw.standard_normal(x.shape)  # type: ignore[arg-type]
        for name, x in zip(made.input_names, xs, strict=True)
    }
    return interpret(made, inputs)


def assert_same(original: Graph, changed: Graph, seed: int = 0) -> None:
    before, after = (values_and_gradients(each, seed) for each in (original, changed))
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-10, atol=1e-12, err_msg=name)


X, IMAGE = normal(3, 4, 6), normal(2, 3, 3, 4)
Q, K, V = normal(2, 3, 5, 4), normal(2, 3, 7, 4, seed=1), normal(2, 3, 7, 2, seed=2)
MASK = np.random.default_rng(0).random((5, 7)) < 0.6
PADDING = np.random.default_rng(0).random((2, 1, 1, 7)) < 0.6
QKV = {"q": Q, "k": K, "v": V}

FOUND: dict[str, tuple[str, str, dict[str, Any]]] = {
    "LayerNorm": ("layer_norm", "x |> LayerNorm()", {"x": X}),
    "LayerNorm of a vector": ("layer_norm", "x |> LayerNorm(1e-3)", {"x": X[0]}),
    "BatchNorm": ("batch_norm", "x |> BatchNorm()", {"x": IMAGE}),
    "BatchNorm of rows": ("batch_norm", "x |> BatchNorm(decay = 0.5)", {"x": X[0]}),
    "MultiHeadAttention": ("attention", "x |> MultiHeadAttention(2)", {"x": X}),
    "attention": ("attention", "attention(q, k, v)", QKV),
    "its own scale": ("attention", "attention(q, k, v, scale = 0.3)", QKV),
    "causal": ("attention", "attention(x, x, 2 * x, causal = true)", {"x": X}),
    "mask": ("attention", "attention(q, k, v, mask = mask)", {**QKV, "mask": MASK}),
    "padding": ("attention", "attention(q, k, v, mask = mask)", {**QKV, "mask": PADDING}),
    "causal and mask": (
        "attention",
        "attention(x, x, x, causal = true, mask = mask)",
        {"x": X, "mask": MASK[:4, :4]},
    ),
    "deviation below": (
        "layer_norm",
        "let m, v = moments(x, axis = -1, keep = true)\n"
        "return g * ((x - m) / sqrt(v + 1e-6)) + b",
        {"x": X, "g": normal(6), "b": normal(6, seed=1)},
    ),
    "no gain or bias": (
        "layer_norm",
        "let m, v = moments(x, axis = -1, keep = true)\nreturn (x - m) * rsqrt(v + 1e-6)",
        {"x": X},
    ),
    "bias first, a number as gain": (
        "layer_norm",
        "let m = mean(x, axis = -1, keep = true)\n"
        "return b + 2 * (x - m) / sqrt(mean((x - m)^2, axis = -1, keep = true) + 0.1)",
        {"x": X, "b": normal(6)},
    ),
    "moments that are read": (
        "layer_norm",
        "let m, v = moments(x, axis = -1, keep = true)\nlet r = rsqrt(v + 0.1)\n"
        "return ((x - m) * r, m, r)",
        {"x": X},
    ),
    "a gain that reads the mean, which stays outside": (
        "batch_norm",
        "let m, v = moments(x)\nreturn (x - m) * rsqrt(v + 1e-5) * tanh(m)",
        {"x": X},
    ),
    "scores that are scaled": (
        "attention",
        'softmax(einsum("n h t d, n h s d -> n h t s", q, k) / 2) @ v',
        QKV,
    ),
    "products": ("attention", "softmax(q @ transpose(q)) @ v", {"q": K[0, 0], "v": V[0, 0]}),
    "heads behind": (
        "attention",
        'einsum("n h t s, n s h e -> n t h e",'
        ' softmax(einsum("n t h d, n s h d -> n h t s", 3 * x, x)), x)',
        {"x": normal(2, 5, 3, 4)},
    ),
    "hidden where false": (
        "attention",
        "softmax(where(not mask, -1e30, x @ transpose(x))) @ x",
        {"x": X[0], "mask": MASK[:4, :4]},
    ),
    "gelu": ("gelu", "gelu(x)", {"x": X}),
    "gelu of a product": ("gelu", "gelu(2 * x * x)", {"x": X}),
    "gelu in a product": ("gelu", "x * gelu(x) / 3", {"x": X}),
    "gelu of gelu's scale": ("gelu", "gelu(0.5 * x)", {"x": X}),
    "half behind x, a division": ("gelu", "x * 0.5 * (1 + erf(x / sqrt(2)))", {"x": X}),
    "half at the end": ("gelu", "x * (erf(sqrt(0.5) * x) + 1) / 2", {"x": X}),
    "half of the share": ("gelu", "0.5 * (1 + erf(x / 1.4142135623730951)) * x", {"x": X}),
    "half inside": ("gelu", "x * (0.5 + 0.5 * erf(x * 0.7071067811865476))", {"x": X}),
    "silu": ("silu", "silu(x)", {"x": X}),
    "silu of a sum": ("silu", "let y = x + 1\nreturn 2 * (sigmoid(y) * y)", {"x": X}),
}  # fmt: skip

NOT_FOUND: dict[str, tuple[str, dict[str, Any]]] = {
    "unbiased variance": (
        "let m = mean(x, axis = -1, keep = true)\n"
        "return (x - m) * rsqrt(sum((x - m)^2, axis = -1, keep = true) / 5 + 1e-5)",
        {"x": X},
    ),
    "eps outside of the root": (
        "let m, v = moments(x, axis = -1, keep = true)\nreturn (x - m) / (sqrt(v) + 1e-5)",
        {"x": X},
    ),
    "no eps": (
        "let m, v = moments(x, axis = -1, keep = true)\nreturn (x - m) * rsqrt(v)",
        {"x": X},
    ),
    "moments of something else": (
        "let m, v = moments(2 * x, axis = -1, keep = true)\nreturn (x - m) * rsqrt(v + 1e-5)",
        {"x": X},
    ),
    "a mean without gradient": (
        "let m, v = moments(x, axis = -1, keep = true)\n"
        "return (x - stop_gradient(m)) * rsqrt(v + 1e-5)",
        {"x": X},
    ),
    "moments over another axis": (
        "let m, v = moments(x, axis = 1, keep = true)\nreturn (x - m) * rsqrt(v + 1e-5)",
        {"x": X},
    ),
    "x - mean is read too": (
        "let m, v = moments(x, axis = -1, keep = true)\nlet c = x - m\n"
        "return (c * rsqrt(v + 1e-5), c)",
        {"x": X},
    ),
    "groups": ("x |> GroupNorm(2)", {"x": IMAGE}),
    "RMSNorm": ("x |> RMSNorm()", {"x": X}),
    "softmax over another axis": ("softmax(q @ transpose(q), axis = 0) @ q", {"q": X[0]}),
    "probabilities that are read": (
        "let p = softmax(q @ transpose(q))\nreturn (p @ q, p)",
        {"q": X[0]},
    ),
    "dropped probabilities": ("(softmax(q @ transpose(q)) |> Dropout(0.5)) @ q", {"q": X[0]}),
    "another number for what is unseen": (
        "softmax(where(mask, q @ transpose(q), -1e9)) @ q",
        {"q": X[0], "mask": MASK[:4, :4]},
    ),
    "the tanh approximation": ("gelu_tanh(x)", {"x": X}),
    "gelu without its half": ("x * (1 + erf(x / sqrt(2)))", {"x": X}),
    "a rough root": ("0.5 * x * (1 + erf(0.7071 * x))", {"x": X}),
    "another sum": ("0.5 * x * (2 + erf(x / sqrt(2)))", {"x": X}),
    "unequal halves": ("x * (0.5 + 0.4 * erf(x / sqrt(2)))", {"x": X}),
    "the share of something else": ("0.5 * x * (1 + erf(2 * x / sqrt(2)))", {"x": X}),
    "divided by x": ("0.5 * (1 + erf(x / sqrt(2))) / x", {"x": X}),
    "x squared": ("0.5 * x * x * (1 + erf(x / sqrt(2)))", {"x": X}),
    "erf that is read too": (
        "let e = erf(x / sqrt(2))\nreturn (0.5 * x * (1 + e), e)",
        {"x": X},
    ),
    "the gate of something else": ("x * sigmoid(2 * x)", {"x": X}),
    "a gate that is read too": ("let s = sigmoid(x)\nreturn (x * s, s)", {"x": X}),
}


@pytest.mark.parametrize("name", FOUND)
def test_found(name: str) -> None:
    op, text, arrays = FOUND[name]
    original = written(text, **arrays)
    changed = recognized(original)
    assert composites(changed) == {op: 1}
    assert not {"rsqrt", "sqrt", "softmax", "erf", "sigmoid"} & {node.op for node in changed}
    assert_same(original, changed)


@pytest.mark.parametrize("name", NOT_FOUND)
def test_not_found(name: str) -> None:
    text, arrays = NOT_FOUND[name]
    assert not composites(recognized(written(text, **arrays)))


def test_what_is_unseen_by_all_is_averaged() -> None:
    mask = np.zeros((4, 4), bool)
    original = written("attention(x, x, x, mask = mask)", x=X, mask=mask)
    changed = recognized(original)
    inputs = {"x": X.astype(np.float64), "mask": mask}
    mean = np.broadcast_to(inputs["x"].mean(1, keepdims=True), X.shape)
    for each in (original, changed):
        np.testing.assert_allclose(interpret(each, inputs)["y0"], mean, rtol=1e-12)


def test_running_averages_read_the_results() -> None:
    changed = recognized(written("x |> BatchNorm()", x=IMAGE))
    (node,) = [node for node in changed if node.op == "batch_norm"]
    assert {
        index for index in range(3) if changed.users(type(node.operands[0])(node.id, index))
    } >= {1, 2}
    assert "sum" not in {node.op for node in changed}


def test_a_batch_of_any_size() -> None:
    changed = recognized(written("x |> BatchNorm() |> LayerNorm()", free=True, x=IMAGE))
    assert composites(changed) == {"batch_norm": 1, "layer_norm": 1}


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_random_shapes(data: st.DataObject) -> None:
    rank = data.draw(st.integers(2, 4))
    shape = tuple(data.draw(st.integers(1, 4)) for _ in range(rank))
    norm = data.draw(st.sampled_from(["LayerNorm", "BatchNorm"]))
    original = written(f"x |> {norm}(0.1)", x=normal(*shape))
    assert_same(original, recognized(original), data.draw(st.integers(0, 9)))
    t, s, d, e = (data.draw(st.integers(1, 4)) for _ in range(4))
    lead = shape[:-2]
    text = data.draw(st.sampled_from(["attention(q, k, v)", "attention(q, q, q, causal = true)"]))
    arrays = {"q": normal(*lead, t, d), "k": normal(*lead, s, d), "v": normal(*lead, s, e)}
    if lead or len({t, s}) == 1:
        original = written(text, **arrays)
        assert_same(original, recognized(original), data.draw(st.integers(0, 9)))


def test_bodies_of_loops_and_calls() -> None:
    def attend(i: Any, h: Any) -> list[Any]:
        scores = h.emit("dot", h, contract=((1,), (1,)), batch=((), ()))
        p = scores.emit("softmax", axis=1)
        return [p.emit("dot", h, contract=((1,), (0,)), batch=((), ()))]

    inner = body({"i": TensorType("i32"), "h": f64(3, 2)}, attend)
    attrs = {"carries": 1, "sequences": 0, "axes": (), "out_axes": (), "length": 2}
    outer = graph(
        lambda x: x.emit("scan", body=inner, reverse=False, **attrs)[0], TensorType("f64", (3, 2))
    )
    changed = recognized(outer)
    (scan,) = [node for node in changed if node.op == "scan"]
    assert composites(scan.attrs["body"]) == {"attention": 1}
    assert not composites(inner)


PROGRAM = """
language 1
block Net()(x: f32[N, T, D]) -> f32[N, T, D] =
  x |> LayerNorm() |> MultiHeadAttention(2, causal = true) |> gelu |> BatchNorm() |> silu
data d {
  x: f32[N, 4, 6] = npz("data.npz", "x")
  batch = 4
}
train fit {
  let net = Net()
  loss      = mean(net(d.x)^2)
  metrics   = (size = mean(abs(net(d.x))))
  optimizer = SGD(0.1)
  steps     = 5
}
"""


def test_whole_programs(tmp_path: Path) -> None:
    """In steps with gradients, in evaluations, and in the bodies of nets."""
    training = training_of(tmp_path, PROGRAM, x=normal(8, 4, 6))
    (step,) = training.phases[0].steps
    ops = Counter(node.op for node in step.graph)
    assert all(ops[op] == ops[f"{op}_grad"] == 1 for op in COMPOSITES)
    (forward,) = training.forwards
    assert composites(forward.graph) == {"layer_norm": 1, "attention": 1, "gelu": 1, "silu": 1}
    assert "attention" in {op for g in all_bodies(forward.structured) for op in composites(g)}
    assert composites(training.evaluations[0].batch) == composites(forward.graph)


def all_bodies(outer: Graph) -> list[Graph]:
    inner = [node.attrs["body"] for node in outer if "body" in node.attrs]
    return [outer, *(g for each in inner for g in all_bodies(each))]
