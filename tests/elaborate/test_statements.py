"""Bodies: order, `let`, records, lists, assertions, configs (semantics 6 and 7)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.elaborate.harness import codes, compiled, out, refused, run

F = np.float32
X = np.arange(6, dtype=F).reshape(2, 3)


def test_assignments_of_carries_are_sequential() -> None:
    text = """
    block Net()(x: f32[N, D]) = scan e in x over D with a = zeros([N]), b = zeros([N]) {
      a = a + e
      b = b + a
    }
    """
    result = out(text, X)
    np.testing.assert_array_equal(result["a"], X.sum(1))
    np.testing.assert_array_equal(result["b"], X.cumsum(1).sum(1))


def test_tuples_unpack() -> None:
    text = """
    fn both(x: f32[...]) -> (up: f32[...], down: f32[...]) = (up = x + 1, down = x - 1)
    block Net()(x: f32[N, D]) {
      let up, down = both(x)
      let r = both(x)
      let a, b, c = x |> split(3)
      return (p = up * r.down, q = down, r = concat(c, b, a), s = r)
    }
    """
    result = out(text, X)
    np.testing.assert_array_equal(result["p"], (X + 1) * (X - 1))
    np.testing.assert_array_equal(result["r"], X[:, ::-1])
    np.testing.assert_array_equal(result["s"]["up"], X + 1)


def test_a_record_type_orders_and_checks_its_fields() -> None:
    text = """
    fn both(x: f32[...]) -> (a: f32[...], b: f32[...]) = (b = x - 1, a = x + 1)
    block Net()(x: f32[N, D]) = both(x)
    """
    assert list(out(text, X)) == ["a", "b"]
    wrong = text.replace("b = x", "c = x")
    assert refused(wrong, X) == "E0313"


def test_a_name_is_introduced_once() -> None:
    assert refused("block Net()(x: f32[N, D]) {\n let a = x\n let a = x\n return a }", X) == "E0203"
    assert refused("block Net()(x: f32[N, D]) {\n let a = x\n a = x + 1\n return a }", X) == "E0231"
    assert refused("block Net()(x: f32[N, D]) {\n b = x + 1\n return b }", X) == "E0231"


def test_an_inner_name_hides_an_outer_one() -> None:
    text = "let k = 2\nblock Net()(x: f32[N, D]) {\n let k = 3\n return x * k }"
    np.testing.assert_array_equal(out(text, X), X * 3)


def test_definitions_may_come_in_any_order() -> None:
    text = """
    let a = b + 1
    block Net()(x: f32[N, D]) = x * a |> f
    let b = 2
    fn f(x: f32[...]) -> f32[...] = x + b
    """
    np.testing.assert_array_equal(out(text, X), X * 3 + 2)


def test_a_definition_by_itself_is_an_error() -> None:
    assert codes("let a = b\nlet b = a\n") == ["E0204"]


def test_assertions() -> None:
    text = 'block Net(k: int = 3)(x: f32[N, D]) {\n assert D == k, "width"\n return x }'
    np.testing.assert_array_equal(out(text, X), X)
    assert refused(text, X, static={"k": 4}) == "E0237"
    assert refused("block Net()(x: f32[N, D]) {\n assert x > 0\n return x }", X) == "E0236"


def test_defaults_see_the_parameters_before_them() -> None:
    text = "block Net(a: int = 2, b: int = 2 * a)(x: f32[N, D], y: f32[N, D] = x * b) = x * a + y"
    np.testing.assert_array_equal(out(text, X), X * 2 + X * 4)
    np.testing.assert_array_equal(out(text, X, static={"a": 3}), X * 3 + X * 6)


def test_optional_arguments() -> None:
    text = """
    fn f(x: f32[...], mask: f32[...] = none) -> f32[...] = if mask == none { x } else { x * mask }
    block Net()(x: f32[N, D]) = f(x) + f(x, mask = x)
    """
    np.testing.assert_array_equal(out(text, X), X + X * X)


def test_lists_of_tensors() -> None:
    text = """
    block Net()(x: f32[N, D]) {
      let parts = [for k in 0..3 { x[D = k] * k }]
      return (s = stack(parts, axis = 1), last = parts[-1])
    }
    """
    result = out(text, X)
    np.testing.assert_array_equal(result["s"], X * np.arange(3))
    np.testing.assert_array_equal(result["last"], X[:, 2] * 2)


def test_errors_of_independent_statements_come_together() -> None:
    text = """
    block Net()(x: f32[N, 3]) {
      let a = x @ x
      let b = a + 1
      let c = x + nothing
      return b + c
    }
    """
    assert sorted(codes(text)) == ["E0201", "E0320"]


# ---------------------------------------------------------------- configs, modules
def test_a_config_is_set_from_outside() -> None:
    from nnc.elaborate.check import Compiled
    from nnc.language.tree import Source

    text = """
    config k: int = 2 in [2, 3]
    config rate: f32 = 10%
    config deep: bool = false
    config act: str = "relu" in ["relu", "tanh"]
    """

    def values(**given: str) -> dict[str, object]:
        return Compiled(Source("t.nn", text), Path("."), given).module.configs

    assert values() == {"k": 2, "rate": 0.1, "deep": False, "act": "relu"}
    assert values(k="3", rate="0.5", deep="true", act="tanh") == {
        "k": 3,
        "rate": 0.5,
        "deep": True,
        "act": "tanh",
    }
    assert values(rate="20%")["rate"] == 0.2
    for given, code in [
        ({"k": "4"}, "E0411"),
        ({"k": "x"}, "E0310"),
        ({"q": "1"}, "E0410"),
        ({"act": "gelu"}, "E0411"),
        ({"k": "2.5"}, "E0310"),
        ({"deep": "3"}, "E0310"),
    ]:
        faults = Compiled(Source("t.nn", text), Path("."), given).module.faults
        assert [f.code for f in faults] == [code], given


def test_a_config_sizes_a_net() -> None:
    text = """
    config hidden: int = 4
    block Dense(out: int)(x: f32[..., D]) -> f32[..., out] {
      param w: f32[D, out] = ones()
      return x @ w
    }
    block Net()(x: f32[N, D]) = x |> Dense(hidden)
    """
    assert run(text, X).out.shape == (2, 4)


def test_use_of_another_file(tmp_path: Path) -> None:
    (tmp_path / "lib.nn").write_text("""
    let scale = 3
    fn times(x: f32[...]) -> f32[...] = x * scale
    block Twice()(x: f32[...]) -> f32[...] = x |> times |> helper
    fn helper(x: f32[...]) -> f32[...] = x + 1
    """)
    body = "block Net()(x: f32[N, 3]) -> f32[N, 3] = x |> "
    for text in (
        'use "lib.nn" (Twice, times)\n' + body + "Twice() |> times",
        'use "lib.nn" as lib\n' + body + "lib.Twice() |> lib.times",
    ):
        program = compiled(text, tmp_path)
        assert program.diagnose() == []
    assert codes('use "lib.nn" (twice)\n', tmp_path) == ["E0414"]
    assert codes('use "none.nn" as n\n', tmp_path) == ["E0001"]
    assert codes('use "../lib.nn" as n\n', tmp_path / "deep") == ["E0414"]
    (tmp_path / "self.nn").write_text('use "self.nn" as s\n')
    assert "E0414" in codes('use "self.nn" as s\n', tmp_path)


@pytest.mark.parametrize("text", ["use std.nothing as n", "use other (x)"])
def test_use_of_what_is_not_there(text: str) -> None:
    assert codes(text + "\n") == ["E0414"]
