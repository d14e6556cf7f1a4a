"""Every example program trains to its score with its own seed, on real data, through `nnc train`.

The scores are what a user sees in the last table: the test part, or the validation part where a
program has no other.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nnc.cli import main

MODELS = Path(__file__).parents[2] / "models"


def train(tmp_path: Path, name: str, *options: str) -> dict[str, dict[str, float]]:
    """The last record of each split: split -> metrics, with `loss` among them."""
    out = tmp_path / "run"
    assert main(["train", str(MODELS / f"{name}.nn"), "--out", str(out), *options]) == 0
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {row["split"]: {"loss": row["loss"], **row["metrics"]} for row in rows}


@pytest.mark.parametrize(
    ("name", "least"), [("digits", 0.97), ("digits_cnn", 0.98), ("breast_cancer", 0.96)]
)
def test_a_classifier_reaches_its_accuracy(tmp_path: Path, name: str, least: float) -> None:
    assert train(tmp_path, name)["test"]["accuracy"] >= least


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_short_products_reach_the_same_accuracy(tmp_path: Path, precision: str) -> None:
    text = (MODELS / "digits.nn").read_text(encoding="utf-8")
    assert text.count("  epochs    = ") == 1
    program = tmp_path / "digits.nn"
    text = text.replace("  epochs    = ", f"  precision = {precision}\n  epochs    = ")
    program.write_text(text, encoding="utf-8")
    (tmp_path / "data").mkdir()
    shutil.copy(MODELS / "data" / "digits.csv.gz", tmp_path / "data")
    assert train(tmp_path, str(program.with_suffix("")))["test"]["accuracy"] >= 0.97


def least_squares() -> float:
    """R² on the test part of the linear model that fits the training part best."""
    from nnc.elaborate import load

    program = load(str(MODELS / "diabetes.nn"))
    source = program.training("linear").sources["patients"]
    x, y = source.arrays["x"].astype(float), source.arrays["y"].astype(float)
    ones = np.ones((len(x), 1))
    design = np.hstack([x, ones])
    rows, held_out = source.parts["train"], source.parts["test"]
    weights = np.linalg.lstsq(design[rows], y[rows], rcond=None)[0]
    rest = y[held_out] - design[held_out] @ weights
    return float(1 - (rest**2).sum() / ((y[held_out] - y[held_out].mean()) ** 2).sum())


def test_the_linear_model_comes_near_least_squares(tmp_path: Path) -> None:
    found = train(tmp_path, "diabetes", "--train", "linear")["test"]["r2"]
    assert found == pytest.approx(least_squares(), abs=0.02)


def test_the_regression_net_beats_least_squares(tmp_path: Path) -> None:
    assert train(tmp_path, "diabetes", "--train", "net")["test"]["r2"] > least_squares()


def test_the_recurrent_net_learns_more_than_pairs_of_characters(tmp_path: Path) -> None:
    """Its perplexity is below that of the best model that sees one character back."""
    found = train(tmp_path, "char_rnn", "--epochs", "3")["val"]["perplexity"]
    assert found < bigram_perplexity()


def bigram_perplexity() -> float:
    """Of the pair frequencies of the whole text on itself: no model of pairs does better."""
    text = (MODELS / "data" / "unicode_names.txt").read_bytes()
    ids = np.frombuffer(text, np.uint8)
    pairs = np.zeros((256, 256))
    np.add.at(pairs, (ids[:-1], ids[1:]), 1)
    given = pairs / np.maximum(pairs.sum(axis=1, keepdims=True), 1)
    entropy = -(pairs[pairs > 0] * np.log(given[pairs > 0])).sum() / pairs.sum()
    return float(np.exp(entropy))
