"""What a clock says of phases and passes."""

import gc
import time

import pytest

from nnc.ir.graph import Graph
from nnc.passes.base import Pass
from nnc.passes.clock import Clock, measure
from nnc.passes.pipeline import DEFAULT, Pipeline, uncollected
from tests.ops.bodies import body, f64
from tests.passes.graphs import F64, graph


def test_a_row_says_how_many_nodes_were_made_and_are_gone() -> None:
    changed = graph(lambda x: (x * 1.0) + (x * 1.0), F64)
    clock, before = Clock(), len(changed)
    pipeline = Pipeline(DEFAULT, around=clock.around)
    with pipeline.phase("optimize"):
        pipeline.run(changed)
    simplified = clock.rows["optimize", "simplify"]
    assert (simplified.runs, simplified.before, simplified.made) == (1, before, 0)
    assert simplified.after == len(changed) == 2
    assert simplified.gone == before - 2
    assert clock.rows["optimize", "fold_constants"].runs == 2
    assert [row.name for row in clock.rows.values() if not row.is_pass] == ["optimize"]


def test_time_inside_is_not_that_of_what_is_around() -> None:
    def slow(_: Graph) -> None:
        time.sleep(0.03)

    clock = Clock()
    pipeline = Pipeline((Pass("slow", slow, ""),), around=clock.around)
    with pipeline.phase("phase"):
        pipeline.run(graph(lambda x: x, F64))
    assert clock.rows["phase", "slow"].seconds >= 0.03 > clock.rows["phase",].seconds
    assert clock.seconds == clock.rows["phase",].seconds + clock.rows["phase", "slow"].seconds


def test_nodes_of_bodies_count() -> None:
    inner = body({"x": f64(2)}, lambda x: [x * x])
    outer = graph(lambda x: x.emit("call", body=inner)[0], f64(2))
    assert measure(outer).nodes == len(outer) + len(inner)


@pytest.mark.parametrize("collects", [True, False])
def test_what_collected_before_collects_after(collects: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        with uncollected():
            assert not gc.isenabled()
        assert gc.isenabled() == collects
    finally:
        (gc.enable if before else gc.disable)()
