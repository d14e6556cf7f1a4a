"""A small program with data of its own: 60 points in the plane, two classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

PROGRAM = """language 1

config width: int = 8

data points {
  x: f32[N, 2] = csv("points.csv", columns = 0..2) |> normalize
  y: i32[N]    = csv("points.csv", columns = 2)
  batch = 8
  split = (train = 60%, val = 20%, test = 20%)
}

model Net()(x: f32[N, D]) -> f32[N, 2] = x |> Dense(width) |> relu |> Dropout(20%) |> Dense(2)

train fit {
  let net    = Net()
  let logits = net(points.x)

  loss      = cross_entropy(logits, points.y)
  metrics   = (accuracy = accuracy(logits, points.y))
  optimizer = AdamW(lr = cosine(1e-2, warmup = 3steps))
  epochs    = 6
}
"""


def write_points(path: Path, count: int = 60, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 2)) * [3, 5] + [10, -20]
    y = (x[:, 0] - 10 > (x[:, 1] + 20) / 2).astype(int)
    rows = [f"{a:.4f},{b:.4f},{c}" for (a, b), c in zip(x, y, strict=True)]
    path.write_text("\n".join(rows) + "\n")
    return x


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`fit.nn` with its data, in the current directory."""
    write_points(tmp_path / "points.csv")
    (tmp_path / "fit.nn").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "fit.nn"
