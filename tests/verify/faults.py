"""The faults that `nnc verify` must find: each is one that a backend's author could make."""

from __future__ import annotations

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Node
from tests.verify.planting import (
    Misspelt,
    Planted,
    Site,
    again,
    attribute,
    constant,
    operand,
    other,
    producers,
    swapped,
    times,
)


# ---------------------------------------------------------------- normalization
def normalized(x: Tensor, gain: Tensor, bias: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """A layer norm with these moments."""
    axes = (x.rank - 1,)
    centred = x - mean.restore(x.shape, axes)
    return centred / deviation.restore(x.shape, axes) * gain + bias


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    axes = (x.rank - 1,)
    centred = x - x.mean(axes).restore(x.shape, axes)
    return x.mean(axes), (centred * centred).mean(axes)


def unbiased(builder: Builder, node: Node, x: Tensor, *rest: Tensor) -> Tensor:
    mean, var = moments(x)
    return normalized(x, *rest, mean, (var * (8 / 7) + node.attrs["eps"]).emit("sqrt"))


def eps_outside_the_root(builder: Builder, node: Node, x: Tensor, *rest: Tensor) -> Tensor:
    mean, var = moments(x)
    return normalized(x, *rest, mean, var.emit("sqrt") + node.attrs["eps"])


def mean_not_subtracted(builder: Builder, node: Node, x: Tensor, *rest: Tensor) -> Tensor:
    mean, _ = moments(x)
    square = (x * x).mean((x.rank - 1,))
    return normalized(x, *rest, mean, (square + node.attrs["eps"]).emit("sqrt"))


def mean_over_samples(builder: Builder, node: Node, x: Tensor, *rest: Tensor) -> Tensor:
    return again(builder, node, x - x.mean((0,)), *rest)


def in_float16(builder: Builder, node: Node, *xs: Tensor) -> Tensor:
    exact = again(builder, node, *xs)
    return exact.cast("f16").cast(exact.dtype)


# ---------------------------------------------------------------- gradients and updates
def tanh_slope_of_the_input(builder: Builder, node: Node, one: Tensor, square: Tensor) -> Tensor:
    t, _ = producers(builder, square)
    return one - t


def decay_inside_the_gradient(builder: Builder, node: Node, old: Tensor, grad: Tensor) -> Tensor:
    return old + grad * 1.01


def eps_inside_the_root(builder: Builder, node: Node, root: Tensor, eps: Tensor) -> Tensor:
    (squares,) = producers(builder, root)
    return (squares + eps).emit("sqrt")


def transposed(builder: Builder, node: Node, x: Tensor, y: Tensor) -> Tensor:
    return builder.emit("dot", x, y.transpose((1, 0)), **node.attrs)


def flipped(builder: Builder, node: Node, *xs: Tensor) -> Tensor:
    filters: Tensor = again(builder, node, *xs).emit("reverse", axes=(0, 1))
    return filters


def other_phase(builder: Builder, node: Node, x: Tensor, w: Tensor) -> Tensor:
    """Pads at the other side move the windows of a strided convolution."""
    return again(builder, node, x, w, low=node.attrs["high"], high=node.attrs["low"])


def cropped_and_padded(builder: Builder, node: Node, x: Tensor, w: Tensor) -> Tensor:
    """The first row of windows lost, zeros at the end instead."""
    y = again(builder, node, x, w)
    zero = (0,) * y.rank
    kept = y.emit("slice", start=(0, 1, 0, 0), stop=y.shape, step=(1,) * y.rank)
    moved: Tensor = kept.emit("pad", low=zero, high=(0, 1, 0, 0), value=0)
    return moved


def every_tie(builder: Builder, node: Node, places: Tensor, winner: Tensor) -> Tensor:
    """All of the largest get the gradient, not the first alone."""
    (argmax,) = producers(builder, winner)
    (x,) = producers(builder, argmax)
    return x.equals(x.max((1,)).restore(x.shape, (1,)))


# ---------------------------------------------------------------- losses
def next_label(builder: Builder, node: Node, x: Tensor, index: Tensor) -> Tensor:
    return again(builder, node, x, (index + 1).binary("rem", 3))


def unstable(builder: Builder, node: Node, x: Tensor) -> Tensor:
    total = x.emit("exp").sum((1,)).emit("log")
    return x - total.restore(x.shape, (1,))


def gelu_of_tanh(builder: Builder, node: Node, x: Tensor) -> Tensor:
    """The approximation, `gelu_tanh`."""
    tanh: Tensor = (0.7978845608 * (x + 0.044715 * x * x * x)).emit("tanh")
    return 0.5 * x * (1.0 + tanh)


def without_row_sums(builder: Builder, node: Node, *xs: Tensor) -> Tensor:
    """The gradient of attention takes these from its result."""
    *others, y, logsumexp = xs
    return again(builder, node, *others, y * 0.0, logsumexp)


def tie_to_one(builder: Builder, node: Node, x: Tensor) -> Tensor:
    return (x >= 0.0).where(builder.full(1.0, x.dtype, x.shape), -1.0)


PLANTED = (
    # layer normalization, dense layers and SGD
    Planted("norm_eps", "norm", Site("layer_norm", "LayerNorm()"), attribute(eps=1e-6)),
    Planted("unbiased_variance", "norm", Site("layer_norm", "LayerNorm()"), unbiased),
    Planted("eps_outside_root", "norm", Site("layer_norm", "LayerNorm()"), eps_outside_the_root),
    Planted("raw_second_moment", "norm", Site("layer_norm", "LayerNorm()"), mean_not_subtracted),
    Planted("mean_over_samples", "norm", Site("layer_norm", "LayerNorm()"), mean_over_samples),
    Planted("square_transposed", "norm", Site("dot", "sigmoid"), transposed),
    Planted("float16_sigmoid", "norm", Site("sigmoid", "sigmoid"), in_float16),
    Planted("tanh_slope", "norm", Site("sub", "tanh(n)"), tanh_slope_of_the_input),
    Planted("loss_is_a_sum", "norm", Site("mul", "mse(", name=""), operand(0)),
    Planted("coupled_decay", "norm", Site("add", "SGD("), decay_inside_the_gradient),
    Planted("decay_forgotten", "norm", Site("sub", "SGD(", name="kept"), operand(0)),
    Planted("momentum_sign", "norm", Site("add", "SGD("), other("sub")),
    Planted("clipped_below", "norm", Site("maximum", "clip_norm"), other("minimum")),
    Planted("norm_not_rooted", "norm", Site("sqrt", "clip_norm"), operand(0)),
    # relu, dropout, cross entropy and AdamW
    Planted("relu_at_zero", "mlp", Site("le", "relu"), other("lt")),
    Planted("dropout_scale", "mlp", Site("mul", "Dropout"), operand(0)),
    Planted("dropout_rate", "mlp", Site("lt", "Dropout"), other("ge")),
    Planted("other_stream", "mlp", Site("random_bits", "Dropout"), attribute(ordinal=1)),
    Planted("next_label", "mlp", Site("take_along", "cross_entropy"), next_label),
    Planted("bias_over_classes", "mlp", Site("sum", "Dense(3)"), times(1 / 8)),
    Planted("adam_correction", "mlp", Site("div", "AdamW", name="change"), times(0.9)),
    Planted("adam_eps_in_root", "mlp", Site("add", "AdamW", reads="sqrt"), eps_inside_the_root),
    Planted("betas_exchanged", "mlp", Site("mul", "AdamW"), constant(0.999, 0)),
    # convolution, batch normalization and RMSprop
    Planted("wrong_pad_side", "conv", Site("conv", "stride = 2"), other_phase),
    Planted("windows_moved", "conv", Site("conv", "bias = false"), cropped_and_padded),
    Planted("filter_flipped", "conv", Site("conv_filter_grad", "bias = false"), flipped),
    Planted("filter_gradient", "conv", Site("conv_input_grad", "stride = 2"), times(0.5)),
    Planted("running_decay", "conv", Site("mul", "BatchNorm"), constant(0.1, 0)),
    Planted("smoothing_lost", "conv", Site("mul", "label_smoothing"), times(0.0)),
    # equal maxima and large logits
    Planted("every_tie", "ties", Site("eq", "max(line"), every_tie),
    Planted("overflowing_softmax", "ties", Site("log_softmax", "cross_entropy"), unstable),
    # a loop: LSTM
    Planted("gates_swapped", "lstm", Site("slice", "LSTM", 0, inside=True),
            attribute(start=(0, 8), stop=(8, 12))),
    Planted("forget_gate_open", "lstm", Site("sigmoid", "LSTM", 0, inside=True), operand(0)),
    Planted("first_output", "lstm", Site("slice", "h[T = -1]"),
            attribute(start=(0, 0, 0), stop=(8, 1, 4))),
    # attention, gelu and Lion
    Planted("scores_unscaled", "attention", Site("attention", "MultiHeadAttention"),
            attribute(scale=1.0)),
    Planted("softmax_gradient", "attention", Site("attention_grad", "MultiHeadAttention"),
            without_row_sums),
    Planted("approximate_gelu", "attention", Site("gelu", "gelu"), gelu_of_tanh),
    Planted("mean_is_a_sum", "attention", Site("mul", "mean(g", name="m"), operand(0)),
    # two steps in turn
    Planted("sign_at_zero", "pair", Site("sign", "mae("), tie_to_one),
    Planted("huber_border", "pair", Site("sub", "huber("), swapped),
)  # fmt: skip

MISSPELT = (
    Misspelt("last_of_ties", "ties", Site("max_pool", "max_pool"),
             "where=view > y", "where=view >= y"),
    Misspelt("rows_written_once", "lstm", Site("scatter_add", "Embedding"),
             "np.add.reduceat(part, starts, axis=0)", "part[starts]"),
    Misspelt("softmax_not_normalized", "attention", Site("attention", "MultiHeadAttention"),
             "p *= 1 / total", "p *= 1 / total.sum()"),
)  # fmt: skip

FAULTS = (*PLANTED, *MISSPELT)
