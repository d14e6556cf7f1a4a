"""Where the gradients of loops and calls are checked."""

from nnc.ir.builder import Tensor
from tests.gradcheck import Case, normal
from tests.ops.bodies import I32, body, cell, f64


def powers(i: Tensor, total: Tensor, x: Tensor, k: Tensor) -> list[Tensor]:
    """Reads the iteration, a loop invariant and views; forgets nothing."""
    weight = (i.cast("f64") + 1.0) * k.emit("exp")
    return [total * weight.expand((2,)) + x * x, (x * total).reshape((1, 2)), x]


def forgetful(i: Tensor, h: Tensor, count: Tensor, x: Tensor) -> list[Tensor]:
    """The carry h does not reach the next step, and an integer is carried beside it."""
    return [x.emit("sin"), count + 1, h * x]


SCAN = {"carries": 1, "sequences": 1, "out_axes": (1,), "length": 3, "reverse": False}
RNN = (normal(2, 3), normal(2, 3, 2), normal(2, 3), normal(3, 3))
POWERS = body({"i": I32, "total": f64(2), "x": f64(2), "k": f64()}, powers)
FORGETFUL = body({"i": I32, "h": f64(2), "count": I32, "x": f64(2)}, forgetful)
CALLED = body(
    {"x": f64(2), "y": f64(2)},
    lambda x, y: [x.emit("sin") * y, y * y, x.sum((0,))],
)

CASES = [
    Case("scan", RNN, {"body": cell(), "axes": (1,), **SCAN}),
    Case("scan", RNN, {"body": cell(), "axes": (1,), **SCAN, "reverse": True}, label="reverse"),
    Case(
        "scan",
        (normal(2), normal(2, 3), normal()),
        {"body": POWERS, "axes": (1,), **SCAN, "out_axes": (1, 0)},
        label="invariant",
        order=3,
    ),
    Case(
        "scan",
        (normal(2), normal().astype("i4"), normal(3, 2)),
        {"body": FORGETFUL, "axes": (0,), **SCAN, "carries": 2, "out_axes": (0,)},
        label="forgetful",
    ),
    Case("call", (normal(2), normal(2, seed=1)), {"body": CALLED}, order=3),
    Case("barrier", (normal(2, 3), normal(2)), label="two"),
    Case("barrier", (normal(2, 3),), label="one"),
]
EXEMPT = {
    "with_gradient": "its gradient is not that of its value; see test_control",
    "on_gradient": "its gradient is what its body makes of it; see test_control",
    "gradient": "it is expanded before it could be differentiated; see test_autodiff",
}
