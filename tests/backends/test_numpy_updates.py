"""Updates in place: what they must not lose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nnc

PROGRAM = """language 1

data points {
  x: f32[N, 3] = csv("points.csv", columns = 0..3)
  y: f32[N]    = csv("points.csv", columns = 3)
  batch = 4
}

block Scale()(x: f32[...]) -> f32[...] {
  param s: f32 = normal(std = 1.0)
  return x * s
}

model Net()(x: f32[N, D]) -> f32[N] =
  x |> Scale() |> Dense(HIDDEN) |> tanh |> Scale() |> Dense(1) |> squeeze

train fit {
  let net = Net()
  loss      = mse(net(points.x), points.y)
  optimizer = Adam(1e-2)
  steps     = 3
}
"""


@pytest.mark.parametrize("hidden", [2, 20_000])
def test_numbers_small_and_large_arrays_are_updated(tmp_path: Path, hidden: int) -> None:
    points = np.random.default_rng(0).normal(size=(8, 4))
    np.savetxt(tmp_path / "points.csv", points, delimiter=",")
    (tmp_path / "fit.nn").write_text(PROGRAM.replace("HIDDEN", str(hidden)))
    ours, theirs = (nnc.load(tmp_path / "fit.nn").compile(name) for name in ("numpy", "torch"))
    found, wanted = ours.train().state, theirs.train().state
    start = ours.init()
    assert {np.ndim(value) for value in found.values()} == {0, 1, 2}
    for path, value in wanted.items():
        assert not np.array_equal(found[path], start[path]), path
        np.testing.assert_allclose(found[path], value, rtol=2e-4, atol=1e-6, err_msg=path)
