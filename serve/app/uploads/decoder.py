"""Large pictures are decoded in a process of their own.

A WebP of 40 megapixels takes a core for a second, and 0.15 s of that holds Python's lock, which would stop the whole
server (Pillow 12.3). The process gives way to the server where both want a core, and a picture that kills it costs
nobody else an answer.
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

NICENESS = 5  # beside others on a busy machine it should still get on
T = TypeVar("T")


def decoder_process() -> ProcessPoolExecutor:
    """One process, started with the first picture. Spawned: this one has threads, which a fork would not survive."""
    return ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"), initializer=prepare)


def prepare() -> None:
    """Leave the cores and the signals to the server, and end when it ends, however that is."""
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait for the parent's end: its side of a pool's queue is open here too, so that never ends by itself."""
    parent = parent_process()
    assert parent is not None, "this runs in a process that was spawned"
    connection.wait([parent.sentinel])
    os._exit(0)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What work gives, and the seconds that it took; here, since what runs in that process must not import Gradio."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started
