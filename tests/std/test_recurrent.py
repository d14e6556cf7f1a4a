"""Recurrent cells and the layers that run them, attention, against NumPy written out."""

from __future__ import annotations

import numpy as np
import pytest

from tests.std.program import Applied, error_of, run

rng = np.random.default_rng(17)
H = 3
X, S = rng.normal(size=(2, 4)).astype(np.float32), rng.normal(size=(2, H)).astype(np.float32)
C = rng.normal(size=(2, H)).astype(np.float32)
SEQUENCE = rng.normal(size=(2, 5, 4)).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def rnn(x: np.ndarray, h: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.tanh(x @ w + h @ u + b)


def lstm(
    x: np.ndarray, h: np.ndarray, c: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    # torch.nn.LSTMCell has the same order of gates, and two biases that add up to this one.
    i, f, g, o = np.split(x @ w + h @ u + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(x: np.ndarray, h: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray) -> np.ndarray:
    # torch.nn.GRUCell resets after the product as well; its second bias of n is not here.
    xs, hs = np.split(x @ w + b, 3, axis=-1), np.split(h @ u, 3, axis=-1)
    r, z = sigmoid(xs[0] + hs[0]), sigmoid(xs[1] + hs[1])
    n = np.tanh(xs[2] + r * hs[2])
    return (1 - z) * n + z * h


def parameters(result: Applied) -> list[np.ndarray]:
    by_name = {path.rpartition(".")[2]: v.astype(float) for path, v in result.state.items()}
    return [by_name["w"], by_name["u"], by_name["b"]]


def bias(path: str, gates: int) -> dict[str, np.ndarray]:
    return {path: rng.normal(size=gates * H).astype(np.float32)}


def test_one_step_of_each_cell() -> None:
    result = run("RNNCell(3)(x, h)", x=X, h=S, state=bias("net.rnn_cell_0.b", 1))
    np.testing.assert_allclose(result.value, rnn(X, S, *parameters(result)), rtol=1e-5, atol=1e-6)
    result = run("GRUCell(3)(x, h)", x=X, h=S, state=bias("net.gru_cell_0.b", 3))
    np.testing.assert_allclose(result.value, gru(X, S, *parameters(result)), rtol=1e-5, atol=1e-6)
    result = run("LSTMCell(3)(x, h, c)", x=X, h=S, c=C, state=bias("net.lstm_cell_0.b", 4))
    h, c = lstm(X, S, C, *parameters(result))
    np.testing.assert_allclose(result.outputs["h"], h, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.outputs["c"], c, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_a_layer_is_its_cell_over_the_sequence_from_zero(name: str) -> None:
    gates = {"RNN": 1, "LSTM": 4, "GRU": 3}[name]
    state = bias(f"net.{name.lower()}_0.cell.b", gates)
    result = run(f"x |> {name}(3)", x=SEQUENCE, state=state)
    h = c = np.zeros((2, H))
    for t in range(5):
        if name == "LSTM":
            h, c = lstm(SEQUENCE[:, t], h, c, *parameters(result))
        else:
            h = (rnn if name == "RNN" else gru)(SEQUENCE[:, t], h, *parameters(result))
        np.testing.assert_allclose(result.value[:, t], h, rtol=1e-5, atol=1e-6)


def test_biases_begin_at_zero_and_recurrent_weights_orthogonal() -> None:
    w, u, b = parameters(run("x |> LSTM(3)", x=SEQUENCE))
    assert (b == 0).all()
    np.testing.assert_allclose(u @ u.T, np.eye(3), atol=1e-6)
    assert np.abs(w).max() <= np.sqrt(6 / (4 + 12))


# ---------------------------------------------------------------- attention
Q, K = rng.normal(size=(2, 2, 3, 4, 5)).astype(np.float32)
V = rng.normal(size=(2, 3, 4, 6)).astype(np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attend(seen: np.ndarray | None = None, scale: float = 5**-0.5) -> np.ndarray:
    scores = np.einsum("nhtd,nhsd->nhts", Q, K).astype(float) * scale
    scores = scores if seen is None else np.where(seen, scores, -np.inf)
    return np.einsum("nhts,nhse->nhte", softmax(scores), V)


def test_attention_mixes_values_by_the_softmax_of_scaled_products() -> None:
    value = run("attention(q, k, v)", q=Q, k=K, v=V).value
    np.testing.assert_allclose(value, attend(), rtol=1e-4, atol=1e-6)
    value = run("attention(q, k, v, scale = 0.1)", q=Q, k=K, v=V).value
    np.testing.assert_allclose(value, attend(scale=0.1), rtol=1e-4, atol=1e-6)


def test_causal_attention_sees_nothing_after_the_query() -> None:
    value = run("attention(q, k, v, causal = true)", q=Q, k=K, v=V).value
    seen = np.tril(np.ones((4, 4), bool))
    np.testing.assert_allclose(value, attend(seen), rtol=1e-4, atol=1e-6)


def test_a_mask_hides_keys() -> None:
    keys = np.array([[1, 1, 0, 1], [0, 1, 1, 1]], bool)
    value = run("attention(q, k, v, mask = reshape(m, [2, 1, 1, 4]))", q=Q, k=K, v=V, m=keys).value
    np.testing.assert_allclose(value, attend(keys[:, None, None]), rtol=1e-4, atol=1e-6)


def test_attention_works_on_any_leading_axes() -> None:
    value = run("attention(q, k, v)", q=Q[0, 0], k=K[0, 0], v=V[0, 0]).value
    np.testing.assert_allclose(value, attend()[0, 0], rtol=1e-4, atol=1e-6)


def test_multi_head_attention_is_attention_in_each_head() -> None:
    x = SEQUENCE
    result = run("x |> MultiHeadAttention(2, causal = true)", x=x)
    qkv = x @ result.state["net.multi_head_attention_0.dense_0.w"]
    q, k, v = (part.reshape(2, 5, 2, 2).swapaxes(1, 2) for part in np.split(qkv, 3, axis=-1))
    scores = np.where(np.tril(np.ones((5, 5), bool)), q @ k.swapaxes(-1, -2) / 2**0.5, -np.inf)
    mixed = (softmax(scores) @ v).swapaxes(1, 2).reshape(2, 5, 4)
    expected = mixed @ result.state["net.multi_head_attention_0.dense_1.w"]
    np.testing.assert_allclose(result.value, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("attention(q, k, v[0..2, 0..3, 0..3])", "E0301"),
        ("attention(q[0..2, 0..3, 0..2], k, v, causal = true)", "as many queries as keys"),
        ("x |> MultiHeadAttention(3)", "heads must divide the width"),
        ("reshape(x, [10, 4]) |> LSTMCell(3)", "needs `h`"),
    ],
)
def test_a_wrong_use_is_an_error_at_the_users_call(text: str, says: str) -> None:
    message = error_of(text, q=Q, k=K, v=V, x=SEQUENCE)
    assert says in message
    assert "--> program.nn:3" in message
