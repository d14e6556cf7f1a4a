"""Binary arrays: npy, npz and idx, read without pickle and with every damage named."""

import io
import math
import struct
import tokenize
import warnings
import zipfile
import zlib

import numpy as np

from nnc.data.errors import DataError
from nnc.language.diagnostics import suggest

#: What NumPy and zipfile raise for damaged or hostile files.
_DAMAGE = (
    ValueError, TypeError, OverflowError, OSError, EOFError, MemoryError, SyntaxError, RuntimeError,
    UserWarning, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

#: Type byte of an idx file -> element type (http://yann.lecun.com/exdb/mnist/).
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def npy(path: str, content: bytes) -> np.ndarray:
    """The array of an npy file."""
    if not content.startswith(b"\x93NUMPY"):
        raise DataError("E0504", f"`{path}` is not an npy file: its first bytes are others")
    try:
        with warnings.catch_warnings():
            # NumPy warns of a header that it had to repair, and goes on.
            warnings.simplefilter("error", UserWarning)
            return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except _DAMAGE as fault:
        if "Object arrays" in str(fault):
            raise DataError(
                "E0509",
                f"`{path}` holds Python objects, not numbers",
                help="save an array with one element type, e.g. `array.astype(numpy.float32)`",
            ) from None
        raise DataError("E0504", f"`{path}` is damaged: {fault}") from None


def npz(path: str, content: bytes, key: str | None) -> np.ndarray:
    """The array `key` of an npz file, or its only one."""
    if not content.startswith(b"PK"):
        raise DataError("E0504", f"`{path}` is not an npz file: its first bytes are others")
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except _DAMAGE as fault:
        raise DataError("E0504", f"`{path}` is damaged: {fault}") from None
    keys = [name.removesuffix(".npy") for name in archive.namelist()]
    if key is None and len(keys) != 1:
        listed = ", ".join(f'"{name}"' for name in keys)
        raise DataError(
            "E0508", f"`{path}` holds {len(keys)} arrays", help=f"name one of them: {listed}"
        )
    key = keys[0] if key is None else key
    if key not in keys:
        known = "its arrays are " + ", ".join(keys[:8])
        raise DataError("E0508", f"`{path}` has no array `{key}`", help=suggest(key, keys) or known)
    try:
        inner = archive.read(archive.namelist()[keys.index(key)])
    except _DAMAGE as fault:
        raise DataError("E0504", f"`{path}` is damaged at `{key}`: {fault}") from None
    return npy(f"{path}[{key}]", inner)


def idx(path: str, content: bytes) -> np.ndarray:
    """The array of an idx file, in the byte order of the machine."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise DataError("E0504", f"`{path}` is not an idx file: its magic number is another")
    dtype, rank = np.dtype(IDX_TYPES[content[2]]), content[3]
    start = 4 + 4 * rank
    if len(content) < start:
        raise DataError("E0504", f"`{path}` is truncated: it ends inside its header")
    shape = struct.unpack(f">{rank}I", content[4:start])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "too long"
        raise DataError(
            "E0504",
            f"`{path}` is {state}: {len(content)} bytes where {list(shape)} takes {expected}",
        )
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
