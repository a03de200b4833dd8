"""glibc's allocator, told about our traffic.

Requests are blocks of 100 kB to 16 MiB that live for milliseconds. glibc maps each block above a threshold (128 KiB
at first) anew and unmaps it after use, so that the kernel zeroes the same pages over and over; that alone costs a
receiver 20 to 40 % of its CPU. Raising the threshold keeps such blocks on the heap. Every arena (one for each thread,
by default up to eight for each core) would keep its own, so their number is limited too.

Why not the environment (`MALLOC_MMAP_THRESHOLD_`): it is read before `main`, so only a parent could set it.
"""

import ctypes
import platform
from typing import Final

# malloc.h
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

# HEAP_MAX_SIZE / 2, the largest that mallopt takes on 64-bit machines; above the 16 MiB that a request may have
MMAP_THRESHOLD_BYTES: Final = 32 << 20
# free memory at the top of the heap that is kept: what a full set of requests in flight needs
TRIM_THRESHOLD_BYTES: Final = 128 << 20
# the event loop's and one for all other threads
ARENAS: Final = 2


def tune_malloc() -> bool:
    """Set glibc's thresholds; call it before threads start. Return whether it took: False on other C libraries."""
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt.restype = ctypes.c_int
    wanted = (
        (_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES),
        (_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES),
        (_M_ARENA_MAX, ARENAS),
    )
    results = [mallopt(parameter, value) for parameter, value in wanted]
    return all(result == 1 for result in results)
