"""Keep freed memory in the process.

glibc returns large blocks to the kernel as soon as they are freed, and a training step frees hundreds of megabytes: the
next step faults every page in again. With the memory kept, a bf16 step of MobileNetV2 at 224 ran 1.6 times as fast on
two cores.
"""

from __future__ import annotations

import ctypes
import platform

# From malloc.h. M_MMAP_MAX=0 keeps large blocks on the heap: M_MMAP_THRESHOLD is capped at 32 MiB.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
NEVER = -1


def keep_freed_memory() -> str:
    """Tell glibc to keep freed memory; does nothing with another C library.

    Returns:
        What was done and why, for the log.
    """
    if platform.libc_ver()[0] != "glibc":
        return "memory: left to the C library (not glibc)"
    libc = ctypes.CDLL(None)
    done = libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, NEVER)
    if not done:
        return "memory: glibc refused to keep freed memory"
    return "memory: freed blocks are kept for the next step (glibc would return them to the kernel)"
