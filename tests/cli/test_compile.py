"""`nnc compile`: the passes by their names, and graphs as text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nnc.cli import PASSES, main
from nnc.commands.explain import page
from nnc.ir.text import graphs_equal, parse_graph
from nnc.ir.verify import verify
from nnc.passes.pipeline import DEFAULT, FAST_MATH, NEEDED, graphs, optimize_training
from tests.docs.snippets import DOCS

from .conftest import PROGRAM

Capture = pytest.CaptureFixture[str]

NORMALIZED = PROGRAM.replace("|> relu ", "|> LayerNorm() |> relu ")


def graph_of_step(text: str) -> str:
    return text.partition("# step step of phase main\n")[2].partition("\n# ")[0]


def test_graphs_are_printed_as_they_are_read(program: Path, capsys: Capture) -> None:
    import nnc.api as nnc

    assert main(["compile", "fit.nn", "--emit", "graph"]) == 0
    texts = re.split(r"^# (?:step|evaluation|forward) .*\n", capsys.readouterr().out, flags=re.M)
    training = nnc.load(program).training()
    optimize_training(training)
    known = list(graphs(training))
    assert len(texts) == 7  # nothing, a step, twice two parts of an evaluation, a forward
    for text in texts[1:]:
        graph = parse_graph(text)
        verify(graph)
        assert any(graphs_equal(graph, each) for each in known)


@pytest.mark.parametrize("name", [*dict.fromkeys(p.name for p in FAST_MATH), *NEEDED])
def test_each_pass_can_be_looked_at(name: str, program: Path, capsys: Capture) -> None:
    if name == "remat":
        program.write_text(PROGRAM.replace("epochs    =", "remat     = full\n  epochs    ="))
    fast = ["--fast-math"] if name in ("reassociate", "scalars") else []
    assert main(["compile", "fit.nn", "--dump-after", name, *fast]) == 0
    dumped = capsys.readouterr().err.split(f"# after {name}\n")[1:]
    assert dumped
    for text in dumped:
        parse_graph(text)


@pytest.mark.parametrize("name", dict.fromkeys(p.name for p in DEFAULT))
def test_each_pass_can_be_left_out(name: str, program: Path, capsys: Capture) -> None:
    assert main(["compile", "fit.nn", "--no-pass", name, "--dump-after", name]) == 0
    assert "# after" not in capsys.readouterr().err


def test_what_is_recognized_or_not(program: Path, capsys: Capture) -> None:
    program.write_text(NORMALIZED)
    for options, found in (([], True), (["--no-pass", "recognize"], False)):
        assert main(["compile", "fit.nn", "--emit", "graph", *options]) == 0
        assert ("layer_norm_grad(" in capsys.readouterr().out) == found


def test_a_backend_simplifies_nothing_that_is_not_to_be(program: Path, capsys: Capture) -> None:
    program.write_text(NORMALIZED)  # which NumPy expands, so its graphs are optimized again
    assert main(["compile", "fit.nn", "--passes", "", "--dump-after", "simplify,common"]) == 0
    assert "# after" not in capsys.readouterr().err


def test_passes_are_chosen_for_a_run_and_remembered(program: Path, capsys: Capture) -> None:
    program.write_text(NORMALIZED)
    assert main(["train", "fit.nn", "--no-pass", "recognize", "--steps", "2", "--out", "r"]) == 0
    assert main(["train", "--resume", "r", "--steps", "3"]) == 0
    names = [name for name in PASSES if name != "recognize"]
    assert json.loads(Path("r/run.json").read_text())["passes"].split(",") == names
    assert main(["verify", "fit.nn", "--passes", "simplify", "--backends", "numpy"]) == 0
    capsys.readouterr()
    assert main(["train", "fit.nn", "--passes", "autodiff"]) == 1
    assert "error[E0904]: `autodiff` is no choice" in capsys.readouterr().err


def test_help_and_documents_name_the_passes() -> None:
    assert tuple(p.name for p in DEFAULT) == PASSES
    names = [*(p.name for p in FAST_MATH), *NEEDED]
    for text in (page("E0904"), (DOCS / "architecture.md").read_text("utf-8")):
        assert [name for name in names if f"`{name}`" not in text] == []


def test_timings_are_a_row_a_phase_and_a_row_a_pass(program: Path, capsys: Capture) -> None:
    assert main(["compile", "fit.nn"]) == 0
    source = capsys.readouterr().out
    assert main(["compile", "fit.nn", "--timings"]) == 0
    printed = capsys.readouterr()
    assert printed.out == source
    rows = [line.strip("│ ").split() for line in printed.err.splitlines() if "│" in line]
    names = [row[0] for row in rows]
    assert [n for n in names if n in ("parse", "elaborate", "optimize", "print", "all")] == [
        "parse", "elaborate", "optimize", "print", "all",
    ]  # fmt: skip
    assert {*PASSES, "autodiff", "legalize", "rewrite"} <= {*names}
