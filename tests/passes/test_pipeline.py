"""Which passes run: `--passes`, `--no-pass`, and the hook of `--dump-after`."""

import pytest
from hypothesis import given, settings

from nnc.ir.graph import Graph
from nnc.language.diagnostics import NncError
from nnc.passes.base import AFTER, Pass
from nnc.passes.pipeline import DEFAULT, NEEDED, Pipeline, optimize, require_pass, select
from tests.passes.graphs import F64, assert_same_meaning, graph, random_graphs


@settings(max_examples=40, deadline=None)
@given(random_graphs())
def test_not_a_bit_changes(original: Graph) -> None:
    assert_same_meaning(Pass("all", optimize, ""), original)


def test_all_passes_by_default() -> None:
    assert select() == DEFAULT


def test_named_passes_in_the_order_named() -> None:
    assert [p.name for p in select("dead_code, simplify")] == ["dead_code", "simplify"]
    assert select("") == ()


def test_without_a_pass() -> None:
    assert [p.name for p in select(without=["common"])] == [
        p.name for p in DEFAULT if p.name != "common"
    ]


def test_an_unknown_pass_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(NncError) as caught:
        select("simplfy")
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.help) == ("E0904", "did you mean `simplify`?")


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_needed_is_no_choice(name: str) -> None:
    assert require_pass(name) == name
    with pytest.raises(NncError) as caught:
        select(without=[name])
    assert f"`{name}` is no choice" in caught.value.diagnostics[0].message


@pytest.mark.parametrize("names", [None, "", "simplify", "recognize,loops"])
def test_a_pipeline_is_remembered_by_names(names: str | None) -> None:
    pipeline = Pipeline(select(names))
    assert pipeline.names == names
    assert select(pipeline.names) == pipeline.passes


def test_the_hook_sees_the_graph_after_each_pass() -> None:
    seen: list[tuple[str, int]] = []
    changed = graph(lambda x: (x * 1.0) + (x * 1.0), F64)
    optimize(changed, after=lambda name, g: seen.append((name, len(g))))
    assert [name for name, _ in seen] == [p.name for p in DEFAULT if p.stage == AFTER]
    assert seen[-1][1] == 2


def test_every_pass_says_what_it_does() -> None:
    assert all(p.doc and p.name.isidentifier() for p in DEFAULT)
