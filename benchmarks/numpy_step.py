"""A training step of models/digits.nn: the emitted NumPy source against one written by hand.

Both take the same batches, in turn, so that a busy machine slows both.  Prints the median time of
each and their ratio, which is to stay below 1.5.

    python benchmarks/numpy_step.py [STEPS]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import nnc.api as nnc

PROGRAM = Path(__file__).parent.parent / "models" / "digits.nn"
WEIGHTS = ("net.dense_0.w", "net.dense_0.b", "net.dense_1.w", "net.dense_1.b")
DECAY, L2, KEEP = 0.01, 1e-4, 0.9

State = dict[str, np.ndarray]


def by_hand(state: State, x: np.ndarray, y: np.ndarray, lr: float, t: int) -> float:
    """Two dense layers, relu, dropout, cross entropy with l2, and AdamW, in place."""
    w0, b0, w1, b1 = (state[path] for path in WEIGHTS)
    n, rows = len(x), np.arange(len(x))

    hidden = x @ w0
    hidden += b0
    np.maximum(hidden, 0, out=hidden)
    bits = np.random.Philox(key=[0, 1], counter=[0, 0, 0, t]).random_raw(hidden.size // 2)
    mask = bits.view(np.uint32).reshape(hidden.shape) < int(KEEP * 2**32)
    scale = mask * np.float32(1 / KEEP)
    hidden *= scale
    logits = hidden @ w1
    logits += b1
    logits -= logits.max(axis=1, keepdims=True)
    p = np.exp(logits)
    total = p.sum(axis=1, keepdims=True)
    loss = (np.log(total[:, 0]) - logits[rows, y]).mean()
    loss += L2 * sum((state[path] ** 2).sum() for path in WEIGHTS)

    p /= total
    p[rows, y] -= 1
    p /= n
    d_hidden = p @ w1.T
    d_hidden *= scale
    d_hidden *= hidden > 0
    gradients = (x.T @ d_hidden, d_hidden.sum(axis=0), hidden.T @ p, p.sum(axis=0))

    c1, c2 = 1 - 0.9 ** (t + 1), 1 - 0.999 ** (t + 1)
    for path, grad in zip(WEIGHTS, gradients, strict=True):
        weight, m, v = state[path], state[f"m/{path}"], state[f"v/{path}"]
        grad += 2 * L2 * weight
        m *= 0.9
        m += 0.1 * grad
        v *= 0.999
        v += 0.001 * (grad * grad)
        root = np.sqrt(v / c2)
        root += 1e-8
        weight *= 1 - lr * DECAY
        weight -= lr / c1 * m / root
    return float(loss)


def timed(step: Callable[[], Any]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main(steps: int) -> None:
    model = nnc.load(PROGRAM).compile("numpy")
    module = model.module
    (entry,) = module.PROGRAM["phases"][0]["steps"]
    step, scalars = getattr(module, entry["function"]), getattr(module, entry["scalars"])
    emitted: State = module.init(0)
    hand = {path: emitted[path].copy() for path in WEIGHTS}
    hand |= {f"{k}/{path}": np.zeros_like(hand[path]) for k in "mv" for path in WEIGHTS}

    times: list[tuple[float, float]] = []
    for t in range(steps):
        batch = model.batch(t)
        x, y = batch["digits.x"], batch["digits.y"]

        def run_emitted(t: int = t, batch: Any = batch) -> None:
            nonlocal emitted
            emitted, _ = step(emitted, batch, scalars(t, t, 0, t))

        def run_hand(t: int = t, x: np.ndarray = x, y: np.ndarray = y) -> None:
            by_hand(hand, x, y, scalars(t, t, 0, t)["lr"], t)

        times.append((timed(run_emitted), timed(run_hand)))
    ours, theirs = np.median(np.array(times[steps // 10 :]), axis=0) * 1e6
    print(f"emitted {ours:6.0f} us   by hand {theirs:6.0f} us   ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
