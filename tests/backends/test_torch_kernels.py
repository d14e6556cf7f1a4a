"""Kernels in emitted files: which are called, and what they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnc_torch import backend, kernels

from nnc.ir.types import TensorType
from nnc.passes.pipeline import optimize_training
from tests.backends.harness import TOLERANCE, load
from tests.backends.test_numpy_models import in_float64
from tests.backends.test_numpy_source import body
from tests.backends.test_torch_source import assert_trains_like_numpy, returned
from tests.backends.torch_harness import assert_computes
from tests.passes.graphs import graph
from tests.std.program import training_of

VECTOR, ROWS = TensorType("f64", (3,)), TensorType("f64", (4, 5, 3))
HEADS = TensorType("f64", (2, 4, 5, 3))


def attend(*operands: Any, scale: float = 3**-0.5, causal: bool = False) -> Any:
    q, *others = operands
    return q.emit("attention", *others, scale=scale, causal=causal)[0]


def scatter(dy: Any, index: Any) -> Any:
    zeros = dy.builder.full(0, dy.dtype, (7, dy.shape[-1]))
    return zeros.emit("scatter_add", index, dy, axis=0)


SPELLINGS: dict[str, tuple[Any, list[TensorType]]] = {
    "softmax_grad(x0, x1, 2)": (lambda dy, y: dy.emit("softmax_grad", y, axis=2), [ROWS] * 2),
    "log_softmax_grad(x0, x1, 0)": (
        lambda dy, y: dy.emit("log_softmax_grad", y, axis=0),
        [ROWS] * 2,
    ),
    "F.gelu(x0)": (lambda x: x.emit("gelu"), [ROWS]),
    "silu_grad(x0, x1)": (lambda dy, x: dy.emit("silu_grad", x), [ROWS] * 2),
    "sigmoid_grad(x0, x1)": (lambda dy, y: dy * (y * (1.0 - y)), [ROWS] * 2),
    "tanh_grad(2.0 * x0, x1)": (lambda dy, y: 2.0 * dy * (1.0 - y * y), [ROWS] * 2),
    "x0 * (1.0 - x1 * x0)": (lambda dy, y: dy * (1.0 - y * dy), [ROWS] * 2),
    "embedding_grad(x0, x1, 7)": (scatter, [ROWS, TensorType("i32", (4, 5))]),
    "F.layer_norm(x0, (3,), x1, x2, 1e-05)": (
        lambda x, gain, bias: x.emit("layer_norm", gain, bias, eps=1e-5)[0],
        [ROWS, VECTOR, VECTOR],
    ),
    "F.scaled_dot_product_attention(x0, x1, x2)": (attend, [HEADS] * 3),
    "F.scaled_dot_product_attention(x0, x1, x2, is_causal=True, scale=0.5)": (
        lambda q, k, v: attend(q, k, v, scale=0.5, causal=True),
        [ROWS] * 3,
    ),
    "masked_attention(x0, x1, x2, x3, scale=0.5)": (
        lambda q, k, v, mask: attend(q, k, v, mask, scale=0.5),
        [HEADS] * 3 + [TensorType("bool", (2, 1, 1, 5))],
    ),
}


@pytest.mark.parametrize("text", SPELLINGS)
def test_spellings(text: str) -> None:
    function, types = SPELLINGS[text]
    assert returned(function, *types) == text


def test_moments_that_are_read_have_no_axis_of_1() -> None:
    made = graph(
        lambda x, gain, bias: x.emit("layer_norm", gain, bias, eps=1e-5), ROWS, VECTOR, VECTOR
    )
    draw = np.random.default_rng(0).standard_normal
    assert_computes(made, [draw((4, 5, 3)), draw(3), draw(3)], TOLERANCE["f64"])


def test_one_row_is_normalized_to_the_bias() -> None:
    made = graph(
        lambda x, gain, bias: x.emit("batch_norm", gain, bias, eps=1e-5),
        TensorType("f64", (1, 1, 3)),
        VECTOR,
        VECTOR,
    )
    draw = np.random.default_rng(0).standard_normal
    assert_computes(made, [draw((1, 1, 3)), draw(3), draw(3)], TOLERANCE["f64"])


# ---------------------------------------------------------------- products
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_linear_is_a_product(
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
    rank: int,
    is_turned: bool,
    capability: str,
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    torch.manual_seed(0)
    x, b = torch.randn((3, 4, 5)[3 - rank :], dtype=dtype), torch.randn(6, dtype=dtype)
    w = torch.randn(6, 5, dtype=dtype).T if is_turned else torch.randn(5, 6, dtype=dtype)
    torch.testing.assert_close(kernels.linear(x, w, b), x @ w + b)
    torch.testing.assert_close(kernels.linear(x, w), x @ w)


@pytest.mark.parametrize(("is_available", "capability"), [(False, "AVX512"), (True, "AVX2")])
def test_without_onednn_or_where_mkl_is_faster_linear_is_torch_s(
    monkeypatch: pytest.MonkeyPatch, is_available: bool, capability: str
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: is_available)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", None)
    x, w, b = torch.randn(3, 5), torch.randn(5, 6), torch.randn(6)
    torch.testing.assert_close(kernels.linear(x, w, b), x @ w + b)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own modules
def test_torch_compile_goes_through_linear() -> None:
    x, w, b = torch.randn(3, 5), torch.randn(5, 6), torch.randn(6)
    made = torch.compile(kernels.linear, backend="eager", fullgraph=True)(x, w, b)
    torch.testing.assert_close(made, x @ w + b)


@pytest.mark.parametrize(
    ("rows", "dtype", "text"),
    [
        (512, "f32", "linear(x0, x1, x2)"),
        (512, "f64", "torch.addmm(x2, x0, x1)"),
        (4, "f32", "torch.addmm(x2, x0, x1)"),
    ],
)
def test_large_products_are_onednn_s(rows: int, dtype: str, text: str) -> None:
    types = [TensorType(dtype, shape) for shape in ((rows, 128), (128, 256), (256,))]

    def dense(x: Any, w: Any, b: Any) -> Any:
        product = x.emit("dot", w, contract=((1,), (0,)), batch=((), ()))
        return product + b.broadcast(product.shape, (1,))

    assert returned(dense, *types) == text


def test_the_gradient_of_a_matrix_is_mkl_s() -> None:
    x, dy = TensorType("f32", (512, 128)), TensorType("f32", (512, 256))
    product = returned(lambda a, b: a.emit("dot", b, contract=((0,), (0,)), batch=((), ())), x, dy)
    assert product == "x0.T @ x1"


@pytest.mark.parametrize("widths", [(2, 5), (5, 2)])
def test_rows_in_another_order_are_turned_where_that_is_less(widths: tuple[int, int]) -> None:
    x, y = TensorType("f64", (4, 3, widths[0])), TensorType("f64", (3, 4, widths[1]))
    made = graph(lambda a, b: a.emit("dot", b, contract=((0, 1), (1, 0)), batch=((), ())), x, y)
    draw = np.random.default_rng(0).standard_normal
    source = assert_computes(made, [draw(x.shape), draw(y.shape)], TOLERANCE["f64"])
    turned = "x0" if widths[0] < widths[1] else "x1"
    assert f"{turned}.transpose(0, 1).flatten(0, 1)" in source


# ---------------------------------------------------------------- updates
@pytest.mark.parametrize("is_scaled", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adam_is_its_formula(dtype: torch.dtype, is_scaled: bool) -> None:
    torch.manual_seed(0)
    p, grad, m, v = (torch.rand(3, 4, dtype=dtype) for _ in range(4))
    scale = torch.tensor(0.25, dtype=dtype) if is_scaled else None
    g = grad * (1.0 if scale is None else scale)
    new_m, new_v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
    new_p = 0.75 * p - 0.5 * new_m / (torch.sqrt(new_v / 0.3) + 1e-3)
    before = grad.clone()
    options: Any = {"rate": 0.5, "eps": 1e-3, "correction": 0.3, "decay": 0.25, "scale": scale}
    kernels.adam_([p], [grad], [m], [v], betas=(0.9, 0.99), **options)
    torch.testing.assert_close([p, m, v, grad], [new_p, new_m, new_v, before])


# ---------------------------------------------------------------- embedding
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 3), (2, 1, 4)])
@pytest.mark.parametrize("dtype", ["i32", "i64"])
def test_rows_are_added_up(shape: tuple[int, ...], dtype: str) -> None:
    made = graph(scatter, TensorType("f64", (*shape, 3)), TensorType(dtype, shape))
    draw = np.random.default_rng(0)
    index = draw.integers(0, 7, shape).astype(np.int32 if dtype == "i32" else np.int64)
    source = assert_computes(made, [draw.standard_normal((*shape, 3)), index], TOLERANCE["f64"])
    assert ("embedding_grad(" in source) == bool(shape)


# ---------------------------------------------------------------- attention
def reference(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, seen: torch.Tensor, scale: float
) -> torch.Tensor:
    return torch.where(seen, (q * scale) @ k.mT, -1e30).softmax(-1) @ v


CAUSAL = torch.ones(5, 5, dtype=torch.bool).tril()
#: sample 1 sees nothing at all; query 0 of the second sees key 3 alone, which comes later
PADDING = torch.tensor([[True, True, False, True, True], [False] * 5])[:, None, None]
PAIRS = CAUSAL.flip(0, 1)[None, None] & torch.tensor([1, 1, 0, 1, 1], dtype=torch.bool)
MASKS = {
    "none": None,
    "padding": PADDING,
    "pairs": PAIRS,
    "full": PADDING & PAIRS.expand(2, 4, 5, 5),
}


@pytest.mark.parametrize("function", ["kernel", "parts"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", MASKS)
def test_attention_and_its_gradient(mask: str, causal: bool, function: str) -> None:
    """Also of queries that see nothing; `parts` is what other devices than the CPU compute."""
    torch.manual_seed(0)
    q, k, v, dy = (torch.randn(2, 4, 5, 3, dtype=torch.float64) for _ in range(4))
    options: Any = {"scale": 0.7, "causal": causal}
    shown = MASKS[mask]
    if function == "kernel":
        y, logsumexp = kernels.attention(q, k, v, shown, **options)
        found = kernels.attention_grad(dy, q, k, v, y, logsumexp, shown, **options)
    else:
        y, logsumexp = kernels.attention_by_parts(q, k, v, shown, **options)
        found = kernels.attention_grad_by_parts(dy, q, k, v, y, shown, **options)
    seen = torch.ones(5, 5, dtype=torch.bool) if shown is None else shown
    seen = seen & CAUSAL if causal else seen
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    wanted = reference(*leaves, seen, 0.7)
    wanted.backward(dy)
    close: Any = {"rtol": 1e-10, "atol": 1e-12}
    torch.testing.assert_close(y, wanted, **close)
    scores = torch.where(seen, (q * 0.7) @ k.mT, -1e30)
    torch.testing.assert_close(logsumexp, scores.logsumexp(-1), **close)
    for got, leaf in zip(found, leaves, strict=True):
        torch.testing.assert_close(got, leaf.grad, **close)


@pytest.mark.parametrize("causal", [False, True])
def test_autograd_goes_through_masked_attention(causal: bool) -> None:
    torch.manual_seed(0)
    leaves = [torch.randn(2, 4, 5, 3, dtype=torch.float64).requires_grad_() for _ in range(3)]
    seen = PADDING & CAUSAL if causal else PADDING
    found = kernels.masked_attention(*leaves, PADDING, scale=0.7, causal=causal)
    wanted = reference(*leaves, seen, 0.7)
    dy = torch.randn_like(wanted)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    pairs = (torch.autograd.grad(y, leaves, dy) for y in (found, wanted))
    for got, expected in zip(*pairs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------- programs
PROGRAM = """
language 1
block Net()(x: f32[N, T, D], seen: bool[N, T]) -> f32[N, T, D] {{
  let h = x |> LayerNorm() |> Dense(D)
  return {net}
}}
data d {{
  x: f32[N, 4, 6] = npz("data.npz", "x")
  batch = 4
}}
train fit {{
  let net = Net()
  loss      = mean(net(d.x, d.x[..., 0] > 0)^2)
  optimizer = SGD(0.1)
  steps     = 5
}}
"""
HEADS_OF_H = 'rearrange(h, "n t (h d) -> n h t d", h = 2)'
NETS = {
    "layer_norm_grad(": "h |> LayerNorm() |> BatchNorm()",
    "batch_norm_grad(": "h |> BatchNorm() |> Dense(D) |> BatchNorm(0.1)",
    "attention_grad(": "h |> MultiHeadAttention(3, causal = true)",
    "scale=0.5773502691896258": f"attention({HEADS_OF_H}, {HEADS_OF_H}, {HEADS_OF_H}, "
    'mask = reshape(seen, [N, 1, 1, T])) |> rearrange("n h t d -> n t (h d)")',
    "torch.softmax(": "attention(h, 2 * h, h[..., 0..4], causal = true) |> Dense(D)",
    "gelu_grad(": "h |> gelu",
    "silu_grad(": "h |> silu",
    "softmax_grad(": "softmax(h) * h",
    "sigmoid_grad(": "h |> sigmoid",
    "tanh_grad(": "h |> GRU(D)",
    "lstm_grad(": "h |> LSTM(D)",
    "wanted=(True, False, False)": "h + gradient(sum(tanh(LayerNorm()(h))), h)",
}


@pytest.mark.parametrize("text", NETS)
def test_a_program_trains_as_in_numpy(tmp_path: Path, text: str) -> None:
    """`text` stands in its step."""
    x = np.random.default_rng(0).standard_normal((8, 4, 6)).astype(np.float32)
    training = in_float64(training_of(tmp_path, PROGRAM.format(net=NETS[text]), x=x))
    optimize_training(training)
    source = assert_trains_like_numpy(training)
    assert text in source, source


def test_modules_call_what_one_calls_by_hand(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((8, 4, 6)).astype(np.float32)
    net = "h |> MultiHeadAttention(3, causal = true)"
    training = training_of(tmp_path, PROGRAM.format(net=net), x=x)
    optimize_training(training)
    source = backend.emit(training)
    load(source)
    assert "return F.layer_norm(x, (6,), self.gain, self.bias, 1e-05)" in source
    assert "F.scaled_dot_product_attention(q, k, v, is_causal=True)" in source
    assert "torch.native_layer_norm(" in body(source, "step")
