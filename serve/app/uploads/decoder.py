"""Decodes large pictures in a separate process.

A WebP of 40 megapixels takes a core for a second, and holds the GIL for 0.15 s of that, which would stop the whole
server (Pillow 12.3). The process has a lower priority than the server, and a picture that crashes it affects no other
request.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection, get_context, parent_process
from threading import Thread
from typing import TypeVar

NICENESS = 5  # low enough that decoding still progresses on a busy machine
T = TypeVar("T")


def decoder_process() -> ProcessPoolExecutor:
    """One process, started with the first picture; spawned, because a fork of a process with threads is not safe."""
    return ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"), initializer=prepare)


def prepare() -> None:
    """Lower the priority, leave signals to the server, and end when the server ends, however it ends."""
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Exit when the parent ends; the pool's queue does not show that, since its other end is open here too."""
    parent = parent_process()
    assert parent is not None, "this runs in a process that was spawned"
    connection.wait([parent.sentinel])
    os._exit(0)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result of work, and its seconds; defined here because the decoder process must not import Gradio."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started
