"""`scan`: a loop over slices of sequences with values carried from step to step.

`body` has the inputs (iteration: i32, carries..., one slice a sequence, captures...) and the
outputs (carries..., one slice a stack).  The iteration is the index that the step reads, so a
reversed loop counts down.  The gradient is in `nnc.ops.scan_gradient`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnc.ir.dims import Dim, equal
from nnc.ir.graph import Graph
from nnc.ir.types import TensorType, same_shape
from nnc.ops.bodies import body_inputs, body_outputs, evaluate_body, require_given
from nnc.ops.registry import OpError, family

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

define = family("control")

Axes = tuple[int, ...]


def _scan_infer(
    *operands: TensorType,
    body: Graph,
    carries: int,
    sequences: int,
    axes: Axes,
    out_axes: Axes,
    length: Dim,
    reverse: bool,
) -> tuple[TensorType, ...]:
    if isinstance(length, int) and length < 1:
        raise OpError(f"a scan needs at least one step; this one has {length}")
    inputs, outputs = body_inputs(body), body_outputs(body)
    captures = len(operands) - carries - sequences
    if captures < 0 or len(inputs) != 1 + len(operands) or len(axes) != sequences:
        raise OpError(
            f"a scan of {carries} carries and {sequences} sequences over {len(operands)} operands "
            f"does not fit a body with {len(inputs)} inputs"
        )
    if len(outputs) != carries + len(out_axes):
        raise OpError(f"the body gives {len(outputs)} values for {carries + len(out_axes)} results")
    require_given("the iteration", inputs[0][1], TensorType("i32"))
    given = [*operands[:carries]]
    for (name, _), x, axis in zip(inputs[1 + carries :], operands[carries:], axes, strict=False):
        given.append(_slice(name, x, axis, length))
    given += operands[carries + sequences :]
    for (name, expected), type in zip(inputs[1:], given, strict=True):
        require_given(f"`{name}`, inside the scan,", expected, type)
    for (name, start), (_, end) in zip(inputs[1 : 1 + carries], outputs, strict=False):
        if start.dtype != end.dtype or not same_shape(start.shape, end.shape):
            raise OpError(f"the carry `{name}` starts as {start} and becomes {end}")
    stacks = [
        _stack(name, type, axis, length)
        for (name, type), axis in zip(outputs[carries:], out_axes, strict=True)
    ]
    return (*operands[:carries], *stacks)


def _slice(name: str, x: TensorType, axis: int, length: Dim) -> TensorType:
    """What one step sees of the sequence `x`."""
    if not 0 <= axis < x.rank:
        raise OpError(f"`{name}` is scanned over axis {axis}; {x} has {x.rank} axes")
    if equal(x.shape[axis], length) is not True:
        raise OpError(f"`{name}` has {x.shape[axis]} steps on axis {axis}; the scan takes {length}")
    return x.with_shape(x.shape[:axis] + x.shape[axis + 1 :])


def _stack(name: str, type: TensorType, axis: int, length: Dim) -> TensorType:
    if not 0 <= axis <= type.rank:
        raise OpError(f"`{name}` cannot be stacked on axis {axis}: each step gives {type}")
    return type.with_shape((*type.shape[:axis], length, *type.shape[axis:]))


def _scan(
    *operands: np.ndarray,
    body: Graph,
    carries: int,
    sequences: int,
    axes: Axes,
    out_axes: Axes,
    length: int,
    reverse: bool,
) -> tuple[np.ndarray, ...]:
    state = operands[:carries]
    moved = [np.moveaxis(x, axis, 0) for x, axis in zip(operands[carries:], axes, strict=False)]
    captures = operands[carries + sequences :]
    stacks: list[np.ndarray] = []
    for index in range(length - 1, -1, -1) if reverse else range(length):
        results = evaluate_body(
            body, (np.asarray(index, np.int32), *state, *(x[index] for x in moved), *captures)
        )
        state, slices = results[:carries], results[carries:]
        if not stacks:
            stacks = [np.empty((length, *part.shape), part.dtype) for part in slices]
        for stack, part in zip(stacks, slices, strict=True):
            stack[index] = part
    lying = (np.moveaxis(stack, 0, axis) for stack, axis in zip(stacks, out_axes, strict=True))
    return (*state, *map(np.ascontiguousarray, lying))


def _scan_vjp(
    dy: Tensor | Sequence[Tensor | None],
    y: Tensor | Sequence[Tensor],
    *xs: Tensor,
    wanted: Sequence[bool] | None = None,
    **attrs: Any,
) -> list[Tensor | None]:
    from nnc.ops.scan_gradient import scan_gradient

    return scan_gradient(
        list(dy) if isinstance(dy, Sequence) else [dy],
        list(y) if isinstance(y, Sequence) else [y],
        xs,
        [x.type.is_float for x in xs] if wanted is None else wanted,
        attrs,
    )


define(
    "scan",
    infer=_scan_infer,
    evaluate=_scan,
    vjp=_scan_vjp,
    doc="The final carries and the stacked outputs of a loop of `length` steps through `body`.",
)
