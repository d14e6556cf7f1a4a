"""Whoever asks for a training of a wrong program gets the same errors as `nnc check`."""

from pathlib import Path

import pytest

from nnc.elaborate import check_text
from nnc.elaborate.check import Compiled
from nnc.language.diagnostics import NncError
from nnc.language.tree import Source

MODELS = Path(__file__).parents[2] / "models"
TEXT = """
data digits {
  x: f32[N, 64] = csv("data/digit.csv.gz", columns = 0..64)
  batch = 64
}

model Net()(x: f32[N, 64]) -> f32[N, 10] = x |> Dence(10)

train encode {
  let net   = Net()
  loss      = mean(net(digits.x)^2)
  optimiser = Adam(1e-3)
  epochs    = 1
}
"""


def places(found: list) -> list[tuple[str, int]]:
    return [(d.code, d.span.line) for d in found]


def test_a_training_raises_all_errors_each_time_it_is_asked_for() -> None:
    expected = places(check_text(TEXT, "m.nn", MODELS))
    assert expected == [("E0501", 3), ("E0201", 7), ("E0403", 12)]
    compiled = Compiled(Source("m.nn", TEXT), MODELS)
    for _ in range(2):
        with pytest.raises(NncError) as caught:
            compiled.training()
        assert places(list(caught.value.diagnostics)) == expected
    assert places(compiled.diagnose()) == expected


def test_what_the_command_line_overrides_is_reported_too() -> None:
    text = TEXT.replace("digit.csv", "digits.csv").replace("Dence", "Dense")
    compiled = Compiled(Source("m.nn", text.replace("optimiser", "optimizer")), MODELS)
    with pytest.raises(NncError, match="a seed is at least 0") as caught:
        compiled.training(seed=-1)
    assert [d.code for d in caught.value.diagnostics] == ["E0418"]


def test_a_config_that_is_not_there_cannot_be_set() -> None:
    found = Compiled(Source("m.nn", "config width: int = 8\n"), MODELS, {"widht": "9"}).diagnose()
    assert [(d.code, d.help) for d in found] == [("E0410", "did you mean `width`?")]
