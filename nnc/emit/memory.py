"""A function of emitted files that keeps memory between steps."""

import ctypes
import sys


def keep_memory() -> None:
    """Let glibc keep what one step frees for the next, where it is what allocates.

    It gives large arrays back to the system, where each new one costs a page fault for every 4 KiB:
    often more than computing what is in it.  A thread's heaps of 64 MB go back as a whole, unless
    more than that is to be left at their end.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 2**26)
        mallopt(mmap_threshold, 2**30)
