"""Data of programs: readers, transforms, splits and batches, on the host and in NumPy."""

from nnc.data.errors import CODES, DataError
from nnc.data.pipeline import Pipeline
from nnc.data.readers import READERS, Reader
from nnc.data.source import FieldSpec, Source
from nnc.data.transforms import TRANSFORMS, Transform

__all__ = [
    "CODES", "READERS", "TRANSFORMS", "DataError", "FieldSpec", "Pipeline", "Reader", "Source",
    "Transform",
]  # fmt: skip
