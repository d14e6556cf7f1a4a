"""Random graphs that end in a number, of all kinds of ops that gradients go through.

Every op is bounded, so that no value or gradient overflows and a rounding stays one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.types import TensorType
from tests.ops.bodies import I32, body, f64, matmul

ROWS, COLUMNS = 3, 4
MATRIX, VECTOR = f64(ROWS, COLUMNS), f64(COLUMNS)

Grow = Callable[[st.DrawFn, Builder, list[Tensor], Tensor], Tensor]

UNARY = ("neg", "abs", "sin", "tanh", "sigmoid", "softplus", "erf", "silu", "gelu", "sign")
BINARY = ("add", "sub", "mul", "maximum", "minimum")
NUMBERS = (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 0.3, -4.0)


def _unary(draw: st.DrawFn, builder: Builder, pool: list[Tensor], x: Tensor) -> Tensor:
    return x.emit(draw(st.sampled_from(UNARY)))


def _binary(draw: st.DrawFn, builder: Builder, pool: list[Tensor], x: Tensor) -> Tensor:
    other = draw(st.sampled_from([y for y in pool if y.shape == x.shape]))
    return x.binary(draw(st.sampled_from(BINARY)), other)


def _number(draw: st.DrawFn, builder: Builder, pool: list[Tensor], x: Tensor) -> Tensor:
    op = draw(st.sampled_from(["add", "sub", "mul", "div"]))
    number = draw(st.sampled_from([n for n in NUMBERS if n or op != "div"]))
    if op != "div" and draw(st.booleans()):
        return builder.full(number, x.dtype, x.shape).binary(op, x)
    return x.binary(op, number)


def _quotient(draw: st.DrawFn, builder: Builder, pool: list[Tensor], x: Tensor) -> Tensor:
    """Over what is at least 1."""
    other = draw(st.sampled_from([y for y in pool if y.shape == x.shape]))
    return x / (other * other + 1.0)


def _choice(draw: st.DrawFn, builder: Builder, pool: list[Tensor], x: Tensor) -> Tensor:
    other = draw(st.sampled_from([y for y in pool if y.shape == x.shape]))
    condition = draw(st.sampled_from([x > 0.0, x <= other, (x > other).emit("not")]))
    yes = draw(st.sampled_from([x, other]))
    return condition.where(yes, draw(st.sampled_from([0.0, 0.5, other])))


def _move(draw: st.DrawFn, builder: Builder, pool: list[Tensor], x: Tensor) -> Tensor:
    """There and back, and what lies between: shapes stay among the known."""
    if x.rank != 2:
        return x.reshape((COLUMNS, 1)).transpose((1, 0)).reshape(x.shape)
    kind = draw(
        st.sampled_from(["turns", "transposes", "around", "reshapes", "reverse", "parts", "pads"])
    )
    if kind == "turns":
        p, q = (draw(st.permutations(range(3))) for _ in range(2))
        cube = x.reshape((ROWS, 2, 2)).transpose(tuple(p)).transpose(tuple(q))
        back = np.argsort([p[axis] for axis in q])
        return cube.emit("tanh").transpose(tuple(map(int, back))).reshape(x.shape)
    if kind == "transposes":
        return x.transpose((1, 0)).transpose((1, 0))
    if kind == "around":
        turned = [y.transpose((1, 0)) for y in (x, draw(st.sampled_from(_matrices(pool))))]
        return (turned[0] * turned[1]).emit("tanh").transpose((1, 0))
    if kind == "reshapes":
        return x.reshape((ROWS * COLUMNS,)).emit("tanh").reshape((2, 6)).reshape(x.shape)
    if kind == "reverse":
        axes = draw(st.sampled_from([(0,), (1,), (0, 1)]))
        return x.emit("reverse", axes=axes).emit("sin").emit("reverse", axes=axes)
    cut = draw(st.integers(1, COLUMNS - 1))
    if kind == "parts":
        left, right = _columns(x, 0, cut), _columns(x, cut, COLUMNS)
        return left.emit("concat", right.emit("tanh"), axis=1)
    part = _columns(x, 0, cut)
    return part.emit("pad", low=(0, 0), high=(0, COLUMNS - cut), value=0.0)


def _columns(x: Tensor, start: int, stop: int) -> Tensor:
    return x.emit("slice", start=(0, start), stop=(ROWS, stop), step=(1, 1))


def _matrices(pool: list[Tensor]) -> list[Tensor]:
    return [y for y in pool if y.shape == MATRIX.shape]


def _reduce(draw: st.DrawFn, builder: Builder, pool: list[Tensor], x: Tensor) -> Tensor:
    if x.rank != 2:
        total = draw(st.sampled_from([x.sum((0,)), x.max((0,)), x.mean((0,))]))
        return total.expand(draw(st.sampled_from([VECTOR.shape, MATRIX.shape])))
    kind = draw(st.sampled_from(["sum", "max", "mean", "column", "softmax", "cumsum"]))
    if kind == "column":
        return x.sum((1,)).restore(x.shape, (1,))
    if kind == "softmax":
        return x.emit(draw(st.sampled_from(["softmax", "log_softmax"])), axis=1)
    if kind == "cumsum":
        return x.emit("cumsum", axis=0, reverse=draw(st.booleans()))
    rows: Tensor = getattr(x, kind)((0,))
    return rows


def _spread(draw: st.DrawFn, builder: Builder, pool: list[Tensor], x: Tensor) -> Tensor:
    return x if x.rank == 2 else x.broadcast(MATRIX.shape, (1,))


def _normalized(draw: st.DrawFn, builder: Builder, pool: list[Tensor], x: Tensor) -> Tensor:
    axes = (x.rank - 1,) if x.rank == 1 or draw(st.booleans()) else (0,)
    centred = x - x.mean(axes).restore(x.shape, axes)
    variance = (centred * centred).mean(axes) + 0.1
    return centred * variance.emit("rsqrt").restore(x.shape, axes)


def _product(draw: st.DrawFn, builder: Builder, pool: list[Tensor], x: Tensor) -> Tensor:
    if x.rank != 2:
        rows = matmul(draw(st.sampled_from(_matrices(pool))), x.reshape((COLUMNS, 1)))
        return rows.reshape((ROWS,)).restore(MATRIX.shape, (1,))
    other = draw(st.sampled_from(_matrices(pool)))
    weights = other.emit("dot", x, contract=((0,), (0,)), batch=((), ()))
    if draw(st.booleans()):
        return matmul(x, weights.emit("tanh").transpose((1, 0))) * 0.25
    return matmul(weights, x.transpose((1, 0))).transpose((1, 0)) * 0.1


def _rows(draw: st.DrawFn, builder: Builder, pool: list[Tensor], x: Tensor) -> Tensor:
    """Reading and writing at given places; indices are constants in their range."""
    places = np.array(draw(st.lists(st.integers(0, ROWS - 1), min_size=ROWS, max_size=ROWS)), "i4")
    index = builder.const(places, "i32")
    if x.rank != 2:
        return x
    kind = draw(st.sampled_from(["take", "take_along", "scatter"]))
    if kind == "take":
        return x.emit("take", index, axis=0)
    if kind == "scatter":
        return x.emit("scatter_add", index, x.emit("tanh"), axis=0)
    chosen = x.emit("log_softmax", axis=1).emit("take_along", index.reshape((ROWS, 1)), axis=1)
    return chosen.reshape((ROWS,)).restore(x.shape, (1,))


def _loop(draw: st.DrawFn, builder: Builder, pool: list[Tensor], x: Tensor) -> Tensor:
    """A recurrent cell over the rows of a matrix, with weights that all rounds share."""
    if x.rank != 2:
        return x
    others = _matrices(pool)
    weights = draw(st.sampled_from(others)).emit(
        "dot", draw(st.sampled_from(others)), contract=((0,), (0,)), batch=((), ())
    )
    row = x.type.with_shape((1, COLUMNS))

    def step(i: Tensor, h: Tensor, x: Tensor, w: Tensor) -> list[Tensor]:
        new = (matmul(x, w) * 0.2 + matmul(h, w.transpose((1, 0))) * 0.3).emit("tanh")
        return [new, new * x, matmul(new, w)]

    inner = body({"i": I32, "h": row, "x": row, "w": weights.type}, step)
    final, first, second = builder.emit(
        "scan", builder.full(0.5, "f64", row.shape), x.reshape((ROWS, 1, COLUMNS)), weights,
        body=inner, carries=1, sequences=1, axes=(0,), out_axes=(0, draw(st.sampled_from([0, 1]))),
        length=ROWS, reverse=draw(st.booleans()),
    )  # fmt: skip
    return draw(st.sampled_from([first, second])).reshape(x.shape) + final.reshape(
        VECTOR.shape
    ).restore(x.shape, (0,))


KINDS: tuple[Grow, ...] = (
    _unary, _binary, _number, _number, _quotient, _choice, _move, _move, _reduce, _spread,
    _normalized, _product, _rows, _loop,
)  # fmt: skip


@st.composite
def losses(draw: st.DrawFn) -> Graph:
    """Two matrices and two vectors of float64 -> `loss`, and `seen`: a value on the way."""
    builder = Builder(Graph("random"))
    types: list[TensorType] = [MATRIX, MATRIX, VECTOR, VECTOR]
    pool = [builder.input(f"x{i}", type) for i, type in enumerate(types)]
    for _ in range(draw(st.integers(1, 10))):
        x = draw(st.sampled_from(pool))
        pool.append(draw(st.sampled_from(KINDS))(draw, builder, pool, x))
    last = draw(st.lists(st.sampled_from(pool[4:]), min_size=1, max_size=3))
    total = sum((x.sum(tuple(range(x.rank))) for x in last[1:]), last[0].mean(_all(last[0])))
    builder.graph.outputs = {"loss": total.value, "seen": draw(st.sampled_from(pool)).value}
    return builder.graph


def _all(x: Tensor) -> tuple[int, ...]:
    return tuple(range(x.rank))


def arrays(graph: Graph) -> list[np.ndarray]:
    """Ordinary numbers for the inputs of `graph`."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=graph.node(id).type.shape) for id in graph.inputs]
