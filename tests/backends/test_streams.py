"""Every draw of a training is the same on every backend, to the bit, and stays what it is.

A program keeps in its state what it draws: initial weights, the order of samples, dropout masks,
noise, augmentation.  The hashes are part of the language, since the weights of every program depend
on them.  They are those of the words of Philox (`nnc.random`, which tests/test_random.py holds to
the vectors of Random123), from which each draw is made here once more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import nnc
from nnc.cli import main
from nnc.random import draw_bits, permutation
from nnc.train.checkpoint import LAST, load
from nnc.verify.streams import digest

PROGRAM = """language 1

data tiles {
  x: f32[N, 6, 6, 1] = csv("tiles.csv", columns = 0..36) |> reshape([6, 6, 1])
  id: i32[N]         = csv("tiles.csv", columns = 36)
  batch = 8
}

block Draws()(x: f32[N, H, W, C], id: i32[N]) -> f32[N] {
  param uniform_w: f32[6, 7] = glorot_uniform()
  param normal_w: f32[5, 3] = normal(std = 0.02)
  buffer order: i32[8] = zeros()
  buffer dropped: f32[8, 5] = zeros()
  buffer noise: f32[8, 5] = zeros()
  buffer coins: f32[8, 5] = zeros()
  buffer spread: f32[8, 5] = zeros()
  buffer crops: f32[8, 4, 4, 1] = zeros()
  buffer flips: f32[8, 6, 6, 1] = zeros()

  order   = id
  dropped = ones([8, 5]) |> Dropout(25%)
  noise   = normal([8, 5])
  coins   = f32(bernoulli([8, 5], 30%))
  spread  = uniform([8, 5])
  crops   = x |> random_crop(4, pad = 1)
  flips   = x |> random_flip()
  return mean(x, axis = (H, W, C)) * (sum(uniform_w) + sum(normal_w))
}

train draws {
  let net   = Draws()
  loss      = mean(net(tiles.x, tiles.id))
  optimizer = SGD(0.0)
  steps     = 5
  seed      = 11
}
"""
ROWS, BATCH, SEED = 24, 8, 11
TILES = (100 * np.arange(ROWS)[:, None] + np.arange(36)).astype(np.float32)

INITIAL = {
    "uniform_w": "f4a4e15e2f8dbc63ff8c6c5356c6b48006c36c92d20d7c7f69122040da3879ec",
    "normal_w": "59e8c483b0e06bf515d2ffc0ab7bb7c8a17a6ce78c1e68521b50a3017dcde992",
}
#: after so many steps, the last of which drew this; 5 steps are one epoch and two of the next
DRAWN = {
    1: {
        "order": "b655915306786a5c293e4c00fedae684dcf3b7529f9066e78306d2d1b7d8f579",
        "dropped": "e1f3cb77b68b970d0c28684a3681eb718e412e869f740948ec38363568cf2102",
        "noise": "902e491f740688eaa4020515418c923eb6b0ad211b87c3358fb328bdf38cf6ff",
        "coins": "d9107793a113397a7b0b74d6b462231623722550fa47e6defbbfcfaff1963d62",
        "spread": "2fb57fe07246237748af41c06b0d870cbea2f9f091065aa0e6944a89f213f8a9",
        "crops": "78d13c288df3785087798bbc99a278916d5a4d86a1dc3ead5ec896310fcc2ba7",
        "flips": "cee684ba45dd964a8155f6c8ee127a709401bdb864b260b9b4e241e19048cbee",
    },
    5: {
        "order": "795c501aa5646cc982406756f3560ab147602a72cb7a2cdef0dd47357c2c41d7",
        "dropped": "ceb1fbcbcbc055c5fd56bc17783dd6533d5839fd6eec36542cc49297d68afc93",
        "noise": "491c118308081d9d8d73f4ec919e2c3b1d4648ea652492e834770b515c2b3937",
        "coins": "9f10db2042df87f4bf7c018b05d577fae98e14b37450dfda351e429f8e89030f",
        "spread": "3d49f1ce83c64feacf6b019d310b49a9bb7de68547bb05d98ef6430b9a658325",
        "crops": "8263c7d601fb91299c702e56250a96a6524419f9cc5d2fc3b549ad0e7b0da9b4",
        "flips": "976537d344d7140d2fcccca3af5d2094ac30854199c063d937228c942d1888ff",
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    (folder / "draws.nn").write_text(PROGRAM)
    np.savetxt(folder / "tiles.csv", np.column_stack([TILES, np.arange(ROWS)]), "%d", ",")
    return folder


@pytest.mark.parametrize("steps", DRAWN)
@pytest.mark.parametrize("backend", ["numpy", "jax", "torch"])
def test_draws_are_the_known_ones(folder: Path, backend: str, steps: int) -> None:
    out = f"{backend}-{steps}"
    with contextlib.chdir(folder):
        options = ["--backend", backend, "--steps", str(steps), "--out", out]
        assert main(["train", "draws.nn", *options]) == 0
    state = load(folder / out / LAST).state
    found = {path.removeprefix("net."): digest(values) for path, values in state.items()}
    assert found == INITIAL | DRAWN[steps]


# ---------------------------------------------------------------- where the hashes come from
def floats(path: str, *shape: int, **place: int) -> np.ndarray:
    words = draw_bits(SEED, path, count=int(np.prod(shape)), **place)
    return (words >> 8).astype(np.float32).reshape(shape) * np.float32(2.0**-24)


def below(chance: float, path: str, *shape: int, **place: int) -> np.ndarray:
    words = draw_bits(SEED, path, count=int(np.prod(shape)), width=16, **place)
    return words.reshape(shape) < round(chance * 2**16)


def gaussian(path: str, *shape: int, **place: int) -> np.ndarray:
    """Box-Muller in float64: the first half of the words gives radii, the second angles."""
    first, second = draw_bits(SEED, path, count=2 * int(np.prod(shape)), **place).reshape(2, *shape)
    radius = np.sqrt(-2 * np.log((first + 1.0) * 2.0**-32))
    return (radius * np.cos(2 * np.pi * (second * 2.0**-32))).astype(np.float32)


def initial() -> Mapping[str, np.ndarray]:
    limit = np.sqrt(6 / (6 + 7))
    return {
        "uniform_w": floats("init/net.uniform_w", 6, 7) * np.float32(2 * limit)
        + np.float32(-limit),
        "normal_w": gaussian("init/net.normal_w", 5, 3) * np.float32(0.02),
    }


def drawn(step: int) -> Mapping[str, np.ndarray]:
    """What the step numbered `step` (from 0) draws."""
    epoch, index = divmod(step, ROWS // BATCH)
    order = permutation(SEED, "shuffle/tiles", epoch, ROWS)[index * BATCH :][:BATCH]
    images = TILES[order].reshape(BATCH, 6, 6, 1)
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
    tops, lefts = (
        (floats("uniform/net", BATCH, ordinal=number, step=step) * 5).astype(int)
        for number in (1, 2)
    )
    crops = [x[i : i + 4, j : j + 4] for x, i, j in zip(padded, tops, lefts, strict=True)]
    is_flipped = below(0.5, "bernoulli/net", BATCH, ordinal=1, step=step)
    kept = below(0.75, "dropout/net.dropout_0", 8, 5, step=step)
    return {
        "order": order.astype(np.int32),
        "dropped": np.where(kept, np.float32(1 / 0.75), np.float32(0)),
        "noise": gaussian("normal/net", 8, 5, step=step),
        "coins": below(0.3, "bernoulli/net", 8, 5, step=step).astype(np.float32),
        "spread": floats("uniform/net", 8, 5, step=step),
        "crops": np.array(crops),
        "flips": np.where(is_flipped[:, None, None, None], images[:, :, ::-1], images),
    }


def test_the_hashes_are_those_of_draws_made_by_hand() -> None:
    assert {name: digest(values) for name, values in initial().items()} == INITIAL
    for steps, hashes in DRAWN.items():
        assert {name: digest(values) for name, values in drawn(steps - 1).items()} == hashes


# ---------------------------------------------------------------- inference
NOISY = """language 1

data d {
  x: f32[N, 3] = csv("d.csv", columns = 0..3)
  batch = 4
}

block Noisy()(x: f32[N, D]) -> f32[N, D] {
  param w: f32[D] = zeros()
  return x * w + normal_like(x)
}

train fit {
  let net   = Noisy()
  loss      = mean(net(d.x))
  optimizer = SGD(0.1)
  steps     = 1
}
"""


def test_a_net_that_draws_in_inference_draws_the_same_everywhere(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "d.csv", np.zeros((4, 3)), delimiter=",")
    (tmp_path / "noisy.nn").write_text(NOISY)
    program, x = nnc.load(tmp_path / "noisy.nn"), np.zeros((5, 3), np.float32)
    drawn = {}
    for backend in ("numpy", "jax", "torch"):
        model = program.compile(backend)
        state, forward = model.init(), model.module.forward
        arguments = model.native({"x": x})
        drawn[backend] = np.asarray(forward(state, **arguments))
        other = np.asarray(forward(state, **arguments, seed=3, draw=1))
        assert not np.any(other == drawn[backend])
        np.testing.assert_array_equal(np.asarray(model.predict(state, x)), drawn[backend])
    np.testing.assert_allclose(drawn["jax"], drawn["numpy"], rtol=1e-6)
    np.testing.assert_allclose(drawn["torch"], drawn["numpy"], rtol=1e-6)
