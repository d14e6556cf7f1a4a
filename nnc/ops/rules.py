"""What type rules have in common: element types, equal shapes, axes.

Every function raises `OpError` in the user's terms; the elaborator adds the place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnc.ir.dims import Dim, equal, product, shape_text
from nnc.ir.types import DTYPES, FLOATS, INTEGERS, TensorType, numpy_dtype, same_shape
from nnc.ops.registry import OpError

NUMBERS = (*FLOATS, *INTEGERS)
LOGICAL = ("bool", *INTEGERS)

_KINDS = {
    FLOATS: "floats",
    INTEGERS: "integers",
    NUMBERS: "numbers",
    LOGICAL: "bool or integers",
    ("bool",): "bool",
}


def require_dtype(op: str, x: TensorType, kinds: tuple[str, ...]) -> None:
    if x.dtype not in kinds:
        raise OpError(f"`{op}` takes {_KINDS[kinds]}, not {x.dtype}")


def require_known_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise OpError(f"there is no element type {dtype}")


def require_same_dtype(x: TensorType, y: TensorType) -> None:
    if x.dtype != y.dtype:
        raise OpError(f"element types {x.dtype} and {y.dtype} differ")


def require_same_shape(x: tuple[Dim, ...], y: tuple[Dim, ...]) -> None:
    """Two shapes that must be proved equal."""
    if same_shape(x, y):
        return
    unknown = len(x) == len(y) and all(equal(a, b) is not False for a, b in zip(x, y, strict=True))
    verdict = "are not known to be equal" if unknown else "differ"
    raise OpError(f"shapes {shape_text(x)} and {shape_text(y)} {verdict}")


def require_same_type(x: TensorType, y: TensorType) -> None:
    require_same_dtype(x, y)
    require_same_shape(x.shape, y.shape)


def require_axis(op: str, axis: int, x: TensorType) -> None:
    if not 0 <= axis < x.rank:
        raise OpError(f"`{op}` over axis {axis} of {x}, which has {_axes_text(x.rank)}")


def require_axes(op: str, axes: Sequence[int], x: TensorType) -> None:
    """Distinct axes of `x`."""
    for axis in axes:
        require_axis(op, axis, x)
    if len(set(axes)) != len(axes):
        raise OpError(f"`{op}` names an axis twice: {tuple(axes)}")


def require_per_axis(op: str, attribute: str, entries: Sequence[Any], rank: int) -> None:
    if len(entries) != rank:
        raise OpError(f"`{op}` needs one {attribute} for each of {rank} axes, not {len(entries)}")


def is_negative(dim: Dim) -> bool:
    """Whether `dim` is known to be below zero; an unknown one is not."""
    return isinstance(dim, int) and dim < 0


def without(shape: tuple[Dim, ...], axes: Sequence[int]) -> tuple[Dim, ...]:
    """`shape` with these axes left out."""
    return tuple(dim for axis, dim in enumerate(shape) if axis not in axes)


def require_elements(op: str, shape: tuple[Dim, ...]) -> None:
    if product(shape) == 0:
        raise OpError(f"`{op}` of no elements")


def check_scalar(value: Any, dtype: str) -> None:
    """A Python number that an element of `dtype` can hold (floats round, integers must fit)."""
    if dtype == "bool":
        fits = isinstance(value, bool)
    elif dtype in INTEGERS:
        limits = np.iinfo(numpy_dtype(dtype))
        is_int = isinstance(value, int) and not isinstance(value, bool)
        fits = is_int and int(limits.min) <= value <= int(limits.max)
    else:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = is_number and _float_fits(value, dtype)
    if not fits:
        raise OpError(f"{value!r} is not a value of {dtype}")


def _float_fits(value: int | float, dtype: str) -> bool:
    # bf16 has the exponents of f32.
    largest = float(np.finfo(numpy_dtype(dtype)).max)
    return abs(value) <= largest or value != value or abs(value) == float("inf")


# ---------------------------------------------------------------- rules of elementwise ops
Rule = Callable[..., TensorType]


def unary(op: str, kinds: tuple[str, ...], result: str | None = None) -> Rule:
    """x -> a tensor of the same shape, of element type `result` or of x's own."""

    def infer(x: TensorType) -> TensorType:
        require_dtype(op, x, kinds)
        return x.with_dtype(result or x.dtype)

    return infer


def binary(op: str, kinds: tuple[str, ...], result: str | None = None) -> Rule:
    """x, y of one type -> a tensor of the same shape, of element type `result` or of x's own."""

    def infer(x: TensorType, y: TensorType) -> TensorType:
        require_same_type(x, y)
        require_dtype(op, x, kinds)
        return x.with_dtype(result or x.dtype)

    return infer


def _axes_text(rank: int) -> str:
    return f"{rank} axis" if rank == 1 else f"{rank} axes"
