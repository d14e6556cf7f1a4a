"""Optimizers: several steps of a small problem against the update written out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnc.ir.program import Training
from nnc.language.diagnostics import NncError
from tests.std.program import initial_state, run_steps, training_of

rng = np.random.default_rng(5)
STEPS, BATCH = 6, 4
X = rng.normal(size=(STEPS * BATCH, 3)).astype(np.float32)
Y = rng.normal(size=(STEPS * BATCH, 2)).astype(np.float32)

PROGRAM = """
data d {{
  x: f32[N, 3] = npz("data.npz", key = "x")
  y: f32[N, 2] = npz("data.npz", key = "y")
  batch = 4
}}
train t {{
  let net = Dense(2)
  loss      = 100 * mse(net(d.x), d.y)
  optimizer = {optimizer}
  steps     = 6
  {settings}
}}
"""

Weights = dict[str, np.ndarray]
Rule = Callable[[np.ndarray, np.ndarray, int, dict[str, Any]], np.ndarray]


def training(root: Path, optimizer: str, settings: str = "") -> Training:
    text = PROGRAM.format(optimizer=optimizer, settings=settings)
    return training_of(root, text, x=X, y=Y)


def batches() -> list[dict[str, np.ndarray]]:
    cuts = [slice(i * BATCH, (i + 1) * BATCH) for i in range(STEPS)]
    return [{"d.x": X[cut], "d.y": Y[cut]} for cut in cuts]


def gradients(w: Weights, batch: dict[str, np.ndarray]) -> Weights:
    """Of 100 * mean((x @ w + b - y)^2), by hand, in float64."""
    x, y = batch["d.x"].astype(float), batch["d.y"].astype(float)
    dy = 200 * (x @ w["net.w"] + w["net.b"] - y) / y.size
    return {"net.w": x.T @ dy, "net.b": dy.sum(0)}


def by_hand(
    w: Weights, rule: Rule, transform: Callable[[Weights], Weights] = lambda g: g
) -> Weights:
    w = {path: value.astype(float) for path, value in w.items()}
    memory: dict[str, dict[str, Any]] = {path: {} for path in w}
    for t, batch in enumerate(batches()):
        g = transform(gradients(w, batch))
        w = {path: rule(w[path], g[path], t, memory[path]) for path in w}
    return w


# ---------------------------------------------------------------- the updates, by hand
def sgd(lr: float) -> Rule:
    return lambda p, g, t, m: p - lr * g


def momentum(lr: float, mu: float, nesterov: bool = False, decay: float = 0) -> Rule:
    # torch.optim.SGD(momentum=mu, nesterov=...) agrees, but for its coupled decay.
    def rule(p: np.ndarray, g: np.ndarray, t: int, m: dict[str, Any]) -> np.ndarray:
        m["v"] = mu * m.get("v", 0) + g
        return p - lr * decay * p - lr * (g + mu * m["v"] if nesterov else m["v"])

    return rule


def adam(
    lr: Callable[[int], float], b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8,
    decay: float = 0,
) -> Rule:  # fmt: skip
    # torch.optim.AdamW agrees; its own default of weight_decay is 0.01, ours is none.
    def rule(p: np.ndarray, g: np.ndarray, t: int, m: dict[str, Any]) -> np.ndarray:
        m["m"] = b1 * m.get("m", 0) + (1 - b1) * g
        m["v"] = b2 * m.get("v", 0) + (1 - b2) * g**2
        first, second = m["m"] / (1 - b1 ** (t + 1)), m["v"] / (1 - b2 ** (t + 1))
        return p - lr(t) * decay * p - lr(t) * first / (np.sqrt(second) + eps)

    return rule


def rmsprop(lr: float, alpha: float, eps: float) -> Rule:
    # torch.optim.RMSprop agrees.
    def rule(p: np.ndarray, g: np.ndarray, t: int, m: dict[str, Any]) -> np.ndarray:
        m["v"] = alpha * m.get("v", 0) + (1 - alpha) * g**2
        return p - lr * g / (np.sqrt(m["v"]) + eps)

    return rule


def adagrad(lr: float, eps: float) -> Rule:
    # torch.optim.Adagrad agrees.
    def rule(p: np.ndarray, g: np.ndarray, t: int, m: dict[str, Any]) -> np.ndarray:
        m["v"] = m.get("v", 0) + g**2
        return p - lr * g / (np.sqrt(m["v"]) + eps)

    return rule


def lion(lr: float, b1: float, b2: float, decay: float) -> Rule:
    def rule(p: np.ndarray, g: np.ndarray, t: int, m: dict[str, Any]) -> np.ndarray:
        old = m.get("m", np.zeros_like(g))
        m["m"] = b2 * old + (1 - b2) * g
        return p - lr * (np.sign(b1 * old + (1 - b1) * g) + decay * p)

    return rule


def lars(lr: float, mu: float, decay: float, trust: float) -> Rule:
    def rule(p: np.ndarray, g: np.ndarray, t: int, m: dict[str, Any]) -> np.ndarray:
        own, slope = np.linalg.norm(p), np.linalg.norm(g)
        rate = lr * (trust * own / (slope + decay * own) if own * slope > 0 else 1)
        m["v"] = mu * m.get("v", 0) + rate * (g + decay * p)
        return p - m["v"]

    return rule


def cosine(peak: float) -> Callable[[int], float]:
    return lambda t: peak * (1 + math.cos(math.pi * t / STEPS)) / 2


CASES: dict[str, Rule] = {
    "SGD(0.01)": sgd(0.01),
    "SGD(0.01, momentum = 0.9)": momentum(0.01, 0.9),
    "SGD(0.01, momentum = 0.9, nesterov = true)": momentum(0.01, 0.9, True),
    "SGD(0.01, momentum = 0.9, weight_decay = 0.1)": momentum(0.01, 0.9, False, 0.1),
    "Adam()": adam(lambda t: 1e-3),
    "Adam(0.1, beta1 = 0.5, beta2 = 0.9, eps = 0.1)": adam(lambda t: 0.1, 0.5, 0.9, 0.1),
    "Adam(cosine(0.1))": adam(cosine(0.1)),
    "AdamW(0.1, weight_decay = 0.2)": adam(lambda t: 0.1, decay=0.2),
    "AdamW(cosine(0.1), weight_decay = 0.2)": adam(cosine(0.1), decay=0.2),
    "AdamW(0.1)": adam(lambda t: 0.1),
    "RMSprop()": rmsprop(1e-3, 0.99, 1e-8),
    "RMSprop(0.1, alpha = 0.5, eps = 0.1)": rmsprop(0.1, 0.5, 0.1),
    "Adagrad()": adagrad(0.01, 1e-10),
    "Adagrad(0.1, eps = 0.1)": adagrad(0.1, 0.1),
    "Lion(0.01, weight_decay = 0.5)": lion(0.01, 0.9, 0.99, 0.5),
    "Lion(0.01, beta1 = 0.5, beta2 = 0.3)": lion(0.01, 0.5, 0.3, 0),
    "LARS(0.5, weight_decay = 0.01)": lars(0.5, 0.9, 0.01, 0.001),
    "LARS(0.5, momentum = 0.5, trust = 0.1)": lars(0.5, 0.5, 0, 0.1),
}


@pytest.mark.parametrize("optimizer", CASES)
def test_six_steps_are_those_by_hand(tmp_path: Path, optimizer: str) -> None:
    program = training(tmp_path, optimizer)
    *_, state = run_steps(program, batches())
    expected = by_hand(_weights(initial_state(program.state)), CASES[optimizer])
    for path, value in expected.items():
        np.testing.assert_allclose(state[path], value, rtol=2e-5, atol=1e-6)


def _weights(state: dict[str, np.ndarray]) -> Weights:
    return {path: value for path, value in state.items() if path.startswith("net.")}


MOMENTS = {
    "SGD(0.1)": [],
    "SGD(0.1, weight_decay = 0.1)": [],
    "SGD(0.1, momentum = 0.9)": ["v"],
    "Adam()": ["m", "v"],
    "AdamW()": ["m", "v"],
    "RMSprop()": ["v"],
    "Adagrad()": ["v"],
    "Lion()": ["m"],
    "LARS(0.1)": ["v"],
}


@pytest.mark.parametrize("optimizer", MOMENTS)
def test_it_keeps_only_the_moments_it_needs(tmp_path: Path, optimizer: str) -> None:
    state = training(tmp_path, optimizer).state
    kept = {path.split("/")[2] for path in state if path.startswith("@opt/")}
    assert sorted(kept) == MOMENTS[optimizer]


def test_without_an_amount_nothing_decays(tmp_path: Path) -> None:
    (plain,) = training(tmp_path, "AdamW(0.1)").phases[0].steps
    (adam_step,) = training(tmp_path, "Adam(0.1)").phases[0].steps
    (zero,) = training(tmp_path, "AdamW(0.1, weight_decay = 0)").phases[0].steps
    assert len(plain.graph) == len(adam_step.graph) == len(zero.graph)


def test_what_depends_on_the_step_alone_is_computed_on_the_host(tmp_path: Path) -> None:
    (step,) = training(tmp_path, "AdamW(cosine(0.1), weight_decay = 0.1)").phases[0].steps
    assert set(step.scalars) == {"rate", "eps_hat", "decay"}


def test_the_schedule_of_a_decay_may_be_zero_in_some_step(tmp_path: Path) -> None:
    program = training(tmp_path, "AdamW(0.1, weight_decay = ramp(0, 0.2, until = 4))")
    *_, state = run_steps(program, batches())

    def rule(p: np.ndarray, g: np.ndarray, t: int, m: dict[str, Any]) -> np.ndarray:
        return adam(lambda t: 0.1, decay=0.2 * min(t / 4, 1))(p, g, t, m)

    expected = by_hand(_weights(initial_state(program.state)), rule)
    np.testing.assert_allclose(state["net.w"], expected["net.w"], rtol=2e-5, atol=1e-6)


# ---------------------------------------------------------------- clipping
def clip_norm(limit: float) -> Callable[[Weights], Weights]:
    def transform(g: Weights) -> Weights:
        norm = math.sqrt(sum((v**2).sum() for v in g.values()))
        return {path: v * min(1, limit / max(norm, limit)) for path, v in g.items()}

    return transform


def clip_value(limit: float) -> Callable[[Weights], Weights]:
    return lambda g: {path: np.clip(v, -limit, limit) for path, v in g.items()}


@pytest.mark.parametrize(
    ("setting", "transform"),
    [
        ("clip_norm = 1.5", clip_norm(1.5)),
        ("clip_norm = 1e9", lambda g: g),
        ("clip_value = 0.7", clip_value(0.7)),
        ("clip_norm = 1.5\n  clip_value = 0.7", lambda g: clip_value(0.7)(clip_norm(1.5)(g))),
    ],
)
def test_gradients_are_clipped_together(
    tmp_path: Path, setting: str, transform: Callable[[Weights], Weights]
) -> None:
    program = training(tmp_path, "SGD(0.01)", setting)
    *_, state = run_steps(program, batches())
    expected = by_hand(_weights(initial_state(program.state)), sgd(0.01), transform)
    for path, value in expected.items():
        np.testing.assert_allclose(state[path], value, rtol=2e-5, atol=1e-6)


def test_a_gradient_of_zero_is_clipped_to_zero(tmp_path: Path) -> None:
    program = training(tmp_path, "SGD(0.01)", "clip_norm = 1")
    still = {"d.x": np.zeros((4, 3), np.float32), "d.y": np.zeros((4, 2), np.float32)}
    (state,) = run_steps(program, [still])
    start = initial_state(program.state)
    assert all((state[path] == start[path]).all() for path in state)


# ---------------------------------------------------------------- one's own
def test_an_optimizer_of_ones_own_is_a_block(tmp_path: Path) -> None:
    own = """
block Signed(lr: f32)(p: f32[...], grad: f32[...]) -> f32[...] = p - lr * sign(Momentum(0.5)(grad))
"""
    text = own + PROGRAM.format(optimizer="Signed(0.1)", settings="")
    program = training_of(tmp_path, text, x=X, y=Y)
    *_, state = run_steps(program, batches())

    def rule(p: np.ndarray, g: np.ndarray, t: int, m: dict[str, Any]) -> np.ndarray:
        m["v"] = 0.5 * m.get("v", 0) + g
        return p - 0.1 * np.sign(m["v"])

    expected = by_hand(_weights(initial_state(program.state)), rule)
    np.testing.assert_allclose(state["net.w"], expected["net.w"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "code"),
    [
        ("SGD()", "E0212"),
        ("SGD(0.1, nesterov = true)", "E0237"),
        ("Adam(0.1, beta3 = 0.9)", "E0211"),
        ('Adam("fast")', "E0310"),
        ("Adam", "E0425"),
        ("Momentum(0.9)", "E0425"),
    ],
)
def test_a_wrong_use_is_an_error_at_the_call(tmp_path: Path, optimizer: str, code: str) -> None:
    with pytest.raises(NncError) as raised:
        training(tmp_path, optimizer)
    (fault,) = raised.value.diagnostics
    assert fault.code == code
    assert fault.span is not None
    assert fault.span.source.path == "program.nn"
    assert fault.span.line == 10
