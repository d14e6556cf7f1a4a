"""Metrics over a whole evaluation, in several batches and a remainder, against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from nnc.ir.program import Evaluation
from tests.std.program import State, error_of, evaluate, initial_state, run, training_of

rng = np.random.default_rng(3)
COUNT, BATCH = 53, 8  # six batches and a remainder of five
CLASSES = 4

#: Logits with ties, so that "the first of equals" and half-counted pairs matter.
MANY = np.round(rng.normal(size=(COUNT, CLASSES)), 1)
LABELS = rng.integers(0, CLASSES, COUNT)
LABELS[LABELS == 2] = 1  # a class that never occurs ...
MANY[:, 3] -= 9  # ... and one that is never predicted
BINARY = np.round(rng.normal(size=COUNT), 1)
TRUTH = (rng.random(COUNT) < 0.4).astype(int)
VALUES = rng.normal(size=(COUNT, 3)) + 5
TARGETS = VALUES + rng.normal(size=(COUNT, 3))

PROGRAM = """
data d {{
  many:    f32[N, 4] = npz("data.npz", key = "many")
  binary:  f32[N]    = npz("data.npz", key = "binary")
  labels:  i32[N]    = npz("data.npz", key = "labels")
  truth:   i32[N]    = npz("data.npz", key = "truth")
  values:  f32[N, 3] = npz("data.npz", key = "values")
  targets: f32[N, 3] = npz("data.npz", key = "targets")
  batch = 8
  split = (train = 50%, test = 50%)
}}
train t {{
  let net   = Dense(1, init = zeros())
  let score = net(d.many)
  loss      = mse(squeeze(score), d.binary)
  metrics   = ({metrics})
  optimizer = SGD(0.1)
  steps     = 1
}}
"""

ARRAYS = {
    "many": MANY.astype(np.float32), "binary": BINARY.astype(np.float32),
    "labels": LABELS.astype(np.int32), "truth": TRUTH.astype(np.int32),
    "values": VALUES.astype(np.float32), "targets": TARGETS.astype(np.float32),
}  # fmt: skip


def evaluation_of(root: Path, **metrics: str) -> tuple[Evaluation, State]:
    text = PROGRAM.format(metrics=", ".join(f"{k} = {v}" for k, v in metrics.items()))
    training = training_of(root, text, **ARRAYS)
    (evaluation,) = training.evaluations
    return evaluation, initial_state(training.state)


def over_all(root: Path, metric: str, batch: int = BATCH, **changed: np.ndarray) -> np.ndarray:
    evaluation, state = evaluation_of(root, metric=metric)
    arrays = {f"d.{name}": array for name, array in (ARRAYS | changed).items()}
    return evaluate(evaluation, state, arrays, batch)["@metrics/metric"]


PREDICTED, POSITIVE = MANY.argmax(1), (BINARY > 0).astype(int)
SCORES = {
    "precision": reference.precision_score,
    "recall": reference.recall_score,
    "f1": reference.f1_score,
}


def macro(score: Callable[..., float], average: str | None) -> np.ndarray:
    return np.asarray(
        score(LABELS, PREDICTED, labels=range(CLASSES), average=average, zero_division=0)
    )


#: metric -> what scikit-learn says of the whole set
EXPECTED = {
    "accuracy(d.many, d.labels)": reference.accuracy_score(LABELS, PREDICTED),
    "accuracy(d.binary, d.truth)": reference.accuracy_score(TRUTH, POSITIVE),
    "accuracy(d.binary, d.truth, threshold = 0.5)": reference.accuracy_score(
        TRUTH, ARRAYS["binary"] > 0.5
    ),
    "confusion(d.many, d.labels)": reference.confusion_matrix(
        LABELS, PREDICTED, labels=range(CLASSES)
    ),
    "confusion(d.binary, d.truth)": reference.confusion_matrix(TRUTH, POSITIVE),
    "auc(d.binary, d.truth)": reference.roc_auc_score(TRUTH, ARRAYS["binary"]),
    "r2(d.values, d.targets)": reference.r2_score(TARGETS, VALUES),
    "r2(d.values[0..N, 0], d.targets[0..N, 0])": reference.r2_score(TARGETS[:, 0], VALUES[:, 0]),
    "mae(d.values, d.targets)": reference.mean_absolute_error(TARGETS, VALUES),
    "sqrt(mse(d.values, d.targets))": reference.root_mean_squared_error(
        TARGETS.ravel(), VALUES.ravel()
    ),
    "exp(mse(d.values, d.targets))": np.exp(reference.mean_squared_error(TARGETS, VALUES)),
    **{f"{name}(d.binary, d.truth)": score(TRUTH, POSITIVE) for name, score in SCORES.items()},
    **{
        f'{name}(d.many, d.labels, "{average}")': macro(score, {"none": None}.get(average, average))
        for name, score in SCORES.items()
        for average in ("macro", "weighted", "none")
    },
}


@pytest.mark.parametrize("metric", EXPECTED)
def test_over_several_batches_it_is_that_of_the_whole_set(tmp_path: Path, metric: str) -> None:
    np.testing.assert_allclose(over_all(tmp_path, metric), EXPECTED[metric], rtol=2e-6)


@pytest.mark.parametrize(
    "metric", ["auc(d.binary, d.truth)", "f1(d.many, d.labels)", "r2(d.values, d.targets)"]
)
def test_the_size_of_the_batches_does_not_matter(tmp_path: Path, metric: str) -> None:
    values = [over_all(tmp_path, metric, batch) for batch in (1, 7, COUNT)]
    np.testing.assert_allclose(values, values[0], rtol=1e-6)


def test_top_k_counts_a_label_among_the_k_greatest_the_first_of_equals(tmp_path: Path) -> None:
    for k in (1, 2, 4):
        best = np.argsort(-ARRAYS["many"], axis=1, kind="stable")[:, :k]
        expected = (best == LABELS[:, None]).any(1).mean()
        value = over_all(tmp_path, f"top_k_accuracy(d.many, d.labels, {k})")
        np.testing.assert_allclose(value, expected, rtol=1e-6)
    top1 = over_all(tmp_path, "top_k_accuracy(d.many, d.labels, 1)")
    assert top1 == over_all(tmp_path, "accuracy(d.many, d.labels)")


def test_a_network_that_knows_nothing_is_not_right(tmp_path: Path) -> None:
    flat = np.zeros((COUNT, CLASSES), np.float32)
    value = over_all(tmp_path, "top_k_accuracy(d.many, d.labels, 2)", many=flat)
    np.testing.assert_allclose(value, (LABELS < 2).mean(), rtol=1e-6)


def test_a_constant_score_has_an_auc_of_one_half(tmp_path: Path) -> None:
    flat = np.zeros(COUNT, np.float32)
    assert over_all(tmp_path, "auc(d.binary, d.truth)", binary=flat) == 0.5


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=12).filter(
        lambda pairs: len({label for _, label in pairs}) == 2
    )
)
def test_auc_counts_pairs_in_the_right_order_and_half_of_the_ties(
    pairs: list[tuple[int, bool]],
) -> None:
    scores = np.array([s for s, _ in pairs], float)
    labels = np.array([int(label) for _, label in pairs])
    difference = scores[labels == 1][:, None] - scores[labels == 0]
    expected = ((difference > 0) + 0.5 * (difference == 0)).mean()
    value = run("auc(s, y)", s=scores, y=labels, free=True).value
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_metrics_of_sequences_take_labels_of_any_leading_shape() -> None:
    logits, labels = rng.normal(size=(5, 6, 3)), rng.integers(0, 3, (5, 6))
    mask = rng.random((5, 6)) < 0.5
    chosen = logits.argmax(-1)
    value = run("accuracy(x, y, mask = m)", x=logits, y=labels, m=mask).value
    np.testing.assert_allclose(value, (chosen == labels)[mask].mean(), rtol=1e-6)
    expected = reference.f1_score(labels.ravel(), chosen.ravel(), average="macro")
    np.testing.assert_allclose(run("f1(x, y)", x=logits, y=labels).value, expected, rtol=1e-6)
    expected = reference.roc_auc_score(labels.ravel() > 0, logits[..., 0].ravel())
    value = run("auc(s, y)", s=logits[..., 0], y=(labels > 0).astype(int)).value
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_sums_are_added_up_and_only_ranks_are_collected(tmp_path: Path) -> None:
    evaluation, _ = evaluation_of(
        tmp_path,
        f1="f1(d.many, d.labels)",
        accuracy="accuracy(d.many, d.labels)",
        auc="auc(d.binary, d.truth)",
    )
    collected = [name for name, how in evaluation.merge.items() if how == "collect"]
    shapes = [evaluation.batch.type(evaluation.batch.outputs[name]).shape for name in collected]
    assert len(collected) == 2  # the scores and the labels of auc
    assert all(len(shape) == 1 for shape in shapes)


def test_pairs_of_samples_are_pairs_of_the_whole_set(tmp_path: Path) -> None:
    pairs = "mean(f32(expand(d.binary, axis = 0) > expand(d.binary)))"
    s = ARRAYS["binary"]
    expected = (s[None, :] > s[:, None]).mean()
    np.testing.assert_allclose(over_all(tmp_path, pairs), expected, rtol=1e-6)


def test_samples_read_by_their_place_are_those_of_the_whole_set(tmp_path: Path) -> None:
    previous = "mean(d.binary * take(d.binary, maximum(iota(N) - 1, 0)))"
    s = ARRAYS["binary"].astype(float)
    expected = (s * s[np.maximum(np.arange(COUNT) - 1, 0)]).mean()
    np.testing.assert_allclose(over_all(tmp_path, previous), expected, rtol=1e-5)


def test_what_counts_are_added_to_is_not_added_once_a_batch(tmp_path: Path) -> None:
    smoothed = "scatter_add(ones([4]), d.labels, ones([N]))"
    expected = 1 + np.bincount(LABELS, minlength=4)
    np.testing.assert_array_equal(over_all(tmp_path, smoothed), expected)


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ("accuracy(x, y)", "one more axis of classes"),
        ("top_k_accuracy(z, y, 9)", "between 1 and the number of classes"),
        ('f1(z, y, "mikro")', '"macro", "weighted" or "none"'),
        ("f1(z, z)", "must be i32[...]"),
        ("auc(z, y)", "E0301"),
    ],
)
def test_a_wrong_use_is_an_error_at_the_call(metric: str, says: str) -> None:
    y = LABELS.astype(np.int32)
    message = error_of(metric, x=MANY[:, :, None], y=y, z=MANY)
    assert says in message
    assert "program.nn:3" in message
