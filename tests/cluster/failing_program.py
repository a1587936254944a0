"""The program, with one rank that fails in a chosen way.

Run under any launcher: python failing_program.py FAULT RANK fit --config ...

It writes the time of the fault to the file $FAILING_WHEN, and everything that its ranks print, in order, to
$FAILING_SAID: launchers mix in their own lines.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from lightning_app.__main__ import main
from lightning_app.launchers.detection import this_launch

FAILING_STEP = 3
MESSAGE = "this rank was told to fail"


class Overheard:
    """A stream that is also written to a file, as long as it works."""

    def __init__(self, stream: TextIO, path: str) -> None:
        self._stream = stream
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, text: str) -> int:
        if os.fstat(self._stream.fileno()).st_rdev != os.stat(os.devnull).st_rdev:
            os.write(self._file, text.encode())
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def now() -> None:
    """The fault starts."""
    Path(os.environ["FAILING_WHEN"]).write_text(str(time.time()))


def raise_in_step() -> None:
    """An unexpected error, while the other ranks are in the same step."""

    def fault() -> None:
        now()
        raise RuntimeError(MESSAGE)

    fail_in_step(fault)


def kill_in_step() -> None:
    """What the kernel does when memory runs out."""

    def fault() -> None:
        now()
        os.kill(os.getpid(), signal.SIGKILL)

    fail_in_step(fault)


def raise_and_hang() -> None:
    """As above, and then teardown waits for the others: on a GPU it does, for their part of an all-reduce."""
    from models.classifier import ImageClassifier

    raise_in_step()
    ImageClassifier.teardown = lambda self, stage: time.sleep(600)  # type: ignore[method-assign]  # the fault


def raise_in_data() -> None:
    """Data that only this rank cannot read, before it meets the others."""
    from datamodules.datamodule import ImageData
    from datamodules.errors import DataError

    def packed(self: ImageData) -> Any:
        now()
        raise DataError(MESSAGE)

    ImageData.packed = property(packed)  # type: ignore[assignment,method-assign]  # the fault


def never_start() -> None:
    """A rank that hangs before it does anything."""
    now()
    time.sleep(600)


def fail_in_step(fault: Any) -> None:
    """Make this rank's training step fail."""
    from models.classifier import ImageClassifier

    step = ImageClassifier.training_step

    def failing_step(self: ImageClassifier, batch: Any, batch_idx: int) -> Any:
        if batch_idx == FAILING_STEP:
            fault()
        return step(self, batch, batch_idx)

    ImageClassifier.training_step = failing_step  # type: ignore[method-assign]  # the fault


FAULTS = {
    "raise": raise_in_step,
    "hang": raise_and_hang,
    "kill": kill_in_step,
    "data": raise_in_data,
    "absent": never_start,
}

if __name__ == "__main__":
    fault, rank, *args = sys.argv[1:]
    sys.stdout = Overheard(sys.stdout, os.environ["FAILING_SAID"])
    sys.stderr = Overheard(sys.stderr, os.environ["FAILING_SAID"])
    if this_launch().global_rank == int(rank):
        FAULTS[fault]()
    sys.exit(main(args))
