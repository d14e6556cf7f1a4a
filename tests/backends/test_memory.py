"""What every emitted file does about freed memory."""

import ctypes
import subprocess
import sys

import pytest

from nnc.emit.memory import keep_memory

FAULTS = """
import ctypes, resource, sys, threading
from nnc.emit.memory import keep_memory

library, size = ctypes.CDLL(None), int(sys.argv[1])
library.malloc.restype = ctypes.c_void_p

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    place = ctypes.c_void_p(library.malloc(ctypes.c_size_t(size)))
    ctypes.memset(place, 1, size)
    library.free(place)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def work():
    library.malloc(ctypes.c_size_t(int(sys.argv[2])))  # so that what follows is in another heap
    print(faults(), faults())

keep_memory()
if int(sys.argv[2]):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
else:
    print(faults(), faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
@pytest.mark.parametrize(
    ("size", "heap"), [(64 << 20, 0), (40 << 20, 40 << 20)], ids=["process", "thread"]
)
def test_memory_that_was_freed_is_taken_again(size: int, heap: int) -> None:
    """A thread whose first heap is taken gets another, which holds nothing else."""
    run = [sys.executable, "-c", FAULTS, str(size), str(heap)]
    first, second = map(int, subprocess.check_output(run, text=True).split())
    assert first > 1000
    assert second < 100


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_a_c_library_may_have_no_mallopt(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_memory()
