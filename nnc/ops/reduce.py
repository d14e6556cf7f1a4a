"""Sums, extrema and products over axes, and running sums.

A reduction over several axes sees their elements in row-major order: that order decides which of
equal extrema is the first, and gets the whole gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnc.ir.dims import product
from nnc.ir.types import TensorType
from nnc.ops.registry import OpError, family
from nnc.ops.rules import (
    NUMBERS,
    Rule,
    require_axes,
    require_axis,
    require_dtype,
    require_elements,
    without,
)

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

Cotangents = tuple["Tensor | None", ...]
Axes = tuple[int, ...]

define = family("reduce")


def _reduction(op: str, *, of_nothing: bool) -> Rule:
    """The rule of x, axes -> x without these axes; some reductions exist of no elements."""

    def infer(x: TensorType, *, axes: Axes) -> TensorType:
        require_dtype(op, x, NUMBERS)
        require_axes(op, axes, x)
        if not of_nothing:
            require_elements(op, tuple(x.shape[axis] for axis in axes))
        return x.with_shape(without(x.shape, axes))

    return infer


def _arg_reduction(op: str) -> Rule:
    def infer(x: TensorType, *, axis: int) -> TensorType:
        require_dtype(op, x, NUMBERS)
        require_axis(op, axis, x)
        require_elements(op, (x.shape[axis],))
        return TensorType("i32", without(x.shape, (axis,)))

    return infer


def _infer_cumsum(x: TensorType, *, axis: int, reverse: bool) -> TensorType:
    require_dtype("cumsum", x, NUMBERS)
    require_axis("cumsum", axis, x)
    return x


def _cumsum(x: np.ndarray, *, axis: int, reverse: bool) -> np.ndarray:
    if reverse:
        return np.flip(np.cumsum(np.flip(x, axis), axis, dtype=x.dtype), axis)
    return np.cumsum(x, axis, dtype=x.dtype)


# ---------------------------------------------------------------- gradients
def _order(rank: int, axes: Axes) -> tuple[int, ...]:
    """The permutation that puts `axes` last, in ascending order."""
    return (*(axis for axis in range(rank) if axis not in axes), *sorted(axes))


def _flatten(x: Tensor, axes: Axes) -> Tensor:
    """x [..., K] with `axes` as one last axis of K elements."""
    kept = without(x.shape, axes)
    return x.transpose(_order(x.rank, axes)).reshape(
        (*kept, product([x.shape[axis] for axis in axes]))
    )


def _unflatten(flat: Tensor, x: Tensor, axes: Axes) -> Tensor:
    """The inverse of `_flatten` for an array of x's shape."""
    order = _order(x.rank, axes)
    moved = flat.reshape(tuple(x.shape[axis] for axis in order))
    return moved.transpose(tuple(order.index(axis) for axis in range(x.rank)))


def _extremum_vjp(argument: str) -> Any:
    """The vjp of max or min: all to the first of the extrema, which `argument` finds."""

    def vjp(dy: Tensor, y: Tensor, x: Tensor, *, axes: Axes) -> Cotangents:
        if not axes:
            return (dy,)
        one = len(axes) == 1
        flat = x if one else _flatten(x, axes)
        axis = axes[0] if one else flat.rank - 1
        places = dy.builder.emit("iota", shape=flat.shape, axis=axis, dtype="i32")
        winner = flat.emit(argument, axis=axis).restore(flat.shape, (axis,))
        spread = places.equals(winner).where(dy.restore(flat.shape, (axis,)), 0.0)
        return (spread if one else _unflatten(spread, x, axes),)

    return vjp


def _running_product(x: Tensor) -> Tensor:
    """The product of all elements before each, along the last axis (Hillis and Steele's scan)."""
    count = x.shape[-1]
    if not isinstance(count, int):
        raise OpError(f"the gradient of `prod` over {count} elements needs their number")
    result = _shift(x, 1)
    distance = 1
    while distance < count:
        result = result * _shift(result, distance)
        distance *= 2
    return result


def _shift(x: Tensor, by: int) -> Tensor:
    """x moved by `by` places along the last axis, with ones before it."""
    start = (0,) * x.rank
    stop = (*x.shape[:-1], x.shape[-1] - by)
    kept = x.emit("slice", start=start, stop=stop, step=(1,) * x.rank)
    return kept.emit("pad", low=(*start[:-1], by), high=start, value=1)


def _prod_vjp(dy: Tensor, y: Tensor, x: Tensor, *, axes: Axes) -> Cotangents:
    # The product of all others as those before times those after: right where elements are zero,
    # and again after a second differentiation, where y / x is not.
    if not axes or 0 in x.shape:
        return (dy.restore(x.shape, axes),)
    flat = _flatten(x, axes)
    last = (flat.rank - 1,)
    after = _running_product(flat.emit("reverse", axes=last)).emit("reverse", axes=last)
    others = _running_product(flat) * after
    return (_unflatten(dy.restore(flat.shape, last) * others, x, axes),)


def _sum_vjp(dy: Tensor, y: Tensor, x: Tensor, *, axes: Axes) -> Cotangents:
    return (dy.restore(x.shape, axes),)


define(
    "sum",
    infer=_reduction("sum", of_nothing=True),
    evaluate=lambda x, *, axes: np.sum(x, axes, dtype=x.dtype),
    vjp=_sum_vjp,
    doc="the sum over these axes, in the element type of x",
)
define(
    "prod",
    infer=_reduction("prod", of_nothing=True),
    evaluate=lambda x, *, axes: np.prod(x, axes, dtype=x.dtype),
    vjp=_prod_vjp,
    doc="the product over these axes, in the element type of x",
)
define(
    "max",
    infer=_reduction("max", of_nothing=False),
    evaluate=lambda x, *, axes: np.max(x, axes),
    vjp=_extremum_vjp("argmax"),
    doc="the largest over these axes; nan if any is; the gradient goes to the first",
)
define(
    "min",
    infer=_reduction("min", of_nothing=False),
    evaluate=lambda x, *, axes: np.min(x, axes),
    vjp=_extremum_vjp("argmin"),
    doc="the smallest over these axes; nan if any is; the gradient goes to the first",
)
for _name, _evaluate, _doc in (
    ("argmax", np.argmax, "the place of the first largest along an axis"),
    ("argmin", np.argmin, "the place of the first smallest along an axis"),
):
    define(
        _name,
        infer=_arg_reduction(_name),
        evaluate=lambda x, *, axis, find=_evaluate: np.asarray(find(x, axis), np.int32),
        zero_gradient=True,
        doc=_doc,
    )
define(
    "cumsum",
    infer=_infer_cumsum,
    evaluate=_cumsum,
    vjp=lambda dy, y, x, *, axis, reverse: (dy.emit("cumsum", axis=axis, reverse=not reverse),),
    doc="the sum of each element and those before it (after it, with `reverse`) along an axis",
)
