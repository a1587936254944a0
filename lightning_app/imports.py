"""Importing torch, torchmetrics and Lightning takes most of the time that a short command takes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

UNUSED = "scipy.signal"


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import torchmetrics, and let the block import the rest, in less time.

    Meanwhile, nothing looks for garbage: imports leave none. And torchmetrics 1.9 does not get the real scipy.signal,
    which brings most of scipy: it only adds an old name to it, for a metric of speech. Whoever imports scipy.signal
    later gets the real one.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        if UNUSED not in sys.modules:
            stand_in = ModuleType(UNUSED)
            stand_in.hamming = None  # type: ignore[attr-defined]  # what torchmetrics would add
            sys.modules[UNUSED] = stand_in
            try:
                import torchmetrics  # noqa: F401
            finally:
                del sys.modules[UNUSED]
        yield
    finally:
        if collects:
            gc.enable()
