"""Programs with a `repeat` of layers, each with something that a loop over layers must keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import nnc.api as nnc

POINTS = """
data points {
  x: f32[N, 8] = npz("points.npz", key = "x")
  y: i32[N]    = npz("points.npz", key = "y")
  batch = 6
  split = (train = 60%, val = 40%)
}
"""

IDS = """
data text {
  ids: i32[N, T = 7] = npz("ids.npz", key = "ids")
  batch = 4
}
"""

CLASSIFIER = """
train fit {
  let net    = Net()
  let logits = net(points.x)
  loss      = cross_entropy(logits, points.y)
  metrics   = (accuracy = accuracy(logits, points.y))
  optimizer = AdamW(1e-2, weight_decay = 0.1)
  epochs    = 1
}
"""

MLP = (
    POINTS
    + """
model Net()(x: f32[N, D]) -> f32[N, 3] =
  x |> Dense(5) |> repeat 3 { Dense(5) |> tanh |> Dropout(20%) } |> Dense(3)
"""
    + CLASSIFIER
)

TRANSFORMER = (
    IDS
    + """
block Layer()(x: f32[N, T, D]) -> f32[N, T, D] {
  let a = x + (x |> LayerNorm() |> MultiHeadAttention(2, causal = true) |> Dropout(10%))
  return a + (a |> LayerNorm() |> Dense(2 * D) |> gelu |> Dense(D) |> Dropout(10%))
}

model GPT()(ids: i32[N, T]) -> f32[N, T, 11] {
  param pos: f32[6, 8] = normal(std = 0.02)
  return Embedding(11, 8)(ids) + pos |> repeat 4 { Layer() } |> LayerNorm() |> Dense(11)
}

train fit {
  let net = GPT()
  loss      = cross_entropy(net(text.ids[T = 0..6]), text.ids[T = 1..7])
  optimizer = [("*.b", Adam(1e-2)), (net, AdamW(1e-2, weight_decay = 0.1))]
  clip_norm = 0.5
  epochs    = 1
}
"""
)

#: buffers that each layer sets, loops inside loops, an initial value that is no elementwise draw
BUFFERS = (
    POINTS
    + """
block Stage()(x: f32[N, D]) -> f32[N, D] =
  x |> BatchNorm() |> repeat 2 { Dense(D, init = orthogonal()) |> tanh |> BatchNorm() }

model Net()(x: f32[N, D]) -> f32[N, 3] = x |> repeat 3 { Stage() } |> Dense(3)
"""
    + CLASSIFIER.replace("AdamW(1e-2", "SGD(1e-1")
)

#: an update rule that looks at the whole weight of a layer
LARS = MLP.replace("AdamW(1e-2, weight_decay = 0.1)", "LARS(1e-1, weight_decay = 0.1)")

#: weights that all layers share, and a record that goes from layer to layer
SHARED = (
    POINTS
    + """
block Step(inner: net)(x: f32[N, D], sum: f32[N, D]) -> (x: f32[N, D], sum: f32[N, D]) {
  let y = x |> inner |> Dense(D) |> tanh
  return (x = y, sum = sum + y)
}

model Net()(x: f32[N, D]) -> f32[N, 3] {
  let shared = Dense(8)
  let last   = (x = x, sum = x) |> repeat 3 { Step(shared)(_.x, _.sum) }
  return last.sum |> Dense(3)
}
"""
    + CLASSIFIER
)

#: loops over time in each layer, with draws inside
RECURRENT = (
    IDS
    + """
block Cell()(x: f32[N, T, D]) -> f32[N, T, D] {
  let h = scan e in x over T with s = zeros([N, D]) {
    s = tanh((e |> Dense(D)) + (s |> Dense(D) |> Dropout(20%)))
    yield s
  }
  return h
}

train fit {
  let table  = Embedding(11, 6)
  let layers = repeat 3 { Cell() }
  let head   = Dense(11)
  loss      = cross_entropy(table(text.ids[T = 0..6]) |> layers |> head, text.ids[T = 1..7])
  optimizer = SGD(1e-1, momentum = 0.9)
  epochs    = 1
}
"""
)

#: a net that is not trained, weights as values
FROZEN = (
    POINTS
    + """
model Net()(x: f32[N, D]) -> f32[N, 3] = x |> repeat 3 { Dense(D) |> tanh } |> Dense(3)

train fit {
  let net     = Net()
  let teacher = Net()
  let target  = softmax(frozen(teacher)(points.x), axis = 1)
  let logits  = net(points.x)
  let moved   = with_weights(net, 0.9 * weights(net))(points.x)
  loss      = -mean(target * log_softmax(logits + moved, axis = 1)) + 0.01 * sum(weights(net)^2)
  optimizer = AdamW(1e-2, weight_decay = 0.1)
  epochs    = 1
}
"""
)

#: gradients of gradients go through the loop
META = (
    POINTS
    + """
model Net()(x: f32[N, D]) -> f32[N, 3] =
  x |> repeat 2 { _ + (_ |> LayerNorm() |> Dense(D) |> tanh) } |> Dense(3)

train fit {
  let net   = Net()
  let inner = cross_entropy(net(points.x), points.y)
  let fast  = with_weights(net, weights(net) - 0.1 * gradient(inner, weights(net)))
  loss      = cross_entropy(fast(points.x), points.y)
  optimizer = [("*.b", SGD(1e-1)), (net, SGD(1e-2))]
  clip_norm = 1.0
  epochs    = 1
}
"""
)

#: loops over layers in a loop that is unrolled
IMAGES = (
    POINTS
    + """
block Basic(c: int)(x: f32[N, H, W, C]) -> f32[N, H, W, c] =
  relu(x + (x |> Conv(c, 3, bias = false) |> BatchNorm()))

model Net()(x: f32[N, D]) -> f32[N, 3] =
  x |> rearrange("n (h w c) -> n h w c", h = 2, w = 2)
    |> for c in [4, 5] { Conv(c, 1) |> repeat 2 { Basic(c) } |> relu }
    |> global_avg_pool |> Dense(3)
"""
    + CLASSIFIER.replace("AdamW(1e-2", "SGD(1e-1")
)

#: a loop over layers in a loop over time
DEEP = RECURRENT.replace(
    "block Cell()",
    """
block Deep()(x: f32[N, D], s: f32[N, D]) -> f32[N, D] =
  x + s |> repeat 3 { Dense(D) |> tanh |> Dropout(10%) }

block Cell()""",
).replace("tanh((e |> Dense(D)) + (s |> Dense(D) |> Dropout(20%)))", "Deep()(e, s)")

#: instances handed to layers: one that all share, with layers of its own, and one for each
HANDED = (
    POINTS
    + """
block Inner()(x: f32[N, D]) -> f32[N, D] = x |> repeat 2 { Dense(D) |> tanh }

block Outer(shared: net, own: net)(x: f32[N, D]) -> f32[N, D] = x + (x |> shared |> own)

model Net()(x: f32[N, D]) -> f32[N, 3] {
  let inner = Inner()
  return x |> repeat 3 { Outer(inner, Dense(8)) } |> Dense(3)
}
"""
    + CLASSIFIER
)

#: steps that update one net and read another
ADVERSARIAL = (
    POINTS
    + """
model Make()(z: f32[N, D]) -> f32[N, D] = z |> repeat 2 { Dense(D) |> tanh } |> Dense(D)

model Judge()(x: f32[N, D]) -> f32[N] = x |> repeat 2 { Dense(D) |> tanh } |> Dense(1) |> squeeze(1)

train fit {
  let make  = Make()
  let judge = Judge()
  let fake  = make(normal([N, 8]))
  epochs    = 1

  step judging {
    loss      = mean(softplus(-judge(points.x))) + mean(softplus(judge(stop_gradient(fake))))
    optimizer = AdamW(1e-2, weight_decay = 0.1)
    update    = judge
  }

  step making {
    loss      = mean(softplus(-frozen(judge)(fake)))
    optimizer = AdamW(1e-2, weight_decay = 0.1)
    update    = make
  }
}
"""
)

PROGRAMS = {
    "mlp": MLP,
    "transformer": TRANSFORMER,
    "buffers": BUFFERS,
    "lars": LARS,
    "shared": SHARED,
    "recurrent": RECURRENT,
    "frozen": FROZEN,
    "meta": META,
    "images": IMAGES,
    "deep": DEEP,
    "handed": HANDED,
    "adversarial": ADVERSARIAL,
}


def program(text: str, folder: Path) -> nnc.Program:
    """The program of `text` in `folder`, with data beside it."""
    draws = np.random.default_rng(0)
    x = draws.normal(size=(40, 8)).astype(np.float32)
    np.savez(folder / "points.npz", x=x, y=draws.integers(0, 3, 40).astype(np.int32))
    np.savez(folder / "ids.npz", ids=draws.integers(0, 11, (16, 7)).astype(np.int32))
    path = folder / "layers.nn"
    path.write_text("language 1\n" + text)
    return nnc.load(path)
