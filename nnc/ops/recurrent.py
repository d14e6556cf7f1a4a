"""A recurrent layer as a composite: an LSTM over a sequence, from zero.

Programs say it as a `scan`.  As one node each, the layer and its gradient can be what a framework
has a kernel for.  Gates are in the order input, forget, cell, output (Hochreiter & Schmidhuber
1997; Gers et al. 2000):

    i, f, g, o = split(x_t @ w + h @ u + b),  c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h' = sigmoid(o) * tanh(c')
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnc.ir.types import TensorType, same_shape
from nnc.ops.parts import differentiated, vjp_of_parts
from nnc.ops.registry import OpError, family

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

define = family("nn")


# ------------------------------------------------------------------------------------ type rules
def _lstm_infer(x: TensorType, w: TensorType, u: TensorType, b: TensorType) -> TensorType:
    dtypes = {type.dtype for type in (x, w, u, b)}
    if not x.is_float or len(dtypes) > 1:
        raise OpError(f"`lstm` needs floats of one type, not {x}, {w}, {u} and {b}")
    fits = (x.rank, w.rank, u.rank, b.rank) == (3, 2, 2, 1) and all(
        same_shape(type.shape, shape)
        for type, shape in (
            (w, (x.shape[-1], 4 * u.shape[0])),
            (u, (u.shape[0], 4 * u.shape[0])),
            (b, (4 * u.shape[0],)),
        )
    )
    if not fits:
        raise OpError(
            "`lstm` needs x [N, T, D], w [D, 4 H], u [H, 4 H] and b [4 H], "
            f"not {x}, {w}, {u} and {b}"
        )
    return x.with_shape((*x.shape[:2], u.shape[0]))


def _lstm_grad_infer(
    dy: TensorType, x: TensorType, w: TensorType, u: TensorType, b: TensorType, y: TensorType
) -> tuple[TensorType, TensorType, TensorType, TensorType]:
    made = _lstm_infer(x, w, u, b)
    for found in (dy, y):
        if found.dtype != made.dtype or not same_shape(found.shape, made.shape):
            raise OpError(f"this `lstm` gives {made}; its gradient cannot take {found}")
    return x, w, u, b


# -------------------------------------------------------------------------------- decompositions
def _lstm_decompose(x: Tensor, w: Tensor, u: Tensor, b: Tensor) -> Tensor:
    from nnc.ir.builder import Builder
    from nnc.ir.graph import Graph

    inner = Builder(Graph())
    size, width = x.shape[0], u.shape[0]
    state = x.type.with_shape((size, width))
    inner.input("iteration", TensorType("i32", ()))
    h, c = inner.input("h", state), inner.input("c", state)
    part = inner.input("x", x.type.with_shape((size, x.shape[2])))
    weights = [inner.input(name, z.type) for name, z in (("w", w), ("u", u), ("b", b))]
    new_h, new_c = _cell(part, h, c, *weights)
    inner.graph.outputs = {"h": new_h.value, "c": new_c.value, "hs": new_h.value}
    zero = x.builder.full(0, x.dtype, state.shape)
    made = x.builder.emit(
        "scan",
        *(zero, zero, x, w, u, b),
        body=inner.graph,
        carries=2,
        sequences=1,
        axes=(1,),
        out_axes=(1,),
        length=x.shape[1],
        reverse=False,
    )
    result: Tensor = made[2]
    return result


def _cell(
    x: Tensor, h: Tensor, c: Tensor, w: Tensor, u: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """The next h and c."""
    pairs: dict[str, Any] = {"contract": ((1,), (0,)), "batch": ((), ())}
    sums = x.emit("dot", w, **pairs) + h.emit("dot", u, **pairs)
    gates = sums + b.broadcast(sums.shape, (1,))
    width = h.shape[1]
    i, f, g, o = (
        gates.emit("slice", start=(0, k * width), stop=(h.shape[0], (k + 1) * width), step=(1, 1))
        for k in range(4)
    )
    new: Tensor = f.emit("sigmoid") * c + i.emit("sigmoid") * g.emit("tanh")
    return o.emit("sigmoid") * new.emit("tanh"), new


def _lstm_grad_decompose(
    dy: Tensor, x: Tensor, w: Tensor, u: Tensor, b: Tensor, y: Tensor
) -> tuple[Tensor, ...]:
    found = differentiated(_lstm_decompose, [dy], (x, w, u, b))
    return tuple(z for z in found if z is not None)


# ------------------------------------------------------------------------------------ evaluation
def _sigmoid(x: np.ndarray) -> np.ndarray:
    half = x.dtype.type(0.5)
    result: np.ndarray = half * (np.tanh(half * x) + x.dtype.type(1))
    return result


def _states(
    x: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray
) -> list[tuple[np.ndarray, ...]]:
    """i, f, g, o, c before, c, h before and h of each step."""
    h = c = np.zeros((x.shape[0], u.shape[0]), x.dtype)
    states: list[tuple[np.ndarray, ...]] = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ w + h @ u + b, 4, axis=1)
        i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
        before, c = c, f * c + i * g
        last, h = h, o * np.tanh(c)
        states.append((i, f, g, o, before, c, last, h))
    return states


def _lstm(x: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray) -> np.ndarray:
    hs = [state[-1] for state in _states(x, w, u, b)]
    empty = np.zeros((x.shape[0], 0, u.shape[0]), x.dtype)
    return np.stack(hs, axis=1) if hs else empty


def _lstm_grad(
    dy: np.ndarray, x: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, ...]:
    dx, dw, du, db = (np.zeros_like(z) for z in (x, w, u, b))
    dh = dc = np.zeros((x.shape[0], u.shape[0]), x.dtype)
    for t, (i, f, g, o, before, c, last, _) in reversed(list(enumerate(_states(x, w, u, b)))):
        dh = dh + dy[:, t]
        squashed = np.tanh(c)
        dc = dc + dh * o * (1 - squashed * squashed)
        gates = (dc * g * i * (1 - i), dc * before * f * (1 - f), dc * i * (1 - g * g))
        d = np.concatenate([*gates, dh * squashed * o * (1 - o)], axis=1)
        dx[:, t] = d @ w.T
        dw, du, db = dw + x[:, t].T @ d, du + last.T @ d, db + d.sum(0)
        dh, dc = d @ u.T, dc * f
    return dx, dw, du, db


# ------------------------------------------------------------------------------------- gradients
def _lstm_vjp(dy: Tensor, y: Tensor, *operands: Tensor) -> tuple[Tensor, ...]:
    found: tuple[Tensor, ...] = dy.emit("lstm_grad", *operands, y)
    return found


define(
    "lstm",
    infer=_lstm_infer,
    evaluate=_lstm,
    vjp=_lstm_vjp,
    decompose=_lstm_decompose,
    doc="All h [N, T, H] of a long short-term memory from zero over x [N, T, D], with w [D, 4 H], "
    "u [H, 4 H] and b [4 H], gates in the order input, forget, cell, output.",
)
define(
    "lstm_grad",
    infer=_lstm_grad_infer,
    evaluate=_lstm_grad,
    vjp=vjp_of_parts(_lstm_grad_decompose),
    decompose=_lstm_grad_decompose,
    doc="Cotangents of the x, w, u and b of an `lstm`, from dy, its operands and its result.",
)
