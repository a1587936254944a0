"""The program, with one rank that fails in a way of our choosing.

Run under any launcher: python failing_program.py FAULT RANK fit --config ...
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from lightning_app.__main__ import main
from lightning_app.launch import this_launch

FAILING_STEP = 3
MESSAGE = "this rank was told to fail"


def raise_in_step() -> None:
    """An error that nobody foresaw, while the other ranks are in the same step."""
    fail_in_step(lambda: (_ for _ in ()).throw(RuntimeError(MESSAGE)))


def kill_in_step() -> None:
    """What the kernel does for want of memory."""
    fail_in_step(lambda: os.kill(os.getpid(), signal.SIGKILL))


def raise_in_data() -> None:
    """Data that this rank alone cannot read, before it meets the others."""
    from datamodules.errors import DataError
    from datamodules.images import ImageData

    def packed(self: ImageData) -> Any:
        raise DataError(MESSAGE)

    ImageData.packed = property(packed)  # type: ignore[assignment,method-assign]  # the fault


def never_start() -> None:
    """A rank that hangs before it does anything."""
    time.sleep(600)


def fail_in_step(fault: Any) -> None:
    """Let the training step of this rank fail."""
    from models.classifier import ImageClassifier

    step = ImageClassifier.training_step

    def failing_step(self: ImageClassifier, batch: Any, batch_idx: int) -> Any:
        if batch_idx == FAILING_STEP:
            fault()
        return step(self, batch, batch_idx)

    ImageClassifier.training_step = failing_step  # type: ignore[method-assign]  # the fault


FAULTS = {"raise": raise_in_step, "kill": kill_in_step, "data": raise_in_data, "absent": never_start}

if __name__ == "__main__":
    fault, rank, *args = sys.argv[1:]
    if this_launch().global_rank == int(rank):
        FAULTS[fault]()
    sys.exit(main(args))
