"""Every peer trains the network that nnc trains: the same losses and weights, step after step."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from benchmarks.nnc_steps import Steps
from benchmarks.prepare import prepare
from benchmarks.worker import make, read
from benchmarks.workloads import PROGRAMS, Setup, sizes_of
from nnc.random import draw_bits

#: `config` values of a small network; two batches, so that batch norm and Adam have a past
SMALL: dict[str, dict[str, float]] = {
    "mlp": {"inputs": 20, "wide": 12, "narrow": 8, "size": 6, "rate": 0},
    "cnn": {"side": 8, "width": 4, "size": 4},
    "lstm": {"vocab": 7, "embed": 5, "hidden": 6, "length": 4, "size": 3},
    "gpt": {"vocab": 7, "width": 8, "depth": 2, "heads": 2, "length": 6, "size": 3},
    "vae": {"inputs": 20, "hidden": 12, "latent": 3, "size": 6},
    "ncf": {"users": 9, "items": 11, "factors": 2, "size": 16},
    "tiny": {"inputs": 9, "hidden": 6, "size": 5},
}
PEERS = ("numpy", "torch", "jax")
STEPS = 3


@pytest.fixture(scope="module")
def setups(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Setup]:
    folder = tmp_path_factory.mktemp("benchmarks")
    programs = folder / "programs"
    shutil.copytree(PROGRAMS, programs, ignore=shutil.ignore_patterns("data"))
    return {name: _setup(name, folder, programs) for name in SMALL}


def _setup(name: str, folder: Path, programs: Path) -> Setup:
    prepare(name, folder, ("numpy",), programs, **SMALL[name])
    job = {"workload": name, "contender": "nnc-numpy", "folder": str(folder)}
    job |= {"data": str(programs / "data" / f"{name}.npz"), "sizes": sizes_of(name, **SMALL[name])}
    return read(job)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("name", SMALL)
def test_same_network(
    name: str, peer: str, setups: dict[str, Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = setups[name]
    nnc = Steps(setup)
    if name == "vae":
        _share_noise(nnc, monkeypatch)
    theirs = make(peer, setup)
    for _ in range(STEPS):
        assert theirs.run(1) == pytest.approx(nnc.run(1), rel=1e-5)
    ours = nnc.weights()
    found = theirs.weights()
    assert found.keys() >= {p for p in setup.weights if not p.endswith(".var")}
    for path, array in found.items():
        moved = np.abs(ours[path] - setup.weights[path])
        wrong = np.abs(ours[path] - array)
        if path.endswith("multi_head_attention_0.dense_0.b"):
            # The gradient of a bias of all keys is 0, and Adam moves along what rounding leaves.
            moved, wrong = np.delete((moved, wrong), np.s_[8:16], axis=1)
        assert wrong.max() < 1e-2 * moved.max(), path


def _normal(shape: tuple[int, int], path: str) -> np.ndarray:
    """The numbers that nnc draws from the stream `path` in step 0 (docs/architecture.md)."""
    b1, b2 = (draw_bits(0, path, count=2 * shape[0] * shape[1]).astype(float) * 2.0**-32).reshape(
        2, *shape
    )
    normal: np.ndarray = np.sqrt(-2 * np.log(b1 + 2.0**-32)) * np.cos(2 * np.pi * b2)
    return normal.astype(np.float32)


def _share_noise(nnc: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise of nnc's first step, in all steps, for nnc and for every peer."""
    own = nnc.scalars
    monkeypatch.setattr(
        nnc, "scalars", lambda step, updates, seed, draw: own(step, updates, seed, 0)
    )
    shape = (int(SMALL["vae"]["size"]), int(SMALL["vae"]["latent"]))
    noise = _normal(shape, "normal/net")
    replaced = {
        "torch": ("torch", "randn_like", lambda like: import_module("torch").tensor(noise)),
        "jax": ("jax.random", "normal", lambda key, shape: noise),
        "numpy": ("benchmarks.numpy_peers", "normal", lambda rng, out: np.copyto(out, noise)),
    }
    for module, name, function in replaced.values():
        monkeypatch.setattr(import_module(module), name, function)
