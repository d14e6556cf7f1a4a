"""Metrics over several batches are those of the whole part at once (semantics 12 and 18)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnc.ir.program import Training
from nnc.ir.verify import verify
from tests.elaborate.harness import DESCENT, Run, codes, save, train

F = np.float32
RNG = np.random.default_rng(0)
COUNT, CLASSES = 23, 3
X = RNG.normal(size=(COUNT, 4)).astype(F)
T = RNG.normal(size=(COUNT, 5, 2)).astype(F)
LABELS = RNG.integers(0, CLASSES, COUNT).astype(np.int32)
MASK = (RNG.random(COUNT) > 0.3).astype(F)
PROGRAM = (
    DESCENT
    + """
block Dense(out: int)(x: f32[..., D]) -> f32[..., out] {
  param w: f32[D, out] = normal()
  return x @ w
}
fn nll(logits: f32[..., C], labels: i32[...]) -> f32[...] =
  -squeeze(take_along(log_softmax(logits), expand(labels)), axis = -1)
data d {
  x: f32[N, 4] = npz("d.npz", "x")
  t: f32[N, S = 5, 2] = npz("d.npz", "t")
  y: i32[N] = npz("d.npz", "y")
  mask: f32[N] = npz("d.npz", "mask")
  batch = 4
  split = (train = 20%, val = 80%)
  shuffle = false
}
train fit {
  let net = Dense(3)
  let logits = net(d.x)
  let score = logits[0..N, 0]
  let hits = f32(argmax(logits) == d.y)
  loss = mean(nll(logits, d.y)) + 0.1 * sum(weights(net) ^ 2)
  optimizer = Descent(0.1)
  epochs = 1
  metrics = (METRICS)
}
"""
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save(tmp_path, d={"x": X, "t": T, "y": LABELS, "mask": MASK})
    return tmp_path


def fit(root: Path, **metrics: str) -> Training:
    items = ", ".join(f"{name} = {text}" for name, text in metrics.items())
    return train(PROGRAM.replace("METRICS", items or "one = mean(hits)"), root)


def merged(training: Training) -> dict[str, str]:
    """How each accumulator combines, by what makes it."""
    (evaluation,) = training.evaluations
    return evaluation.merge


#: text of a metric -> (its value with NumPy, the ways its accumulators combine)
AUC = """mean(where(
  (expand(score, axis = 1) - expand(score, axis = 0)) > 0, 1.0, 0.0))"""
RANKED = "mean(f32(argsort(argsort(score, axis = 0), axis = 0)) * f32(d.y == 1))"
CASES = {
    "mean(hits)": ("hits.mean()", {"sum"}),
    "sum(hits)": ("hits.sum()", {"sum"}),
    "exp(mean(nll(logits, d.y)))": ("np.exp(nll.mean())", {"sum"}),
    "exp(loss)": ("np.exp(loss)", {"sum"}),
    "max(score)": ("score.max()", {"max"}),
    "min(score, axis = 0) - max(logits)": ("score.min() - logits.max()", {"min", "max"}),
    "sqrt(mean(score ^ 2))": ("np.sqrt((score**2).mean())", {"sum"}),
    "sum(hits * d.mask) / sum(d.mask)": ("(hits * mask).sum() / mask.sum()", {"sum"}),
    "sum(hits * d.mask) / maximum(sum(d.mask), 1)": ("(hits * mask).sum() / mask.sum()", {"sum"}),
    "1 - sum((score - d.mask) ^ 2) / sum((d.mask - mean(d.mask)) ^ 2)": (
        "1 - ((score - mask) ** 2).sum() / ((mask - mask.mean()) ** 2).sum()",
        {"sum", "collect"},
    ),
    "transpose(one_hot(d.y, 3)) @ one_hot(argmax(logits), 3)": (
        "eye[y].T @ eye[logits.argmax(1)]",
        {"sum"},
    ),
    "one_hot(d.y, 3) |> sum(axis = 0)": ("eye[y].sum(0)", {"sum"}),
    "mean(logits, axis = 0)": ("logits.mean(0)", {"sum"}),
    "mean(d.t, axis = N)": ("t.mean(0)", {"sum"}),
    "mean(sum(d.t, axis = S) ^ 2)": ("(t.sum(1) ** 2).mean()", {"sum"}),
    "mean(cumsum(d.t, axis = S) ^ 2)": ("(t.cumsum(1) ** 2).mean()", {"sum"}),
    "mean(softmax(logits) ^ 2)": ("(probabilities**2).mean()", {"sum"}),
    "mean(softmax(score, axis = 0) ^ 2)": (
        "((np.exp(score) / np.exp(score).sum()) ** 2).mean()",
        {"collect"},
    ),
    RANKED: ("(score.argsort(kind='stable').argsort() * (y == 1)).mean()", {"collect"}),
    AUC: ("(score[:, None] > score[None]).mean()", {"collect"}),
    "mean((logits @ transpose(logits)) ^ 2)": ("((logits @ logits.T) ** 2).mean()", {"collect"}),
    "mean(concat(score, 2 * score, axis = 0) ^ 2)": (
        "(np.concatenate([score, 2 * score]) ** 2).mean()",
        {"sum", "collect"},
    ),
    "mean(reshape(d.t, [N * 5, 2]) ^ 2)": ("(t**2).mean()", {"sum"}),
    "mean(cumsum(reshape(d.t, [N * 5, 2]), axis = 0))": (
        "t.reshape(-1, 2).cumsum(0).mean()",
        {"collect"},
    ),
    "mean(abs(reshape(transpose(d.t, [1, 0, 2]), [5 * N, 2]) |> cumsum(axis = 0)))": (
        "np.abs(t.swapaxes(0, 1).reshape(-1, 2).cumsum(0)).mean()",
        {"collect"},
    ),
    "score[0] - score[-1]": ("score[0] - score[-1]", {"collect"}),
    "mean(score[1..N] - score[0..N - 1])": ("np.diff(score).mean()", {"collect"}),
    "mean(flip(score, axis = 0) * score)": ("(score[::-1] * score).mean()", {"collect"}),
    "f32(N)": ("len(score)", set()),
    "sum(score) / N + 2 * N": ("score.mean() + 2 * len(score)", {"sum"}),
    "sum(ones([N]) * 2)": ("2 * len(score)", set()),
    "mean(score * f32(iota(N)))": ("(score * np.arange(len(score))).mean()", {"collect"}),
    "sum(weights(net) ^ 2)": ("(w**2).sum()", set()),
    "mean(sort(score, axis = 0)[0..3])": ("np.sort(score)[:3].mean()", {"collect"}),
    "mean(scan e in d.t over S with s = zeros([N, 2]) { s = 0.5 * s + e })": (
        "decayed.mean()",
        {"sum"},
    ),
    "mean(scan e in d.t over S with s = zeros([N, 2]) { s = 0.5 * s + e - mean(e, axis = N) })": (
        "(decayed - decayed.mean(0)).mean()",
        {"collect"},
    ),
    "scan e in d.t over S with s = 0.0 { s = 0.5 * s + sum(e) }": (
        "decayed.sum()",
        {"collect"},
    ),
    "scan e in score over N with s = 0.0 { s = 0.5 * s + e }": ("folded", {"collect"}),
    "mean(windows(score, 2, axis = N) |> sum(axis = -1))": (
        "(score[1:] + score[:-1]).mean()",
        {"collect"},
    ),
    "mean(windows(d.t, 2, axis = S) ^ 2)": (
        "(t[:, 1:] ** 2 + t[:, :-1] ** 2).mean() / 2",
        {"sum"},
    ),
    "mean(conv(d.t, ones([3, 2, 1])))": (
        "(t.sum((0, 1, 2)) * 3 - t[:, 0].sum() - t[:, -1].sum()) / len(t) / 5",
        {"sum"},
    ),
    "mean(take(ones([3, 2]) * 4, d.y))": ("4.0", {"sum"}),
    "scatter_add(zeros([3]), d.y, hits)": ("np.bincount(y, hits, 3)", {"sum"}),
    "scatter_add(ones([3]), d.y, hits)": ("1 + np.bincount(y, hits, 3)", {"sum", "collect"}),
    "any(score > 2)": ("(score > 2).any()", {"collect", "max"}),
    "all(score > -9)": ("True", {"collect", "min"}),
    "argmax(score, axis = 0)": ("score.argmax()", {"collect"}),
    "prod(abs(score))": ("np.abs(score).prod()", {"collect"}),
    "sum(gradient(sum(nll(net(d.x), d.y)), d.x) ^ 2) / N": (
        "(((probabilities - eye[y]) @ w.T) ** 2).sum() / len(y)",
        {"sum"},
    ),
    'mean(einsum("n s c, n c -> n s", d.t, d.t[S = 0]))': (
        "np.einsum('nsc,nc->ns', t, t[:, 0]).mean()",
        {"sum"},
    ),
    'einsum("n a, n b -> a b", logits, logits) / N': ("logits.T @ logits / len(y)", {"sum"}),
}


@pytest.mark.parametrize("text", CASES)
def test_a_metric_over_batches_is_that_of_the_whole(root: Path, text: str) -> None:
    wanted, ways = CASES[text]
    training = fit(root, m=text)
    (evaluation,) = training.evaluations
    verify(evaluation.batch)
    verify(evaluation.finish)
    run = Run(training, wide=True)
    rows = training.sources["d"].rows("val")
    found = run.evaluate(evaluation)
    for sizes in ([len(rows)], [1] * len(rows), [7, 2, len(rows) - 9]):
        again = run.evaluate(evaluation, sizes)
        np.testing.assert_allclose(again["@metrics/m"], found["@metrics/m"], rtol=1e-9)
        np.testing.assert_allclose(again["@loss"], found["@loss"], rtol=1e-9)
    value = eval(wanted, {"np": np}, numbers(run.state["net.w"], rows))
    np.testing.assert_allclose(found["@metrics/m"], value, rtol=1e-6, atol=1e-9)
    known = set(evaluation.merge.values())
    assert known - {"sum"} <= ways, evaluation.merge  # the loss is a sum
    assert ways <= known | {"sum", "collect", "max", "min"}


def numbers(w: np.ndarray, rows: np.ndarray) -> dict[str, object]:
    x, t, y, mask = X[rows].astype(float), T[rows].astype(float), LABELS[rows], MASK[rows]
    logits = x @ w
    e = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = e / e.sum(1, keepdims=True)
    nll = -np.log(probabilities[np.arange(len(y)), y])
    decayed = sum(0.5 ** (4 - s) * t[:, s] for s in range(5))
    score = logits[:, 0]
    folded = 0.0
    for value in score:
        folded = 0.5 * folded + value
    return {
        "logits": logits,
        "probabilities": probabilities,
        "nll": nll,
        "score": score,
        "w": w,
        "hits": (logits.argmax(1) == y).astype(float),
        "loss": nll.mean() + 0.1 * (w**2).sum(),
        "t": t,
        "y": y,
        "mask": mask,
        "eye": np.eye(3),
        "decayed": decayed,
        "folded": folded,
    }


def test_the_sum_of_samples_is_not_collected(root: Path) -> None:
    training = fit(root, accuracy="mean(hits)", perplexity="exp(loss)")
    assert set(merged(training).values()) == {"sum"}


def test_a_value_is_accumulated_once(root: Path) -> None:
    training = fit(root, a="mean(score)", b="mean(score) ^ 2", c="sum(score)")
    assert len(merged(training)) == 2  # of the loss, and this one


def test_arithmetic_around_the_sums_runs_at_the_end(root: Path) -> None:
    training = fit(root, a="tanh(mean(score))")
    (evaluation,) = training.evaluations
    assert "tanh" in {n.op for n in evaluation.finish}
    assert "tanh" not in {n.op for n in evaluation.batch}


def test_evaluation_uses_every_sample_of_the_parts_once(root: Path) -> None:
    text = PROGRAM.replace("METRICS", "n = f32(N), s = sum(score)").replace(
        "val = 80%", "val = 50%, test = 30%"
    )
    training = train(text, root)
    assert [(e.name, e.split) for e in training.evaluations] == [("val", "val"), ("test", "test")]
    run = Run(training)
    for evaluation in training.evaluations:
        rows = training.sources["d"].rows(evaluation.split)
        found = run.evaluate(evaluation)
        assert found["@metrics/n"] == len(rows)
        np.testing.assert_allclose(
            found["@metrics/s"], (X[rows] @ run.state["net.w"])[:, 0].sum(), rtol=1e-4
        )


def test_without_other_parts_the_metrics_are_those_of_train(root: Path) -> None:
    text = PROGRAM.replace("METRICS", "n = f32(N)").replace("split = (train = 20%, val = 80%)", "")
    (evaluation,) = train(text, root).evaluations
    assert (evaluation.name, evaluation.split) == ("train", "train")
    assert Run(train(text, root)).evaluate(evaluation)["@metrics/n"] == COUNT


def test_a_written_evaluation_may_use_other_data(root: Path) -> None:
    save(root, e={"x": 2 * X[:7], "y": LABELS[:7]})
    text = (
        PROGRAM.replace("METRICS", "one = mean(hits)").replace(
            "  epochs = 1",
            """
  epochs = 1
  clock = d
  eval held(every = 2steps) {
    let out = net(e.x)
    metrics = (a = mean(f32(argmax(out) == e.y)), n = f32(e.N))
  }
  eval often(every = 2epochs) { metrics = (s = sum(score)) }
  eval usual { metrics = (s = sum(score)) }
""",
        )
        + """
data e {
  x: f32[N, 4] = npz("e.npz", "x")
  y: i32[N] = npz("e.npz", "y")
  batch = 2
}
"""
    )
    text = text.replace("logits[0..N, 0]", "logits[0..d.N, 0]")
    training = train(text, root)
    val, held, often, usual = training.evaluations
    assert (held.name, held.source, held.split, held.every) == ("held", "e", "train", 2)
    assert often.every == 2 * training.steps_per_epoch
    assert (usual.source, usual.split, usual.every, val.every) == ("d", "val", None, None)
    run = Run(training)
    found = run.evaluate(held)
    w = run.state["net.w"]
    assert found["@metrics/a"] == pytest.approx(((2 * X[:7] @ w).argmax(1) == LABELS[:7]).mean())
    assert found["@metrics/n"] == 7
    assert "@loss" not in found


def test_an_evaluation_goes_over_one_data_section(root: Path) -> None:
    save(root, e={"x": 2 * X[:7]})
    text = PROGRAM.replace("  epochs = 1", "  epochs = 1\n  clock = d").replace(
        "[0..N, 0]", "[0..d.N, 0]"
    )
    text += 'data e {\n x: f32[N, 4] = npz("e.npz", "x")\n batch = 2\n}\n'
    both = text.replace("loss =", "loss = mean(net(e.x)) +")
    (val,) = train(both.replace("METRICS", "one = mean(hits)"), root).evaluations
    assert list(val.finish.outputs) == ["@metrics/one"]  # the loss has no value over `d` alone
    assert val.batch.input_names == ["net.w", "d.x", "d.y"]
    assert codes(both.replace("METRICS", "one = loss"), root) == ["E0434"]
    assert train(both.replace("  metrics = (METRICS)\n", ""), root).evaluations == []


@pytest.mark.parametrize(
    ("metrics", "code"),
    [
        ("score", "E0429"),  # one value for each sample
        ("a = score", "E0429"),
        ("a = mean(nothing)", "E0201"),
        ("a = d", "E0311"),
    ],
)
def test_faulty_metrics(root: Path, metrics: str, code: str) -> None:
    assert code in codes(PROGRAM.replace("METRICS", metrics), root)


# ---------------------------------------------------------------- inference
def test_inference_has_a_symbolic_batch(root: Path) -> None:
    for text in (
        PROGRAM.replace("METRICS", "one = mean(hits)"),
        PROGRAM.replace("  metrics = (METRICS)\n", ""),
        PROGRAM.replace("  metrics = (METRICS)\n", "").replace(
            "split = (train = 20%, val = 80%)", ""
        ),
    ):
        training = train(text, root)
        (forward,) = training.forwards
        assert forward.name == "net"
        (x,) = (forward.graph.input_named("x"),)
        assert str(forward.graph.type(x)) == "f32[N, 4]"
        run = Run(training)
        for count in (1, 5):
            found = run.outputs(forward.graph, {"x": X[:count]})
            np.testing.assert_allclose(found["output"], X[:count] @ run.state["net.w"], rtol=1e-5)


def test_inference_of_a_record_and_of_each_named_net(root: Path) -> None:
    text = (
        PROGRAM.replace("METRICS", "one = mean(hits)")
        .replace(
            "let net",
            """
  let both = Both()
  let pair = both(d.x)
  let net""",
        )
        .replace("loss =", "loss = mean(pair.a) + mean(pair.b) +")
        + """
block Both()(x: f32[N, D]) -> (a: f32[N, 2], b: f32[N, D]) {
  let f = Dense(2)
  return (a = f(x), b = 2 * x)
}
"""
    )
    training = train(text, root)
    assert sorted(f.name for f in training.forwards) == ["both", "net"]
    forward = next(f for f in training.forwards if f.name == "both")
    found = Run(training).outputs(forward.graph, {"x": X})
    np.testing.assert_array_equal(found["b"], 2 * X)
    assert found["a"].shape == (COUNT, 2)


def test_inference_of_an_adapted_net_is_that_of_the_net(root: Path) -> None:
    text = PROGRAM.replace("METRICS", "one = mean(fast(d.x))").replace(
        "loss =",
        """
  let inner = mean(nll(logits, d.y))
  let fast = with_weights(net, weights(net) - 0.1 * gradient(inner, weights(net)))
  let still = frozen(net)
  loss = mean(fast(2 * d.x)) + mean(still(d.x)) +""",
    )
    training = train(text, root)
    run = Run(training)
    forward = next(f for f in training.forwards if f.name == "net")
    found = run.outputs(forward.graph, {"x": X})
    np.testing.assert_allclose(found["output"], X @ run.state["net.w"], rtol=1e-4, atol=1e-5)


def test_inference_draws_nothing_and_reads_buffers(root: Path) -> None:
    text = (
        PROGRAM.replace("METRICS", "one = mean(hits)").replace("Dense(3)\n", "Noisy()\n")
        + """
block Noisy()(x: f32[N, D]) -> f32[N, 3] {
  buffer n: f32 = ones()
  n = n + 1
  let y = x |> Dense(3)
  return if training { y + normal([N, 3]) } else { y * n }
}
"""
    )
    text = text.replace("sum(weights(net) ^ 2)", "1")
    training = train(text, root)
    (forward,) = training.forwards
    assert not [n for n in forward.graph if n.op == "random_bits"]
    run = Run(training).all()
    cycles = training.steps
    found = run.outputs(forward.graph, {"x": X})["output"]
    np.testing.assert_allclose(
        found, X @ run.state["net.dense_0.w"] * (1 + cycles), rtol=1e-4, atol=1e-5
    )


def test_inference_in_blocks_and_flat_are_the_same(root: Path) -> None:
    text = PROGRAM.replace("METRICS", "one = mean(hits)").replace(
        "let net = Dense(3)", "let net = repeat 2 { Inner() } |> Dense(3)"
    )
    text += """
block Inner()(x: f32[N, D]) -> f32[N, D] = x |> Dense(D) |> tanh |> Dense(D)
"""
    training = train(text, root)
    (forward,) = training.forwards
    verify(forward.structured)
    run = Run(training)
    flat, calls = (run.outputs(g, {"x": X})["output"] for g in (forward.graph, forward.structured))
    np.testing.assert_array_equal(flat, calls)
    assert [n.op for n in forward.structured if n.op == "call"]
    scopes = [n.origin[0].scope for n in forward.graph if n.op == "dot"]
    inner = [f"net.inner_0.{i}.dense_{j}" for i in range(2) for j in range(2)]
    assert scopes == [*inner, "net.dense_0"]  # in the order of the text


def test_inference_of_a_net_without_a_name(root: Path) -> None:
    text = (
        PROGRAM.replace("METRICS", "one = mean(hits)")
        .replace("let net = Dense(3)\n  let logits = net(d.x)", "let logits = Dense(3)(d.x)")
        .replace("sum(weights(net) ^ 2)", "1.0")
    )
    training = train(text, root)
    (forward,) = training.forwards
    run = Run(training)
    found = run.outputs(forward.graph, {"x": X[:2]})["output"]
    np.testing.assert_allclose(found, X[:2] @ run.state["dense_0.w"], rtol=1e-5)
