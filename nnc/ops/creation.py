"""Ops without operands: inputs of a graph, constants, counting, and the value of a dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnc.ir.dims import Dim
from nnc.ir.graph import Array
from nnc.ir.types import TensorType, dtype_of, numpy_dtype
from nnc.ops.registry import OpError, family
from nnc.ops.rules import (
    NUMBERS,
    check_scalar,
    is_negative,
    require_axis,
    require_dtype,
    require_known_dtype,
)

define = family("creation")


def _infer_input(*, name: str, kind: str) -> TensorType:
    raise OpError(f"the type of the input `{name}` is declared, not inferred")


def _infer_const(*, value: Any, dtype: str) -> TensorType:
    require_known_dtype(dtype)
    if not isinstance(value, Array):
        check_scalar(value, dtype)
        return TensorType(dtype)
    if dtype_of(value.data) != dtype:
        raise OpError(f"an array of {dtype_of(value.data)} is not a constant of {dtype}")
    return TensorType(dtype, value.data.shape)


def _const(*, value: Any, dtype: str) -> np.ndarray:
    return value.data if isinstance(value, Array) else np.asarray(value, numpy_dtype(dtype))


def _infer_iota(*, shape: tuple[Dim, ...], axis: int, dtype: str) -> TensorType:
    result = TensorType(dtype, tuple(shape))
    require_axis("iota", axis, result)
    require_dtype("iota", result, NUMBERS)
    if any(map(is_negative, shape)):
        raise OpError(f"there is no array {result}")
    return result


def _iota(*, shape: tuple[int, ...], axis: int, dtype: str) -> np.ndarray:
    along = [1] * len(shape)
    along[axis] = shape[axis]
    counts: np.ndarray = np.arange(shape[axis], dtype=numpy_dtype(dtype)).reshape(along)
    return np.broadcast_to(counts, shape)


def _infer_size(*, dim: Dim, dtype: str) -> TensorType:
    result = TensorType(dtype)
    require_dtype("size", result, NUMBERS)
    return result


define("input", infer=_infer_input, doc="an argument of the graph; its type is declared")
define(
    "const",
    infer=_infer_const,
    evaluate=_const,
    doc="a scalar from a Python number, or a constant array",
)
define(
    "iota",
    infer=_infer_iota,
    evaluate=_iota,
    doc="0, 1, 2, ... along one axis, the same along the others",
)
define(
    "size",
    infer=_infer_size,
    evaluate=lambda *, dim, dtype: np.asarray(dim, numpy_dtype(dtype)),
    doc="the value of a dimension as a scalar",
)
