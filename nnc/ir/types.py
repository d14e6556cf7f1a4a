"""The type of a value in the graph: an element type and a shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnc.ir.dims import Dim, equal, product, shape_text

#: nnc's element types and NumPy's.  bf16 has none in NumPy: see `numpy_dtype`.
NUMPY_DTYPES: dict[str, type] = {
    "f16": np.float16,
    "f32": np.float32,
    "f64": np.float64,
    "i32": np.int32,
    "i64": np.int64,
    "u16": np.uint16,
    "u32": np.uint32,
    "u64": np.uint64,
    "bool": np.bool_,
}
SHORT_FLOATS = ("bf16", "f16")
FLOATS = (*SHORT_FLOATS, "f32", "f64")
INTEGERS = ("i32", "i64", "u16", "u32", "u64")
DTYPES = (*FLOATS, *INTEGERS, "bool")


@dataclass(frozen=True, slots=True)
class TensorType:
    """`dtype[shape]`, e.g. `f32[64, 10]`; a scalar has the shape ()."""

    dtype: str
    shape: tuple[Dim, ...] = ()

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Dim:
        return product(self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def with_dtype(self, dtype: str) -> TensorType:
        return TensorType(dtype, self.shape)

    def with_shape(self, shape: tuple[Dim, ...]) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def __str__(self) -> str:
        return self.dtype + (shape_text(self.shape) if self.shape else "")


def same_shape(a: tuple[Dim, ...], b: tuple[Dim, ...]) -> bool:
    """Whether two shapes are proved equal."""
    if a == b:
        return True
    return len(a) == len(b) and all(equal(x, y) is True for x, y in zip(a, b, strict=True))


def numpy_dtype(dtype: str) -> type:
    """The element type of NumPy's arrays that hold values of `dtype`: float32 for bf16."""
    return np.float32 if dtype == "bf16" else NUMPY_DTYPES[dtype]


def dtype_of(array: np.ndarray | np.generic) -> str:
    """nnc's name for an array's element type; a TypeError for one that nnc has not."""
    for name, scalar in NUMPY_DTYPES.items():
        if array.dtype == scalar:
            return name
    raise TypeError(f"arrays of {array.dtype} are not supported")
