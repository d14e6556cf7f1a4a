"""Random small programs of pipes and residuals mean what NumPy computes for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nnc import random
from tests.elaborate.harness import run

F = np.float32
X = np.linspace(-1, 1, 6).reshape(2, 3)


class World:
    """The weights of a program by path, drawn as the language says."""

    def __init__(self) -> None:
        self.used: list[str] = []

    def weight(self, path: str, rows: int, columns: int) -> np.ndarray:
        if path not in self.used:
            self.used.append(path)
        bits = random.draw_bits(0, f"init/{path}", count=rows * columns)
        uniform = ((bits >> 8) * 2.0**-24).astype(F) * F(0.5) + F(-0.25)
        return uniform.reshape(rows, columns).astype(np.float64)


@dataclass(frozen=True)
class Stage:
    """A stage: its text, how many layers stand in it, and what it computes with them at places."""

    text: str
    layers: int
    apply: Callable[[World, np.ndarray, list[str]], np.ndarray]


LEAVES = [
    Stage("tanh", 0, lambda w, x, _: np.tanh(x)),
    Stage("_ + 1", 0, lambda w, x, _: x + 1),
    Stage("_ * _ / 4", 0, lambda w, x, _: x * x / 4),
    Stage("maximum(0.25)", 0, lambda w, x, _: np.maximum(x, 0.25)),
    Stage("double", 0, lambda w, x, _: 2 * x),
    Stage("Dense(3)", 1, lambda w, x, at: x @ w.weight(f"{at[0]}.w", 3, 3)),
    Stage("Affine(3)", 1, lambda w, x, at: _affine(w, x, at[0])),
]
DEFINITIONS = """
fn double(x: f32[...]) -> f32[...] = 2 * x
block Dense(out: int)(x: f32[..., D]) -> f32[..., out] {
  param w: f32[D, out] = uniform(low = -0.25, high = 0.25)
  return x @ w
}
block Affine(out: int)(x: f32[..., D]) -> f32[..., out] {
  let inner = Dense(out)
  return (x |> inner |> Dense(out)) + x
}
"""


def _affine(world: World, x: np.ndarray, at: str) -> np.ndarray:
    inner, outer = (world.weight(f"{at}.{p}.w", 3, 3) for p in ("inner", "dense_1"))
    return x @ inner @ outer + x


def _piped(stages: list[Stage]) -> Stage:
    def apply(world: World, x: np.ndarray, at: list[str]) -> np.ndarray:
        begin = 0
        for stage in stages:
            x = stage.apply(world, x, at[begin : begin + stage.layers])
            begin += stage.layers
        return x

    text = " |> ".join(s.text for s in stages)
    return Stage(text, sum(s.layers for s in stages), apply)


def _residual(inner: Stage) -> Stage:
    return Stage(
        f"_ + (_ |> {inner.text})", inner.layers, lambda w, x, at: x + inner.apply(w, x, at)
    )


def _grouped(inner: Stage) -> Stage:
    return Stage(f"({inner.text})", inner.layers, inner.apply)


def _repeated(times: int, inner: Stage) -> Stage:
    def apply(world: World, x: np.ndarray, at: list[str]) -> np.ndarray:
        for round in range(times):
            x = inner.apply(world, x, [f"{path}.{round}" for path in at])
        return x

    return Stage(f"repeat {times} {{ {inner.text} }}", inner.layers, apply)


def _chosen(taken: bool, inner: Stage) -> Stage:
    def apply(world: World, x: np.ndarray, at: list[str]) -> np.ndarray:
        return inner.apply(world, x, at) if taken else x

    return Stage(f"if {str(taken).lower()} {{ {inner.text} }}", inner.layers, apply)


def _wrap(children: st.SearchStrategy[Stage]) -> st.SearchStrategy[Stage]:
    return st.one_of(
        st.lists(children, min_size=2, max_size=3).map(_piped).map(_grouped),
        children.map(_residual),
        st.builds(_repeated, st.integers(0, 3), children),
        st.builds(_chosen, st.booleans(), children),
    )


stages = st.recursive(st.sampled_from(LEAVES), _wrap, max_leaves=6)
programs = st.lists(stages, min_size=1, max_size=4).map(_piped)


def places(text: str) -> list[str]:
    """The names of the layers in `text`: numbered by block, in textual order."""
    counts = {"Dense": 0, "Affine": 0}
    names = []
    for block in re.findall(r"(Dense|Affine)\(3\)", text):
        names.append(f"{block.lower()}_{counts[block]}")
        counts[block] += 1
    return names


@given(programs)
@settings(max_examples=60, deadline=None)
def test_a_program_is_what_numpy_computes(stage: Stage) -> None:
    text = DEFINITIONS + f"block Net()(x: f32[N, D]) = x |> {stage.text}\n"
    result = run(text, X.astype(F), wide=True)
    world = World()
    names = [f"net.{name}" for name in places(stage.text)]
    wanted = stage.apply(world, X.astype(F).astype(np.float64), names)
    np.testing.assert_allclose(result.out, wanted, rtol=1e-9, atol=1e-12)
    assert sorted(world.used) == sorted(result.paths)


@given(programs)
@settings(max_examples=25, deadline=None)
def test_a_named_stage_is_the_stage_with_the_name_before_its_places(stage: Stage) -> None:
    direct = DEFINITIONS + f"block Net()(x: f32[N, D]) = x |> ({stage.text})\n"
    named = DEFINITIONS + f"block Net()(x: f32[N, D]) {{\n let s = repeat 1 {{ {stage.text} }}\n"
    named += " return (a = x |> s, b = s(x))\n}"
    one, two = run(direct, X.astype(F)), run(named, X.astype(F))
    np.testing.assert_array_equal(two.out["a"], two.out["b"])
    assert len(one.state) == len(two.state)
    assert all(path.startswith("net.s") for path in two.paths)


@given(programs, st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_a_gradient_is_a_difference_quotient(stage: Stage, column: int) -> None:
    smooth = stage.text.replace("maximum(0.25)", "tanh")
    text = (
        DEFINITIONS
        + f"""
    block Net()(x: f32[N, D]) {{
      let y = sum((x |> {smooth}) ^ 2)
      return (y = y, g = gradient(y, x))
    }}
    """
    )
    x = X.astype(F)
    at, step = (0, column % 3), 1e-3
    moved = [x.copy(), x.copy()]
    moved[0][at] += F(step)
    moved[1][at] -= F(step)
    center = run(text, x, wide=True).out["g"][at]
    up, down = (run(text, m, wide=True).out["y"] for m in moved)
    width = float(moved[0][at]) - float(moved[1][at])
    # Of a huge y the quotient itself is only rounding: the law says nothing there.
    assume(abs(up) * 2.0**-52 / width < 1e-5)
    np.testing.assert_allclose(center, (up - down) / width, rtol=1e-3, atol=1e-3)
