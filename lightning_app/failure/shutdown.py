"""Ending this process without depending on anything, neither on a reader of its output nor on exit hooks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
import termios
import threading
import time
from collections.abc import Callable
from typing import NoReturn

PRINT_SECONDS = 3.0  # how long a pipe that nobody reads may delay the exit


def attempt(output: Callable[[], object], seconds: float = PRINT_SECONDS) -> None:
    """Print something, unless that fails or blocks.

    A killed launcher leaves pipes without a reader; a stopped one leaves them full.
    """

    def run() -> None:
        with contextlib.suppress(OSError, ValueError):  # no reader, a full disk; a closed stream
            output()

    printing = threading.Thread(target=run, name="last output", daemon=True)
    printing.start()
    printing.join(seconds)


def print_error(line: str) -> None:
    """Print the error of this job, or of this process, if anyone can read it."""
    attempt(lambda: print(f"error: {line}", file=sys.stderr, flush=True))


def wait_until_read(seconds: float) -> None:
    """Wait until the launcher has read all of our stderr, if that is a pipe: unread output is lost when it exits."""
    deadline = time.monotonic() + seconds
    while unread(2) and time.monotonic() < deadline:
        time.sleep(0.01)


def unread(stream: int) -> int:
    """Bytes in a pipe that wait for a reader; 0 if nobody will read them."""
    try:
        if not stat.S_ISFIFO(os.fstat(stream).st_mode):
            return 0
        return int.from_bytes(fcntl.ioctl(stream, termios.FIONREAD, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def silence() -> None:
    """Print nothing from here on, not even from C++."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(null, stream)


def hard_exit(code: int) -> NoReturn:
    """Exit without exit hooks: those of MPI and NCCL would wait for dead ranks."""
    for stream in (sys.stdout, sys.stderr):
        attempt(stream.flush)
    os._exit(code)
