"""Broadcasting, element types and binding times (semantics 4 and 5)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnc.elaborate.values import Host
from nnc.ir import host
from tests.elaborate.harness import expression, out, refused, run

F = np.float32
NTD = np.arange(24, dtype=F).reshape(2, 3, 4)
INTS = np.arange(6, dtype=np.int32).reshape(2, 3)


# ---------------------------------------------------------------- broadcasting
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3, 4), (4,)),  # a lower rank as an exact suffix
        ((2, 3, 4), (3, 4)),
        ((3, 4), (2, 3, 4)),
        ((2, 3, 4), ()),
        ((2, 3, 4), (2, 1, 4)),  # literal 1 at equal rank
        ((2, 1, 4), (1, 3, 1)),
        ((1, 1), (2, 3)),
        ((2, 3), (2, 3)),
    ],
)
@pytest.mark.parametrize("op", ["+", "-", "*", "/"])
def test_broadcast(a: tuple[int, ...], b: tuple[int, ...], op: str) -> None:
    x = np.random.default_rng(1).normal(size=a).astype(F)
    y = np.random.default_rng(2).normal(size=b).astype(F)
    wanted = {"+": x + y, "-": x - y, "*": x * y, "/": x / y}[op]
    np.testing.assert_allclose(expression(f"x {op} y", x, y).out, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3,), (3, 1)),  # [N] - [N, 1]
        ((2, 3, 4), (2,)),
        ((2, 3, 4), (2, 3)),
        ((2, 3, 4), (3, 1)),  # a 1 is no suffix
        ((2, 3), (2, 4)),
        ((2, 3), (3, 2)),
    ],
)
@pytest.mark.parametrize("text", ["x + y", "maximum(x, y)", "where(x > 0, x, y)", "x > y"])
def test_no_other_broadcast(a: tuple[int, ...], b: tuple[int, ...], text: str) -> None:
    one = {(): "", (1,): "_"}
    dims = ["[" + ", ".join("_" * len(s)) + "]" if s else one[s] for s in (a, b)]
    text = f"block Net()(x: f32{dims[0]}, y: f32{dims[1]}) = {text}"
    assert refused(text, np.ones(a, F), np.ones(b, F)) == "E0320"


def test_an_axis_is_not_taken_for_another_one_of_its_size() -> None:
    # [N] against [N, D] with N = D would be added to the wrong axis.
    text = "block Net()(x: f32[N, D], y: f32[N]) = x + y"
    assert refused(text, np.ones((3, 3), F), np.ones(3, F)) == "E0320"
    text = "block Net()(x: f32[N, T, D], y: f32[N, D]) = x + y"
    assert refused(text, np.ones((3, 3, 4), F), np.ones((3, 4), F)) == "E0320"
    text = "block Net()(x: f32[N, D], y: f32[H]) = x + y"
    assert out(text, np.ones((2, 3), F), np.ones(3, F)).shape == (2, 3)


# ---------------------------------------------------------------- element types
@pytest.mark.parametrize("op", ["+", "-", "*", "==", "<"])
def test_element_types_do_not_mix(op: str) -> None:
    assert refused(f"block Net()(x: f32[N, D], y: i32[N, D]) = x {op} y", F(INTS), INTS) == "E0317"
    assert (
        refused(f"block Net()(x: f32[N, D], y: i32[N, D]) = (x > 0) {op} x", F(INTS), INTS)
        == "E0317"
    )


def test_casts_and_literals() -> None:
    x = F(INTS) - 2
    np.testing.assert_array_equal(expression("x * f32(x > 0)", x).out, np.maximum(x, 0))
    np.testing.assert_array_equal(expression("i32(x) * 2 + 1", x).out, (2 * x + 1).astype(np.int32))
    np.testing.assert_array_equal(expression("x + 1", INTS).out, INTS + 1)
    np.testing.assert_array_equal(expression("x // 2 * 2 + x % 2", INTS).out, INTS)
    np.testing.assert_array_equal(expression("x == 3", INTS).out, INTS == 3)
    np.testing.assert_array_equal(
        expression("where(x > 2, x, 0)", INTS).out, np.where(INTS > 2, INTS, 0)
    )
    assert expression("where(x > 2, 1, 0)", INTS).out.dtype == F
    assert expression("x * 2.0", x).out.dtype == F


@pytest.mark.parametrize(
    "text",
    [
        "x + 0.5",
        "x / 2",
        "x and y",
        "-y",
        "x + y",
        "not x",
        "y > true",
        "tanh(x)",
        "mean(x)",
        "sum(y)",
        "x @ x",
    ],
)
def test_what_integers_and_bools_cannot(text: str) -> None:
    program = f"block Net()(x: i32[N, D], y: bool[N, D]) = {text}"
    assert refused(program, INTS, INTS > 2) in ("E0317", "E0315", "E0312")


def test_logic() -> None:
    x = F(INTS)
    np.testing.assert_array_equal(
        expression("x > 1 and not (x > 3) or x == 0", x).out, (x > 1) & ~(x > 3) | (x == 0)
    )


def test_reducing_and_elementwise_extrema_have_two_names() -> None:
    x = F(INTS) - 2
    np.testing.assert_array_equal(expression("max(x, axis = 0)", x).out, x.max(0))
    np.testing.assert_array_equal(expression("maximum(x, 0)", x).out, np.maximum(x, 0))
    np.testing.assert_array_equal(expression("minimum(x, -x)", x).out, np.minimum(x, -x))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2 + 3 * 4 ^ 2", 50),
        ("-2 ^ 2", -4),
        ("2 ^ 3 ^ 2", 512),
        ("7 // 2 + 7 % 2", 4),
        ("7 / 2", 3.5),
        ("10%", 0.1),
        ("1_000", 1000),
        ("sqrt(16) + exp(0) + abs(-1)", 6),
        ("cos(pi)", -1),
        ("size(x)", 6),
        ("N + D", 5),
        ("maximum(2, 3)", 3),
        ("if N == 2 and D > 2 { 1 } else { 0 }", 1),
        ("[1, 2, 3][1] + (4, 5)[0] + (a = 7).a", 13),
        ("[for k in 0..4 { k * k }][3]", 9),
        ("2^-1", 0.5),
    ],
)
def test_static_numbers(text: str, wanted: float) -> None:
    program = f"block Net()(x: f32[N, D]) = x * 0 + ({text})"
    np.testing.assert_allclose(out(program, F(INTS)), np.full((2, 3), wanted, F), rtol=1e-6)


@pytest.mark.parametrize(
    "text",
    ["1 / 0", "1 // 0", "5 % 0", "log(0)", "sqrt(-1)", "2.5 ^ 10000", "(-8) ^ 0.5", "exp(1000)"],
)
def test_static_numbers_without_a_value(text: str) -> None:
    assert refused(f"block Net()(x: f32[N, D]) = x * ({text})", F(INTS)) == "E0316"


# ---------------------------------------------------------------- binding times
def host_value(text: str, more: str = "", **counters: int) -> float:
    """A per-step scalar, computed on the host in float64."""
    program = f"{more}\nblock Net()(x: f32[N, D]) = x * ({text})"
    result = run(program, F(INTS), counters=counters)
    (expr,) = result.scalars.values()
    return host.evaluate(expr, {"step": 0, "updates": 0, "draw": 0, "seed": 0, **counters})


@pytest.mark.parametrize("step", [0, 1, 3, 9])
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("step + 1", lambda t: t + 1),
        ("1e-3 * 0.9 ^ step", lambda t: 1e-3 * 0.9**t),
        ("0.5 * (1 + cos(pi * step / steps))", lambda t: 0.5 * (1 + math.cos(math.pi * t / 10))),
        (
            "if step < 2 { (step + 1) / 2 } else { 1 / step }",
            lambda t: (t + 1) / 2 if t < 2 else 1 / t,
        ),
        ("epoch", lambda t: t // 5),
        ("epoch / epochs", lambda t: t // 5 / 2),
        ("minimum(step, 2) - maximum(step, 5)", lambda t: min(t, 2) - max(t, 5)),
        ("step // 2 + step % 2", lambda t: t // 2 + t % 2),
        (
            "sqrt(step + 1.5) + exp(-step) + log(1 + step) + tanh(step)",
            lambda t: math.sqrt(t + 1.5) + math.exp(-t) + math.log(1 + t) + math.tanh(t),
        ),
        ("-step ^ 2", lambda t: -(t**2)),
        (
            "if step > 1 and not (step == 3) { 1.5 } else { -step }",
            lambda t: 1.5 if t > 1 and t != 3 else -t,
        ),
        ("floor(step / 2) + ceil(step / 2)", lambda t: t),
        ("abs(step - 4)", lambda t: abs(t - 4)),
        ("f32(step) / 2", lambda t: t / 2),
    ],
)
def test_schedules_are_host_scalars(text: str, wanted: object, step: int) -> None:
    assert host_value(text, step=step) == pytest.approx(wanted(step), rel=1e-15)  # type: ignore[operator]


def test_a_schedule_goes_through_functions_and_parameters() -> None:
    more = """
    fn warmup(peak: f32, rounds: int) -> f32 =
      if step < rounds { peak * (step + 1) / rounds } else { peak }
    block Scaled(by: f32)(x: f32[...]) -> f32[...] = x * by
    """
    program = more + "block Net()(x: f32[N, D]) = x |> Scaled(warmup(0.1, 3))"
    result = run(program, F(INTS), counters={"step": 1})
    np.testing.assert_allclose(result.out, F(INTS) * F(0.1 * 2 / 3), rtol=1e-6)
    assert list(result.scalars) == ["by"]  # the name that the source gives it


def test_one_schedule_is_one_scalar() -> None:
    program = "block Net()(x: f32[N, D]) = x * (0.9 ^ step) + 0.9 ^ step + i32(0.9 ^ step)"
    program = program.replace(" + i32(0.9 ^ step)", "")
    assert len(run(program, F(INTS)).scalars) == 1


def test_the_branch_of_a_host_if_is_lazy() -> None:
    assert host_value("if step == 0 { 0.0 } else { 1 / step }", step=0) == 0.0


def test_a_rounded_schedule_reaches_the_graph_in_the_type_of_the_tensor() -> None:
    result = run("block Net()(x: f32[N, D]) = x * 0.1 ^ (step + 1)", F(INTS), counters={"step": 2})
    np.testing.assert_array_equal(result.out, F(INTS) * F(0.1**3))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("if x > 0 { x } else { -x }", "E0250"),  # names `where`
        ("x |> if sum(x) > 0 { tanh }", "E0250"),
        ("x |> if step > 1 { tanh }", "E0251"),
        ("x |> repeat step { tanh }", "E0253"),
        ("if step > 1 { x } else { -x }", "E0252"),
        ("x |> for k in x { tanh }", "E0253"),
        ("x[step, 0]", "E0321"),
        ("reshape(x, [step, 3])", "E0307"),
    ],
)
def test_what_needs_an_earlier_time(text: str, code: str) -> None:
    assert refused(f"block Net()(x: f32[N, D]) = {text}", F(INTS)) == code


def test_training_is_static() -> None:
    text = "block Net()(x: f32[N, D]) = if training { 2 * x } else { x }"
    np.testing.assert_array_equal(out(text, F(INTS), training=True), 2 * F(INTS))
    np.testing.assert_array_equal(out(text, F(INTS)), F(INTS))


def test_sizes_are_static_numbers() -> None:
    text = "block Net()(x: f32[N, D]) = x / sqrt(D) * (D // 2) - N"
    np.testing.assert_allclose(out(text, F(INTS)), F(INTS) / math.sqrt(3) - 2, rtol=1e-6)


def test_a_host_scalar_is_no_tensor() -> None:
    result = run("block Net()(x: f32[N, D]) {\n let t = step\n return x * t }", F(INTS))
    assert list(result.scalars) == ["step"]
    assert not isinstance(result.value, Host)
