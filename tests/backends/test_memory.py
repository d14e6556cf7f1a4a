"""What every emitted file does about freed memory."""

import ctypes
import subprocess
import sys

import pytest

from nnc.emit.memory import keep_memory

FAULTS = """
import ctypes, resource
from nnc.emit.memory import keep_memory

library, size = ctypes.CDLL(None), 64 << 20
library.malloc.restype = ctypes.c_void_p

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    place = ctypes.c_void_p(library.malloc(ctypes.c_size_t(size)))
    ctypes.memset(place, 1, size)
    library.free(place)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_memory()
print(faults(), faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_that_was_freed_is_taken_again() -> None:
    run = [sys.executable, "-c", FAULTS]
    first, second = map(int, subprocess.check_output(run, text=True).split())
    assert first > 1000
    assert second < 100


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_a_c_library_may_have_no_mallopt(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_memory()
