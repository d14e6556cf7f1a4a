"""Losses against their formulas in float64, written out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.std.program import error_of, run

rng = np.random.default_rng(7)
P, T = rng.normal(size=(2, 6, 5))
MASK = rng.random((6, 5)) < 0.6
UNIT = rng.random((6, 5))
SIGN = np.where(rng.random((6, 5)) < 0.5, -1.0, 1.0)
LOGITS, LABELS = rng.normal(size=(2, 3, 4)), np.array([[0, 3, 1], [2, 2, 0]])
WORD_MASK = np.array([[True, True, False], [True, False, False]])


def huber(d: np.ndarray, delta: float = 1.0) -> np.ndarray:
    return np.where(np.abs(d) <= delta, d**2 / 2, delta * (np.abs(d) - delta / 2))


def bce(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    p = 1 / (1 + np.exp(-x))
    return -t * np.log(p) - (1 - t) * np.log(1 - p)


#: name -> (its elements in float64, target)
ELEMENTWISE: dict[str, tuple[Callable[..., np.ndarray], np.ndarray]] = {
    "mse": (lambda p, t: (p - t) ** 2, T),
    "mae": (lambda p, t: np.abs(p - t), T),
    "huber": (lambda p, t: huber(p - t), T),
    "bce_logits": (bce, UNIT),
    "hinge": (lambda p, t: np.maximum(0, 1 - t * p), SIGN),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
class TestElementwiseLosses:
    def test_the_mean_over_all_elements(self, name: str) -> None:
        formula, target = ELEMENTWISE[name]
        value = run(f"{name}(p, t)", p=P, t=target).value
        np.testing.assert_allclose(value, formula(P, target).mean(), rtol=1e-6)

    def test_the_mean_over_what_the_mask_keeps(self, name: str) -> None:
        formula, target = ELEMENTWISE[name]
        value = run(f"{name}(p, t, mask = m)", p=P, t=target, m=MASK).value
        np.testing.assert_allclose(value, formula(P, target)[MASK].mean(), rtol=1e-6)

    def test_sum_is_over_features_and_the_mean_over_the_batch(self, name: str) -> None:
        formula, target = ELEMENTWISE[name]
        value = run(f'{name}(p, t, reduce = "sum")', p=P, t=target).value
        np.testing.assert_allclose(value, formula(P, target).sum(axis=1).mean(), rtol=1e-6)

    def test_sum_leaves_out_what_is_masked(self, name: str) -> None:
        formula, target = ELEMENTWISE[name]
        value = run(f'{name}(p, t, mask = m, reduce = "sum")', p=P, t=target, m=MASK).value
        expected = np.where(MASK, formula(P, target), 0).sum(axis=1).mean()
        np.testing.assert_allclose(value, expected, rtol=1e-6)

    def test_it_is_zero_where_everything_is_masked(self, name: str) -> None:
        target = ELEMENTWISE[name][1]
        both = run(
            f"let loss = {name}(p, t, mask = m)\nreturn (loss, gradient(loss, p))",
            p=P, t=target, m=np.zeros((6, 5), bool),
        )  # fmt: skip
        assert all((value == 0).all() for value in both.outputs.values())

    def test_a_target_of_another_shape_is_refused_not_broadcast(self, name: str) -> None:
        for target in (P[0], P[:, :1], P[:1], np.float32(1.0), P[..., None]):
            assert "E0301" in error_of(f"{name}(p, t)", p=P, t=target)

    def test_a_mask_of_another_shape_is_refused(self, name: str) -> None:
        assert "E0301" in error_of(f"{name}(p, p, mask = m)", p=P, m=MASK[:, 0])


def test_a_number_is_a_target_for_every_element() -> None:
    np.testing.assert_allclose(run("mse(p, 1)", p=P).value, ((P - 1) ** 2).mean(), rtol=1e-6)


def test_a_column_against_a_vector_says_how_to_fix_it() -> None:
    assert "squeeze" in error_of("mse(p, t)", p=P[:, :1], t=P[:, 0])


def test_huber_takes_delta() -> None:
    value = run("huber(p, t, delta = 0.3)", p=P, t=T).value
    np.testing.assert_allclose(value, huber(P - T, 0.3).mean(), rtol=1e-6)


def test_bce_logits_is_finite_far_out_and_half_sure_at_zero() -> None:
    x, t = np.array([-1e4, 0.0, 1e4, 1e4]), np.array([0.0, 1.0, 1.0, 0.0])
    both = run("let loss = bce_logits(x, t)\nreturn (loss, gradient(loss, x))", x=x, t=t)
    np.testing.assert_allclose(both.outputs["0"], (np.log(2) + 1e4) / 4, rtol=1e-6)
    np.testing.assert_allclose(both.outputs["1"], [0, -0.5 / 4, 0, 1 / 4])


def test_an_unknown_reduction_is_an_error_at_the_call() -> None:
    message = error_of('mse(p, p, reduce = "max")', p=P)
    assert 'reduce is "mean" or "sum"' in message
    assert "program.nn:3" in message


# ---------------------------------------------------------------- cross-entropy
def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def each_cross_entropy() -> np.ndarray:
    return -np.take_along_axis(log_softmax(LOGITS), LABELS[..., None], -1)[..., 0]


def test_cross_entropy_takes_labels_of_any_leading_shape() -> None:
    for pick in ((), 0, (0, 0)):
        value = run("cross_entropy(x, y)", x=LOGITS[pick], y=LABELS[pick]).value
        np.testing.assert_allclose(value, each_cross_entropy()[pick].mean(), rtol=1e-6)


def test_cross_entropy_averages_over_what_is_not_masked() -> None:
    value = run("cross_entropy(x, y, mask = m)", x=LOGITS, y=LABELS, m=WORD_MASK).value
    np.testing.assert_allclose(value, each_cross_entropy()[WORD_MASK].mean(), rtol=1e-6)


def test_label_smoothing_mixes_the_label_with_all_classes() -> None:
    smooth = 0.9 * np.eye(4)[LABELS] + 0.1 / 4
    expected = -(smooth * log_softmax(LOGITS)).sum(-1).mean()
    value = run("cross_entropy(x, y, label_smoothing = 0.1)", x=LOGITS, y=LABELS).value
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_class_weights_make_a_weighted_mean() -> None:
    # torch.nn.functional.cross_entropy(weight=...) divides by the sum of the weights too.
    weights = np.array([0.5, 1.0, 2.0, 0.25])
    w = weights[LABELS]
    text = "cross_entropy(x, y, class_weights = w)"
    value = run(text, x=LOGITS, y=LABELS, w=weights).value
    np.testing.assert_allclose(value, (w * each_cross_entropy()).sum() / w.sum(), rtol=1e-6)
    text = "cross_entropy(x, y, class_weights = w, mask = m)"
    value = run(text, x=LOGITS, y=LABELS, w=weights, m=WORD_MASK).value
    kept = w * WORD_MASK
    np.testing.assert_allclose(value, (kept * each_cross_entropy()).sum() / kept.sum(), rtol=1e-6)


def test_class_weights_must_be_one_a_class() -> None:
    message = error_of("cross_entropy(x, y, class_weights = w)", x=LOGITS, y=LABELS, w=np.ones(3))
    assert "class_weights" in message
    assert "`C`" in message


def test_cross_entropy_refuses_labels_that_are_no_ints_or_of_another_shape() -> None:
    assert "E0312" in error_of("cross_entropy(x, y)", x=LOGITS, y=LOGITS[..., 0])
    assert "E0301" in error_of("cross_entropy(x, y)", x=LOGITS, y=LABELS[0])


def test_cross_entropy_is_a_lean_graph() -> None:
    assert run("cross_entropy(x, y)", x=LOGITS[0], y=LABELS[0]).ops == [
        "log_softmax", "reshape", "take_along", "reshape", "neg", "sum", "div",
    ]  # fmt: skip


# ---------------------------------------------------------------- divergences, penalties
def test_kl_of_a_gaussian_from_the_standard_normal() -> None:
    variance = np.exp(T)
    each = 0.5 * (variance + P**2 - 1 - np.log(variance)).sum(-1)
    np.testing.assert_allclose(run("kl(m, v)", m=P, v=T).value, each.mean(), rtol=1e-6)


def test_kl_logits_is_zero_for_equal_distributions_and_positive_for_others() -> None:
    q, p = np.exp(log_softmax(P)), np.exp(log_softmax(T))
    expected = (p * np.log(p / q)).sum(-1).mean()
    np.testing.assert_allclose(run("kl_logits(x, t)", x=P, t=T).value, expected, rtol=1e-5)
    assert abs(run("kl_logits(x, x + 3)", x=P).value) < 1e-6


@pytest.mark.parametrize(
    ("name", "formula"), [("l1", lambda w: np.abs(w).sum()), ("l2", lambda w: (w**2).sum())]
)
def test_penalties_run_over_all_weights(name: str, formula: Callable[..., float]) -> None:
    text = "let net = Dense(3, init = normal())\nlet y = net(x)\nreturn " + f"{name}(net, 0.5)"
    result = run(text, x=P, state={"net.net.b": np.array([1, -2, 3], np.float32)})
    expected = 0.5 * sum(formula(w.astype(float)) for w in result.state.values())
    np.testing.assert_allclose(result.value, expected, rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.booleans(), min_size=6, max_size=6), st.floats(-3, 3))
def test_masked_elements_have_no_influence(mask: list[bool], noise: float) -> None:
    keep = np.array(mask)
    changed = np.where(keep[:, None], P, P + noise)
    text = "mse(p, t, mask = m)"
    spread = np.repeat(keep[:, None], 5, 1)
    a = run(text, p=P, t=T, m=spread).value
    b = run(text, p=changed, t=T, m=spread).value
    assert a == b
