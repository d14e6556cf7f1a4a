"""Ops about the graph itself: where gradients go, calls, and `gradient`; `scan` joins them.

The gradients of ops with a body are graphs made from that body by `nnc.ir.reverse`, which is
imported when needed, because it knows all ops.  Such an op's vjp also gets `wanted`: the operands
whose cotangents are read (None: all of the floats), since what a body computes in vain is hard to
see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnc.ir.graph import Graph
from nnc.ir.types import TensorType
from nnc.ops import scan as scan
from nnc.ops.bodies import (
    body_inputs,
    body_outputs,
    evaluate_body,
    fresh_name,
    input_values,
    require_given,
)
from nnc.ops.registry import OpError, family
from nnc.ops.rules import require_same_type

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

define = family("control")


define(
    "stop_gradient",
    infer=lambda x: x,
    evaluate=lambda x: x,
    zero_gradient=True,
    doc="x, through which no gradient passes.",
)


def _with_gradient_infer(value: TensorType, via: TensorType) -> TensorType:
    require_same_type(value, via)
    return value


define(
    "with_gradient",
    infer=_with_gradient_infer,
    evaluate=lambda value, via: value,
    vjp=lambda dy, y, value, via: (None, dy),
    doc="`value`, whose cotangent goes to `via` alone.",
)


def _barrier_infer(*xs: TensorType) -> TensorType | tuple[TensorType, ...]:
    if not xs:
        raise OpError("a barrier needs something to hold back")
    return xs if len(xs) > 1 else xs[0]


define(
    "barrier",
    infer=_barrier_infer,
    evaluate=lambda *xs: xs if len(xs) > 1 else xs[0],
    vjp=lambda dy, y, *xs: tuple(dy) if len(xs) > 1 else (dy,),
    decompose=lambda *xs: xs if len(xs) > 1 else xs[0],
    doc="The operands, none of which a compiler may use before all of them are there.",
)


def _on_gradient_infer(x: TensorType, *captures: TensorType, body: Graph) -> TensorType:
    (result,) = _call_infer(x, *captures, body=body)
    require_same_type(x, result)
    return x


def _on_gradient_vjp(
    dy: Tensor, y: Tensor, x: Tensor, *captures: Tensor, body: Graph, **_: object
) -> list[Tensor | None]:
    from nnc.ir.splice import inline

    (changed,) = inline(x.builder, body, [dy, *captures])
    return [changed, *(None for _ in captures)]


define(
    "on_gradient",
    infer=_on_gradient_infer,
    evaluate=lambda x, *captures, body: x,
    vjp=_on_gradient_vjp,
    doc="x, whose cotangent passes through the graph `body` (cotangent, captures...) -> cotangent.",
)


# ------------------------------------------------------------------------------------------ call
def _call_infer(*operands: TensorType, body: Graph) -> tuple[TensorType, ...]:
    inputs = body_inputs(body)
    if len(inputs) != len(operands):
        raise OpError(f"`{body.name}` takes {len(inputs)} values, not {len(operands)}")
    for (name, expected), given in zip(inputs, operands, strict=True):
        require_given(f"`{name}` of `{body.name}`", expected, given)
    return tuple(type for _, type in body_outputs(body))


def _call(*operands: np.ndarray, body: Graph) -> tuple[np.ndarray, ...]:
    return evaluate_body(body, operands)


def _call_vjp(
    dy: Tensor | Sequence[Tensor | None],
    y: Tensor | Sequence[Tensor],
    *xs: Tensor,
    body: Graph,
    wanted: Sequence[bool] | None = None,
) -> list[Tensor | None]:
    """A call of the body's own gradient, which computes again what it needs of the body."""
    from nnc.ir.builder import Builder
    from nnc.ir.reverse import vjp

    dys = list(dy) if isinstance(dy, Sequence) else [dy]
    chosen = [i for i, x in enumerate(xs) if (wanted[i] if wanted else x.type.is_float)]
    joint = body.copy()
    joint.name = f"d_{body.name}"
    inner = Builder(joint)
    taken = set(joint.input_names)
    given = [(name, v, ct) for (name, v), ct in zip(body.outputs.items(), dys, strict=True) if ct]
    cotangents = vjp(
        inner,
        [inner.tensor(value) for _, value, _ in given],
        [inner.input(fresh_name(f"d_{name}", taken), ct.type) for name, _, ct in given],
        [inner.tensor(input_values(body)[i]) for i in chosen],
    )
    found = {i: ct for i, ct in zip(chosen, cotangents, strict=True) if ct is not None}
    if not found:
        return [None] * len(xs)
    joint.outputs = {f"d_{body.input_names[i]}": ct.value for i, ct in found.items()}
    results = xs[0].emit("call", *xs[1:], *(ct for _, _, ct in given), body=joint)
    by_operand = dict(zip(found, results, strict=True))
    return [by_operand.get(i) for i in range(len(xs))]


define(
    "call",
    infer=_call_infer,
    evaluate=_call,
    vjp=_call_vjp,
    doc="The outputs of the graph `body` for the operands as its inputs.",
)


# -------------------------------------------------------------------------------------- gradient
def _gradient_infer(y: TensorType, *wrt: TensorType) -> tuple[TensorType, ...]:
    if y.rank:
        raise OpError(f"gradient needs a scalar; this is {y}; sum or mean it first")
    if not y.is_float:
        raise OpError(f"gradient needs a float scalar; this is {y}")
    for x in wrt:
        if not x.is_float:
            raise OpError(f"only floats have gradients; this is {x}")
    return wrt


define(
    "gradient",
    infer=_gradient_infer,
    doc="The gradient of the scalar y in each of the other operands; the autodiff pass expands it.",
)
