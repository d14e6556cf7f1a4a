"""Composites become core ops where a backend does not spell them."""

import numpy as np
import pytest

from nnc.ir.builder import Tensor
from nnc.ir.interpret import interpret
from nnc.ir.types import TensorType
from nnc.ir.verify import verify
from nnc.language.diagnostics import NncError
from nnc.ops.registry import OPS
from nnc.passes.legalize import MARKERS, legalize
from tests.passes.graphs import F64, graph

CORE = {name for name, op in OPS.items() if not op.composite and name not in MARKERS}


def test_a_composite_becomes_core_ops_of_the_same_value() -> None:
    original = graph(lambda x: x.emit("log_softmax", axis=1), F64)
    changed = original.copy()
    assert legalize(changed, CORE)
    verify(changed)
    assert {node.op for node in changed} <= CORE
    x = np.random.default_rng(0).normal(size=(2, 3))
    np.testing.assert_allclose(
        interpret(changed, [x])["y0"], interpret(original, [x])["y0"], rtol=1e-14
    )


def test_native_composites_stay() -> None:
    changed = graph(lambda x: x.emit("softmax", axis=1), F64)
    assert not legalize(changed, CORE | {"softmax"})
    assert "softmax" in {node.op for node in changed}


def test_bodies_are_legal_too() -> None:
    body = graph(lambda x: x.emit("sigmoid"), F64)
    changed = graph(lambda x: x.emit("call", body=body)[0], F64)
    assert legalize(changed, CORE)
    (call,) = [node for node in changed if node.op == "call"]
    assert {node.op for node in call.attrs["body"]} <= CORE


def test_the_origin_goes_on_to_the_parts() -> None:
    changed = graph(lambda x: x.emit("sigmoid"), F64)
    from nnc.ir.graph import Origin

    origin = (Origin("m.nn", 7, 3, "net.gate"),)
    for node in changed:
        node.origin = origin
    legalize(changed, CORE)
    assert {node.origin for node in changed} == {origin}


def test_markers_of_differentiation_go() -> None:
    changed = graph(lambda x, y: x.emit("with_gradient", y).emit("stop_gradient") * 2.0, F64, F64)
    legalize(changed, CORE)
    assert not {node.op for node in changed} & set(MARKERS)


def refusal(op: str, native: set[str]) -> str:
    def use(x: Tensor) -> Tensor:
        return x.emit("gradient", x)[0] if op == "gradient" else x.emit(op)

    with pytest.raises(NncError) as caught:
        legalize(graph(use, TensorType("f64")), native, "toy")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "E0903"
    return diagnostic.message


def test_what_can_neither_be_spelt_nor_expanded_is_refused_with_the_reason() -> None:
    assert "the backend `toy` cannot spell `erf`: it has no emitter" in refusal("erf", {"add"})
    assert "the autodiff pass expands it" in refusal("gradient", CORE - {"gradient"})
