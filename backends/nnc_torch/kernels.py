"""Functions that emitted files contain for PyTorch's kernels and their backwards.

Like `runtime`, they know PyTorch and nothing of graphs.  Steps are not traced by autograd: each
kernel has its backward, with what the forward left for it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

Kept = list[Tensor]


def is_of_cpu(x: Tensor) -> bool:
    """Whether x is what the kernels of oneDNN take."""
    return x.device.type == "cpu" and x.dtype == torch.float32


def has_wide_products() -> bool:
    """Whether oneDNN is there and may use AVX-512."""
    is_wide = "AVX512" in torch.backends.cpu.get_cpu_capability()
    return is_wide and torch.backends.mkldnn.is_available()


# ---------------------------------------------------------------- products
def linear(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """x @ w + b for a matrix w: by oneDNN on a CPU with AVX-512, which MKL leaves unused on AMD's.

    torch.compile does not know oneDNN's product.
    """
    if torch.compiler.is_compiling() or not is_of_cpu(x) or not has_wide_products():
        return F.linear(x, w.T, b)
    return torch.ops.mkldnn._linear_pointwise(x, w.T, b, "none", [], "")


# ---------------------------------------------------------------- updates
def adam_(
    p: list[Tensor],
    grads: list[Tensor],
    m: list[Tensor],
    v: list[Tensor],
    *,
    betas: tuple[float, float],
    rate: float,
    eps: float,
    correction: float = 1.0,
    decay: float = 0.0,
    scale: Tensor | None = None,
) -> None:
    """p -= decay * p + rate * m / (sqrt(v / correction) + eps), after m and v, all in place.

    `scale` goes before the gradients.  The correction moves into `rate` and `eps` (Kingma & Ba
    2015, end of section 2); those of the kernel are 1 after infinitely many steps.
    """
    scaled = grads if scale is None else torch._foreach_mul(grads, scale)
    if decay:
        torch._foreach_mul_(p, 1.0 - decay)
    root = math.sqrt(correction)
    torch._fused_adam_(
        p,
        [grad.contiguous() for grad in scaled],
        m,
        v,
        [],
        [torch.full((), torch.inf, device=p[0].device)] * len(p),
        lr=rate * root,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=0.0,
        eps=eps * root,
        amsgrad=False,
        maximize=False,
    )


def square_sum(x: Tensor) -> Tensor:
    """The sum of the squares of all of x."""
    flat = x.flatten()
    return torch.dot(flat, flat)


# ---------------------------------------------------------------- activations
def relu_grad(dy: Tensor, y: Tensor) -> Tensor:
    """The cotangent of the x of `y = relu(x)`: dy, but 0 where y is 0."""
    return torch.ops.aten.threshold_backward(dy, y, 0)


def relu_grad_(dy: Tensor, y: Tensor) -> Tensor:
    """`relu_grad` in the array of dy."""
    return torch.ops.aten.threshold_backward.grad_input(dy, y, 0, grad_input=dy)


def sigmoid_grad(dy: Tensor, y: Tensor) -> Tensor:
    """The cotangent of the x of `y = sigmoid(x)`: dy * y * (1 - y)."""
    return torch.ops.aten.sigmoid_backward(dy, y)


def tanh_grad(dy: Tensor, y: Tensor) -> Tensor:
    """The cotangent of the x of `y = tanh(x)`: dy * (1 - y * y)."""
    return torch.ops.aten.tanh_backward(dy, y)


def gelu_grad(dy: Tensor, x: Tensor) -> Tensor:
    """The cotangent of the x of a `gelu`."""
    return torch.ops.aten.gelu_backward(dy, x)


def gelu_grad_(dy: Tensor, x: Tensor) -> Tensor:
    """`gelu_grad` in the array of dy."""
    return torch.ops.aten.gelu_backward.grad_input(dy, x, grad_input=dy)


def silu_grad(dy: Tensor, x: Tensor) -> Tensor:
    """The cotangent of the x of a `silu`."""
    return torch.ops.aten.silu_backward(dy, x)


def softmax_grad(dy: Tensor, y: Tensor, axis: int) -> Tensor:
    """The cotangent of the x of `y = softmax(x, axis)`."""
    return torch.ops.aten._softmax_backward_data(dy, y, axis, y.dtype)


def log_softmax_grad(dy: Tensor, y: Tensor, axis: int) -> Tensor:
    """The cotangent of the x of `y = log_softmax(x, axis)`."""
    return torch.ops.aten._log_softmax_backward_data(dy, y, axis, y.dtype)


# ---------------------------------------------------------------- recurrence
def lstm(x: Tensor, w: Tensor, u: Tensor, b: Tensor) -> tuple[Tensor, Kept]:
    """All h [N, T, H] of an LSTM from zero over x [N, T, D], and what `lstm_grad` needs."""
    if not is_of_cpu(x) or not torch.backends.mkldnn.is_available():
        return traced_lstm(x, w, u, b)
    hidden = len(u)
    zero = x.new_zeros(1, len(x), hidden)
    operands = [
        x.transpose(0, 1).contiguous(),  # the kernel goes along the first axis
        w.T.contiguous(),
        u.T.contiguous(),
        b,
        torch.zeros_like(b),
        zero,
        zero,
    ]
    layer = torch.ops.aten.mkldnn_rnn_layer
    with torch.enable_grad():  # without it the kernel leaves nothing for its backward
        y, h, c, left = layer(*operands, False, [], 2, hidden, 1, True, False, False, True)
    return y.transpose(0, 1).contiguous(), [*operands, y, h, c, left]


def lstm_grad(dy: Tensor, kept: Kept) -> tuple[Tensor, ...]:
    """The cotangents of x, w, u and b of an `lstm`."""
    *operands, left = kept
    if not is_of_cpu(dy) or not torch.backends.mkldnn.is_available():
        return torch.autograd.grad(left, operands, dy)
    hidden = dy.shape[-1]
    dy = dy.transpose(0, 1).contiguous()
    backward = torch.ops.aten.mkldnn_rnn_layer_backward
    made = backward(
        *operands, dy, None, None, False, 2, hidden, 1, True, True, False, [], False, left
    )
    dx, dw, du, db, *_ = made
    return dx.transpose(0, 1), dw.T, du.T, db


def traced_lstm(x: Tensor, w: Tensor, u: Tensor, b: Tensor) -> tuple[Tensor, Kept]:
    """An `lstm` on other devices and of other types, by autograd, as there the backward is no
    function of its own."""
    operands = [z.detach().requires_grad_() for z in (x, w, u, b)]
    x, w, u, b = operands
    zero = x.new_zeros(1, len(x), len(u))
    with torch.enable_grad():
        weights = [w.T, u.T, b, torch.zeros_like(b)]
        y, _, _ = torch.lstm(x, (zero, zero), weights, True, 1, 0.0, True, False, True)
    return y.detach(), [*operands, y]


# ---------------------------------------------------------------- embedding
def embedding_grad(dy: Tensor, index: Tensor, count: int) -> Tensor:
    """The cotangent of a table of `count` rows that an embedding reads at `index`."""
    return torch.ops.aten.embedding_dense_backward(dy, index, count, -1, False)


# ---------------------------------------------------------------- normalization
def layer_norm_grad(
    dy: Tensor,
    x: Tensor,
    gain: Tensor,
    mean: Tensor,
    rstd: Tensor,
    wanted: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Tensor, Tensor, Tensor]:
    """The cotangents of x, gain and bias of a `torch.native_layer_norm`, where they are wanted."""
    bias = gain  # only its shape is read
    backward = torch.ops.aten.native_layer_norm_backward
    return backward(dy, x, gain.shape, mean, rstd, gain, bias, wanted)


def batch_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """x [..., C] normalized over all axes but the last, the mean, and the biased variance."""
    rows = x.flatten(0, -2)  # for which PyTorch has kernels that go along the channels
    count = rows.shape[0]
    mean, var = torch.zeros_like(gain), torch.zeros_like(gain)
    if count == 1:
        return bias.expand(x.shape), x.flatten(), var
    # With momentum 1 the running averages are those of the batch; the variance is unbiased.
    y, _, _ = torch.native_batch_norm(rows, gain, bias, mean, var, True, 1.0, eps)
    return y.view(x.shape), mean, var.mul_((count - 1) / count)


def batch_norm_grad(
    dy: Tensor,
    x: Tensor,
    gain: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
    wanted: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Tensor, Tensor, Tensor]:
    """The cotangents of x, gain and bias of a `batch_norm`, where they are wanted."""
    rstd = torch.rsqrt(var + eps)
    backward = torch.ops.aten.native_batch_norm_backward
    operands = dy.flatten(0, -2), x.flatten(0, -2), gain, None, None, mean, rstd
    dx, *others = backward(*operands, True, eps, wanted)
    return (dx.view(x.shape) if wanted[0] else dx, *others)


# ---------------------------------------------------------------- attention
def lower_triangle(x: Tensor) -> Tensor:
    """Whether the key does not come after the query, for as many of both as x [..., T, D] has."""
    count = x.shape[-2]
    return torch.ones(count, count, dtype=torch.bool, device=x.device).tril()


def seen(q: Tensor, mask: Tensor, causal: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """q and mask, so that a query that sees no key sees all alike; and which queries these are.

    Such a query becomes zero and sees all: the kernels make nan of a query that sees nothing.
    """
    if causal:
        mask = mask & lower_triangle(q)
    blind = ~mask.any(-1, keepdim=True)
    return q.masked_fill(blind, 0.0), mask | blind, blind


def masked_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, scale: float, causal: bool = False
) -> Tensor:
    """Attention to the keys where `mask` is true; a query that sees none sees all alike."""
    q, mask, _ = seen(q, mask, causal)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    scale: float,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Attention [N, H, T, D], and the log-sum-exp of the scores [N, H, T] for its gradient."""
    if q.device.type != "cpu":
        return attention_by_parts(q, k, v, mask, scale=scale, causal=causal)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    if mask is None:
        return kernel(q, k, v, 0.0, causal, scale=scale)
    q, mask, blind = seen(q, mask, causal)
    added = torch.where(mask, 0.0, -torch.inf).to(q.dtype)
    y, logsumexp = kernel(q, k, v, attn_mask=added, scale=scale)
    return y, logsumexp.masked_fill(blind[..., 0], -1e30)


def attention_grad(
    dy: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    y: Tensor,
    logsumexp: Tensor,
    mask: Tensor | None = None,
    *,
    scale: float,
    causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The cotangents of q, k and v of an `attention`."""
    if q.device.type != "cpu":
        return attention_grad_by_parts(dy, q, k, v, y, mask, scale=scale, causal=causal)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    if mask is None:
        return kernel(dy, q, k, v, y, logsumexp, 0.0, causal, scale=scale)
    q, mask, blind = seen(q, mask, causal)
    added = torch.where(mask, 0.0, -torch.inf).to(q.dtype)
    logsumexp = logsumexp.masked_fill(blind[..., 0], math.log(k.shape[-2]))
    dq, dk, dv = kernel(dy, q, k, v, y, logsumexp, 0.0, False, attn_mask=added, scale=scale)
    return dq.masked_fill(blind, 0.0), dk, dv


def scores_of(q: Tensor, k: Tensor, mask: Tensor | None, scale: float, causal: bool) -> Tensor:
    """The scores [..., T, S]: -1e30 where a query may not see a key."""
    scores = (q * scale) @ k.mT
    if causal:
        scores = torch.where(lower_triangle(q), scores, -1e30)
    return scores if mask is None else torch.where(mask, scores, -1e30)


def attention_by_parts(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    scale: float,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Attention of any rank, and the log-sum-exp of its scores."""
    scores = scores_of(q, k, mask, scale, causal)
    return scores.softmax(-1) @ v, scores.logsumexp(-1)


def attention_grad_by_parts(
    dy: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    y: Tensor,
    mask: Tensor | None = None,
    *,
    scale: float,
    causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The cotangents of q, k and v of an `attention_by_parts`."""
    p = scores_of(q, k, mask, scale, causal).softmax(-1)
    ds = p * (dy @ v.mT - (dy * y).sum(-1, keepdim=True)) * scale
    if mask is not None:
        ds = torch.where(mask & lower_triangle(q) if causal else mask, ds, 0)
    return ds @ k, ds.mT @ q, p.mT @ dy
