"""Pipes that nobody reads."""

from __future__ import annotations

import fcntl
import os


def dead_pipe() -> int:
    """Where mpirun was reading before it was killed."""
    read, write = os.pipe()
    os.close(read)
    return write


def full_pipe() -> int:
    """Where mpirun no longer reads, because it was stopped."""
    _, write = os.pipe()
    os.write(write, bytes(fcntl.fcntl(write, fcntl.F_GETPIPE_SZ)))
    return write
