"""A run that a framework ends says so, and what it had reached can be gone on from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnc.ir.builder import Builder
from nnc.ir.graph import Graph, Origin
from nnc.ir.types import TensorType
from nnc.language.diagnostics import NncError
from nnc.train import checkpoint, failures, loop
from nnc.train.checkpoint import state_hash
from tests.train.conftest import EMITTED, make_loop

FAILING = EMITTED.replace(
    "    x, y = batch",
    '    if scalars["draw"] == 17:\n        raise MemoryError\n    x, y = batch',
    1,
)


def test_what_was_reached_can_be_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "GUARD_EVERY", 5)
    with pytest.raises(NncError) as caught:
        make_loop(tmp_path, FAILING).run()
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.message) == (
        "E0709",
        "model.nn:2: the step `step` needs more memory than there is",
    )
    found = checkpoint.load(tmp_path / checkpoint.LAST)
    assert found.meta["counters"]["step"] == 15
    resumed = make_loop(tmp_path)
    resumed.resume(found)
    assert state_hash(resumed.run().state) == state_hash(make_loop().run().state)


def shifted() -> Graph:
    """take(table, id + 3), at line 4, and its sum, at line 5."""
    builder = Builder(Graph("shifted"))
    table = builder.input("table", TensorType("f32", (4, 2)), "state")
    ids = builder.input("points.id", TensorType("i32", (3,)), "batch")
    builder.origin = (Origin("std/linear.nn", 9, 1), Origin("model.nn", 4, 1))
    rows = table.emit("take", ids + 3, axis=0)
    builder.origin = (Origin("model.nn", 5, 1),)
    builder.graph.outputs = {"@loss": rows.sum((0, 1)).value}
    return builder.graph


def test_the_op_to_blame_is_that_which_numpy_refuses_too() -> None:
    graph, table = shifted(), np.zeros((4, 2), np.float32)
    astray = {"table": table, "points.id": np.array([0, 1, 0], np.int32)}
    node = failures.failing_node(graph, astray)
    assert node is not None
    assert node.op == "take"
    assert failures.origin(node) == Origin("model.nn", 4, 1)
    assert failures.failing_node(graph, {**astray, "points.id": np.zeros(3, np.int32)}) is None


def test_the_largest_value_is_the_one_with_most_bytes() -> None:
    node = failures.largest(shifted())
    assert node is not None
    assert (node.op, str(node.type)) == ("take", "f32[3, 2]")


@pytest.mark.parametrize(
    "text",
    [
        "RESOURCE_EXHAUSTED: Out of memory allocating 20000000392 bytes.",
        "INTERNAL: Error dispatching computation: Out of memory allocating 20 bytes.",
        "CUDA out of memory. Tried to allocate 20.00 GiB.",
        "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_frameworks_have_words_of_their_own_for_too_little_memory(text: str) -> None:
    assert failures.is_memory(RuntimeError(text))
    assert not failures.is_memory(RuntimeError("index out of range"))
