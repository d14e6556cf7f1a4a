"""Where the gradients of the composites of neural networks are checked."""

import numpy as np

from tests.gradcheck import Case, normal, uniform
from tests.ops.bodies import evaluate

X, X3 = normal(2, 4), normal(2, 3, 2)
PLAIN = {"stride": (1,), "dilation": (1,), "low": (0,), "high": (0,), "groups": 1}
HARD = {"stride": (2,), "dilation": (2,), "low": (1,), "high": (2,), "groups": 2}
TWO = {"stride": (2, 1), "dilation": (1, 2), "low": (0, 1), "high": (1, 1), "groups": 1}
DEEP = {"stride": (1,), "dilation": (1,), "low": (1,), "high": (1,), "groups": 2}
POOL = {"size": (3,), "stride": (2,), "low": (1,), "high": (1,)}
POOL2 = {"size": (2, 2), "stride": (1, 2), "low": (1, 0), "high": (0, 1)}
WINNERS = np.array([[[1, 0], [2, 2], [0, 1]]], np.int32)

EPS = {"eps": 0.1}
GAIN, BIAS = normal(4, seed=1), normal(4, seed=2)
VAR = uniform(0.5, 2.0, 4)

Q, K, V = normal(2, 3, 2), normal(2, 4, 2), normal(2, 4, 2, seed=1)
KEYS, WIDE = normal(2, 3, 2, seed=2), normal(2, 3, 3)
MASK = np.array([[[1, 0, 1, 1], [0, 1, 0, 0], [1, 1, 0, 0]]], bool)
FIRST = np.array([[[1, 0, 1]], [[1, 1, 0]]], bool)
PLAIN_ATTENTION = {"scale": 0.7, "causal": False}
CAUSAL = {"scale": 0.5, "causal": True}


def attention_grad(
    *operands: np.ndarray, scale: float, causal: bool, order: int = 2, label: str = ""
) -> Case:
    """The gradient of an attention: its results belong to its operands."""
    return gradient_of("attention", "attention_grad", operands, scale, causal, order, label)


def gradient_of(
    op: str,
    gradient: str,
    operands: tuple[np.ndarray, ...],
    scale: float,
    causal: bool,
    order: int = 2,
    label: str = "",
) -> Case:
    attrs = {"scale": scale, "causal": causal}
    ys = evaluate(op, *operands, **attrs)
    arrays = (normal(*ys[0].shape, seed=3), *operands, *ys)
    return Case(gradient, arrays, attrs, order, label)


def weights_grad(*operands: np.ndarray, scale: float, causal: bool, label: str) -> Case:
    names = "attention_with_weights", "attention_weights_grad"
    return gradient_of(*names, operands, scale, causal, label=label)


LSTM = (normal(2, 3, 2), normal(2, 12), normal(3, 12, seed=1), normal(12))

ACTIVATIONS = ("sigmoid", "softplus", "log_sigmoid", "gelu", "gelu_with_slope", "silu")

LABELS = np.array([[0, 2, 1], [1, 1, 0]], np.int32)

CASES = [
    Case("pick_log_softmax", (normal(2, 3, 4), LABELS)),
    Case("pick_log_softmax", (normal(3, 4), LABELS[0]), label="matrix"),
    Case("lstm", LSTM),
    Case("lstm_grad", (normal(2, 3, 3, seed=3), *LSTM)),
    *(Case(op, (X,)) for op in ACTIVATIONS),
    *(Case(op, (30 * X,), label="large") for op in ACTIVATIONS),
    *(Case(op, (normal(2, 4, seed=1), X)) for op in ("gelu_grad", "silu_grad")),
    *(
        Case(op, (X3,), {"axis": axis}, label=f"axis-{axis}")
        for op in ("softmax", "log_softmax", "logsumexp")
        for axis in (1, 2)
    ),
    *(
        Case(
            f"{op}_grad",
            (normal(2, 3, 2, seed=1), evaluate(op, X3, axis=axis)),
            {"axis": axis},
            label=f"axis-{axis}",
        )
        for op in ("softmax", "log_softmax")
        for axis in (1, 2)
    ),
    Case("conv", (normal(2, 4, 2), normal(3, 2, 2)), PLAIN),
    Case("conv", (normal(1, 7, 4), normal(3, 2, 4)), HARD, label="hard"),
    Case("conv", (normal(1, 4, 5, 1), normal(2, 2, 1, 2)), TWO, label="two-axes"),
    Case("conv", (normal(2, 3, 2), normal(2, 1, 4)), DEEP, label="depthwise"),
    Case("conv_input_grad", (normal(2, 2, 2), normal(3, 2, 2)), {"shape": (2, 4, 2), **PLAIN}),
    Case(
        "conv_input_grad",
        (normal(1, 3, 4), normal(3, 2, 4)),
        {"shape": (1, 7, 4), **HARD},
        label="hard",
    ),
    Case("conv_filter_grad", (normal(2, 4, 2), normal(2, 2, 2)), {"shape": (3, 2, 2), **PLAIN}),
    Case(
        "conv_filter_grad",
        (normal(1, 7, 4), normal(1, 3, 4)),
        {"shape": (3, 2, 4), **HARD},
        label="hard",
    ),
    Case("max_pool", (normal(1, 5, 2),), POOL),
    Case("max_pool", (normal(1, 3, 4, 1),), POOL2, label="two-axes"),
    Case("max_pool_grad", (normal(1, 3, 2), WINNERS), {"shape": (1, 5, 2), **POOL}, order=3),
    Case("sum_pool", (normal(1, 5, 2),), POOL),
    Case("sum_pool", (normal(1, 3, 4, 1),), POOL2, label="two-axes"),
    Case("sum_pool_grad", (normal(1, 3, 2),), {"shape": (1, 5, 2), **POOL}),
    *(
        Case("layer_norm", (x, GAIN, BIAS), EPS, label=f"rank-{x.ndim}")
        for x in (normal(4), normal(2, 4), normal(2, 2, 4))
    ),
    Case("layer_norm_grad", (normal(2, 4, seed=3), X, GAIN, normal(2), uniform(0.5, 2.0, 2))),
    Case("batch_norm", (normal(3, 4), GAIN, BIAS), EPS),
    Case("batch_norm", (normal(2, 1, 2, 4), GAIN, BIAS), EPS, label="rank-4"),
    Case("batch_norm_grad", (normal(2, 4, seed=3), X, GAIN, normal(4, seed=4), VAR), EPS),
    Case("attention", (Q, K, V), PLAIN_ATTENTION),
    Case("attention", (Q, KEYS, WIDE), CAUSAL, label="causal"),
    Case("attention", (Q, K, V, MASK), PLAIN_ATTENTION, label="mask"),
    Case("attention", (Q, KEYS, WIDE, FIRST), CAUSAL, label="causal-mask"),
    Case("attention", (Q[0], K[0], V[0]), PLAIN_ATTENTION, label="rank-2"),
    Case("attention", (Q[None], K[None], V[None], MASK[None]), PLAIN_ATTENTION, label="rank-4"),
    attention_grad(Q, K, V, **PLAIN_ATTENTION),
    attention_grad(Q, KEYS, WIDE, **CAUSAL, label="causal"),
    attention_grad(Q[None], KEYS[None], KEYS[None], **CAUSAL, label="causal-rank-4"),
    attention_grad(Q[None], K[None], V[None], MASK[None], **PLAIN_ATTENTION, label="rank-4"),
    attention_grad(Q, KEYS, WIDE, FIRST, **CAUSAL, label="causal-mask"),
    Case("attention_with_weights", (Q, KEYS, WIDE), CAUSAL, label="causal"),
    Case("attention_with_weights", (Q[None], K[None], V[None], MASK[None]), PLAIN_ATTENTION),
    weights_grad(Q[None], KEYS[None], KEYS[None], **CAUSAL, label="causal"),
    weights_grad(Q, K, V, MASK, **PLAIN_ATTENTION, label="mask"),
]
EXEMPT: dict[str, str] = {}
