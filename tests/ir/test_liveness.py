"""What is alive when: views cost nothing, values end with their last reader."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.liveness import liveness, step_liveness
from nnc.ir.storage import Storage, contiguous, reshaped
from nnc.ir.types import TensorType

ROWS = TensorType("f32", (8, 16))  # 512 bytes
BYTES = 512


def step(function: Callable[[Tensor], Tensor], kind: str = "batch") -> Graph:
    """The graph of a step with the loss `function` of one input."""
    builder = Builder(Graph("test"))
    x = builder.input("d.x", ROWS, kind)
    builder.graph.outputs["@loss"] = function(x).value
    return builder.graph


def test_a_chain_holds_two_values_beside_its_input() -> None:
    live = step_liveness(step(lambda x: x.emit("exp").emit("sin").emit("cos").sum((0, 1))))
    assert live.alive == (BYTES, 2 * BYTES, 3 * BYTES, 3 * BYTES, 2 * BYTES + 4)


def test_the_peak_says_what_it_is_made_of() -> None:
    peak = step_liveness(step(lambda x: (x.emit("exp") * x.emit("sin")).sum((0, 1)))).peak()
    assert peak.bytes == 4 * BYTES
    assert peak.parts["batch"] == BYTES
    assert peak.parts["activations"] == 3 * BYTES
    assert sum(peak.parts.values()) == sum(held.bytes for held in peak.values) == peak.bytes


def test_views_hold_what_they_look_at_and_nothing_else() -> None:
    def function(x: Tensor) -> Tensor:
        turned = x.emit("exp").emit("transpose", perm=(1, 0))
        return turned.emit("sin").sum((0, 1))

    assert step_liveness(step(function)).most == 3 * BYTES


@pytest.mark.parametrize(
    ("make", "is_view"),
    [
        (lambda x: x.reshape((128,)), True),
        (lambda x: x.emit("transpose", perm=(1, 0)).reshape((128,)), False),
        (lambda x: x.emit("slice", start=(0, 0), stop=(8, 8), step=(1, 1)).reshape((64,)), False),
        (lambda x: x.emit("slice", start=(0, 0), stop=(4, 16), step=(1, 1)).reshape((64,)), True),
        (lambda x: x.emit("transpose", perm=(1, 0)).reshape((16, 2, 4)), True),
        (lambda x: x.broadcast((3, 8, 16), (1, 2)), True),
        (lambda x: x.emit("reverse", axes=(0,)), True),
        (lambda x: x.emit("exp"), False),
    ],
)
def test_what_is_a_view(make: Callable[[Tensor], Tensor], is_view: bool) -> None:
    graph = step(make)
    assert Storage(graph, graph).is_view(graph.outputs["@loss"]) == is_view


@given(st.data())
def test_reshapes_are_views_where_those_of_numpy_are(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=4))
    axes = data.draw(st.permutations(range(len(shape))))
    array = np.empty(shape).transpose(axes)
    factors = data.draw(st.permutations(_factors(array.size)))
    found = reshaped(array.shape, tuple(s // 8 for s in array.strides), factors)
    wanted = array.reshape(factors)
    assert (found is not None) == np.may_share_memory(array, wanted)
    if found is not None:
        kept = [axis for axis, size in enumerate(factors) if size > 1]
        assert [found[a] for a in kept] == [wanted.strides[a] // 8 for a in kept]


def _factors(size: int) -> list[int]:
    """Small sizes that multiply to `size`."""
    found = [1]
    for factor in (4, 3, 2):
        while size % factor == 0:
            found.append(factor)
            size //= factor
    return found


def test_strides_are_those_of_the_order_of_c() -> None:
    assert contiguous((2, 3, 4)) == (12, 4, 1)
    assert contiguous(()) == ()


def test_the_state_is_updated_in_place() -> None:
    builder = Builder(Graph("test"))
    w = builder.input("net.w", ROWS, "state")
    rate = builder.input("rate", TensorType("f32"), "scalar")
    gradient = w.emit("sin")
    builder.graph.producer(gradient.value).name = "d_net.w"
    new = w - gradient * rate.broadcast((8, 16), ())
    builder.graph.outputs = {"@loss": w.sum((0, 1)).value, "net.w": new.value}
    live = step_liveness(builder.graph)
    assert live.most == 2 * BYTES + 4 + 4  # the weights, the gradient, the rate and the loss


def test_a_loop_takes_what_its_body_takes() -> None:
    body = Builder(Graph("body"))
    body.input("i", TensorType("i32"))
    h = body.input("h", ROWS)
    body.graph.outputs = {"h": (h.emit("exp") * h.emit("sin")).value}

    def function(x: Tensor) -> Tensor:
        made = x.emit(
            "scan", body=body.graph, carries=1, sequences=0, axes=(), out_axes=(), length=5,
            reverse=False,
        )  # fmt: skip
        final: Tensor = made[0] if isinstance(made, tuple) else made
        return final

    graph = step(function)
    assert liveness(graph, list(graph), {}).most == (2 + 3) * BYTES
