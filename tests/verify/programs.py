"""Small programs that together use what honest and faulty backends may treat differently."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from nnc.elaborate.check import Compiled
from nnc.ir.program import Training
from nnc.language.tree import Source

#: data for all programs: x, a line of six small numbers with a few exact zeros, and two targets
ROWS = 24


def write_data(folder: Path) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(ROWS, 16)).round(3)
    x[::4] = 0
    label = (x[:, :1] > 0.2).astype(int) + (x[:, 1:2] > 0.1)
    target = (x @ rng.normal(size=(16, 1))).round(3)
    words = rng.integers(0, 5, (ROWS, 4))
    rows = np.concatenate([x, label, target, words], axis=1)
    lines = (",".join(f"{v:g}" for v in row) for row in rows)
    (folder / "points.csv").write_text("\n".join(lines) + "\n")


DATA = """language 1
data points {
  x: f32[N, 16]       = csv("points.csv", columns = 0..16)
  image: f32[N, 4, 4, 1] = csv("points.csv", columns = 0..16) |> reshape([4, 4, 1])
  y: i32[N]           = csv("points.csv", columns = 16)
  z: f32[N]           = csv("points.csv", columns = 17)
  words: i32[N, T = 4] = csv("points.csv", columns = 18..22)
  batch = 8
}
"""

PROGRAMS = {
    "mlp": """
model Net()(x: f32[N, D]) -> f32[N, 3] {
  let h = x |> Dense(16) |> relu
  let k = h |> Dropout(25%)
  return k |> Dense(3)
}
train fit {
  let net    = Net()
  let logits = net(points.x)
  loss      = cross_entropy(logits, points.y)
  metrics   = (accuracy = accuracy(logits, points.y))
  optimizer = AdamW(1e-2, weight_decay = 0.1)
  steps     = 40
}
""",
    "norm": """
model Net()(x: f32[N, D]) -> f32[N] {
  let a = x |> Dense(8)
  let n = a |> LayerNorm()
  let t = tanh(n)
  let s = t |> Dense(8) |> sigmoid
  return s |> Dense(1) |> squeeze
}
train fit {
  let net        = Net()
  let prediction = net(points.x)
  loss      = mse(prediction, points.z) + l2(net, 1e-2)
  optimizer = SGD(0.05, momentum = 0.9, weight_decay = 0.01)
  clip_norm = 1.0
  steps     = 40
}
""",
    "conv": """
model Net()(x: f32[N, H, W, C]) -> f32[N, 3] {
  let c = x |> Conv(3, 3, bias = false)
  let n = c |> BatchNorm() |> relu
  let p = n |> max_pool(2)
  let s = p |> Conv(4, 3, stride = 2)
  return s |> flatten |> Dense(3)
}
train fit {
  let net    = Net()
  let logits = net(points.image)
  loss      = cross_entropy(logits, points.y, label_smoothing = 10%)
  optimizer = RMSprop(1e-2)
  steps     = 40
}
""",
    "ties": """
model Net()(x: f32[N, H, W, C], line: f32[N, D]) -> f32[N, 3] {
  param place: f32[H, W, C] = zeros()
  param at:    f32[D]       = zeros()
  let p = max_pool(x + place, 2)
  let m = max(line + at, axis = D)
  return concat(flatten(p), expand(m)) |> Dense(3)
}
train fit {
  let net    = Net()
  let logits = net(points.image, points.x)
  loss      = cross_entropy(100 * logits, points.y)
  optimizer = SGD(1e-4)
  steps     = 40
}
""",
    "lstm": """
model Net()(words: i32[N, T]) -> f32[N, 3] {
  let e = words |> Embedding(5, 4)
  let h = e |> LSTM(4)
  return h[T = -1] |> Dense(3)
}
train fit {
  let net    = Net()
  let logits = net(points.words)
  loss      = cross_entropy(logits, points.y)
  optimizer = Adam(1e-2)
  steps     = 40
}
""",
    "attention": """
model Net()(words: i32[N, T]) -> f32[N, 3] {
  let e = words |> Embedding(5, 4)
  let a = e |> MultiHeadAttention(2)
  let g = gelu(a)
  let m = mean(g, axis = T)
  return m |> Dense(3)
}
train fit {
  let net    = Net()
  let logits = net(points.words)
  loss      = cross_entropy(logits, points.y)
  optimizer = Lion(1e-3)
  steps     = 40
}
""",
    "pair": """
train fit {
  let first  = Dense(4)
  let second = Dense(1)
  let guess  = points.x |> first |> tanh |> second |> squeeze
  step up {
    loss      = mae(guess, points.z)
    update    = second
    optimizer = Adagrad(0.05)
  }
  step down {
    loss      = huber(guess, points.z)
    update    = first
    optimizer = SGD(0.05)
  }
  steps = 10
}
""",
}


@cache
def training(name: str, evaluated: bool = False) -> Training:
    """The program called `name`, as elaborated; without inference unless it is `evaluated`."""
    with TemporaryDirectory() as folder:
        write_data(Path(folder))
        source = Source(f"{name}.nn", DATA + PROGRAMS[name])
        found = Compiled(source, Path(folder)).training()
    return found if evaluated else replace(found, forwards=[], evaluations=[])


def line_of(name: str, text: str) -> int:
    """The number of the line of a program that has `text` in it."""
    (found,) = (
        number for number, line in enumerate((DATA + PROGRAMS[name]).split("\n"), 1) if text in line
    )
    return found
