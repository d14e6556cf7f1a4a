"""The last step of a pipeline: values as the declared element type, or an error with the row."""

from collections.abc import Callable

import numpy as np

from nnc.data.errors import DataError
from nnc.ir.types import NUMPY_DTYPES


def cast(values: np.ndarray, dtype: str, place: Callable[[int], str]) -> np.ndarray:
    """`values` [N, ...] as a C-contiguous array of `dtype`; floats are rounded once.

    E0507 where a value is not finite, E0509 where one is lost: a fraction as an integer, a number
    out of range, anything but 0 and 1 as bool.
    """
    if dtype not in NUMPY_DTYPES:
        raise DataError(
            "E0509", f"data cannot be {dtype}", help="declare f32 and cast in the program"
        )
    if values.dtype.kind == "f":
        _refuse(~np.isfinite(values), values, place, "E0507", "is not finite after the transforms")
    target = np.dtype(NUMPY_DTYPES[dtype])
    if target.kind == "f":
        with np.errstate(over="ignore"):
            result = np.ascontiguousarray(values, target)
        if target.itemsize < 8 and values.dtype.kind == "f":
            _refuse(np.isinf(result), values, place, "E0509", f"is too large for {dtype}")
        return result
    if target.kind == "b":
        _refuse((values != 0) & (values != 1), values, place, "E0509", "is neither 0 nor 1")
    elif values.dtype.kind != "b":
        if values.dtype.kind == "f":
            _refuse(
                values != np.floor(values), values, place, "E0509", f"is no whole number ({dtype})"
            )
        _refuse(_outside(values, target), values, place, "E0509", f"is out of range for {dtype}")
    return np.ascontiguousarray(values, target)


def _outside(values: np.ndarray, target: np.dtype) -> np.ndarray:
    bounds = np.iinfo(target)
    if values.dtype.kind == "f":
        # 2^63 - 1 is no float64: compare with the powers of two.
        return (values < float(bounds.min)) | (values >= float(bounds.max) + 1.0)
    least, greatest = np.iinfo(values.dtype).min, np.iinfo(values.dtype).max
    below = values < bounds.min if least < bounds.min else np.zeros(values.shape, bool)
    return below | (values > bounds.max) if greatest > bounds.max else below


def _refuse(
    bad: np.ndarray, values: np.ndarray, place: Callable[[int], str], code: str, why: str
) -> None:
    if bad.any():
        index = tuple(np.argwhere(bad)[0])
        inside = f" at {[int(i) for i in index[1:]]}" if len(index) > 1 else ""
        raise DataError(code, f"{place(int(index[0]))}: {values[index].item()}{inside} {why}")
