"""The program with steps as slow as those of a larger network, but without using the processor.

python slow_fit.py SECONDS_PER_STEP SECONDS_PER_TEST_BATCH fit ...
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from lightning_app.__main__ import main
from lightning_app.launchers.detection import this_launch
from models.classifier import ImageClassifier

training_step, test_step = ImageClassifier.training_step, ImageClassifier.test_step


def slow_step(module: ImageClassifier, batch: Any, batch_idx: int) -> Any:
    """A training step that takes its time, and says when it starts."""
    print("slow step", flush=True)
    time.sleep(float(sys.argv[1]))
    return training_step(module, batch, batch_idx)


def slow_test(module: ImageClassifier, batch: Any, batch_idx: int) -> None:
    """The same for a batch of the final test."""
    print("slow test", flush=True)
    time.sleep(float(sys.argv[2]))
    test_step(module, batch, batch_idx)


if __name__ == "__main__":
    cores = sorted(os.sched_getaffinity(0))  # two nodes may be this one host: a core for each rank
    os.sched_setaffinity(0, {cores[this_launch().global_rank % len(cores)]})
    ImageClassifier.training_step = slow_step  # type: ignore[method-assign]  # that is what this program is for
    ImageClassifier.test_step = slow_test  # type: ignore[method-assign]  # as above
    sys.exit(main(sys.argv[3:]))
