"""Which fields of the data index an axis, so that they can be checked before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nnc.api as nnc

PROGRAM = """language 1

data text {{
  ids: i32[N, T = 5] = npz("ids.npz", key = "ids")
  y: f32[N, 4]       = npz("ids.npz", key = "y")
  batch = 4
}}

model Net()(ids: i32[N, T]) -> f32[N, 4] {{
{body}
}}

train fit {{
  let net = Net()
  loss      = mse(net(text.ids), text.y)
  optimizer = SGD(0.1)
  epochs    = 1
}}
"""

PLACES = {
    "the forward pass": "  return sum(Embedding(11, 4)(ids), axis = T)",
    "an element of a scan": """  let embed = Embedding(11, 4)
  return scan id in ids over T with h = zeros([N, 4]) {
    h = tanh(h + embed(id))
  }""",
    "what a scan captures": """  let embed = Embedding(11, 4)
  return scan t in 0..3 with h = zeros([N, 4]) {
    h = tanh(h + embed(ids[T = 0]))
  }""",
    "a layer": """  return zeros([N, 4]) |> repeat 3 {
    _ + Dense(4)(_) + Embedding(11, 4)(ids[T = 1])
  }""",
    "one-hot": "  return one_hot(ids, 11) |> Dense(4) |> sum(axis = T)",
}


@pytest.mark.parametrize("stack_layers", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_what_indexes_is_found_wherever_it_stands(
    place: str, stack_layers: bool, tmp_path: Path
) -> None:
    ids, y = np.arange(40, dtype=np.int32).reshape(8, 5) % 11, np.zeros((8, 4), np.float32)
    np.savez(tmp_path / "ids.npz", ids=ids, y=y)
    path = tmp_path / "text.nn"
    path.write_text(PROGRAM.format(body=PLACES[place]))
    training = nnc.load(path).training(stack_layers=stack_layers)
    found = [(bound.source, bound.field, bound.size) for bound in training.bounds]
    assert found == [("text", "ids", 11)]
    (bound,) = training.bounds
    assert bound.origin is not None


def test_carries_are_not_what_was_handed_in(tmp_path: Path) -> None:
    """A carry that starts with ids is something else in the next round."""
    body = """  let embed = Embedding(11, 4)
  let id, h = scan t in 0..3 with id = ids[T = 0], h = zeros([N, 4]) {
    h  = tanh(h + embed(minimum(id, 10)))
    id = id + 1
  }
  return h"""
    np.savez(tmp_path / "ids.npz", ids=np.zeros((8, 5), np.int32), y=np.zeros((8, 4), np.float32))
    path = tmp_path / "text.nn"
    path.write_text(PROGRAM.format(body=body))
    assert nnc.load(path).training().bounds == []
