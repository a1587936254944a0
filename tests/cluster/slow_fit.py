"""The program with steps that take as long as those of a larger network, but leave the processor to others.

python slow_fit.py SECONDS_PER_STEP fit ...
"""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning_app.__main__ import main
from models.classifier import ImageClassifier

seconds = float(sys.argv[1])
training_step = ImageClassifier.training_step


def slow_step(module: ImageClassifier, batch: Any, batch_idx: int) -> Any:
    """A training step that takes its time, and says when it begins."""
    print("slow step", flush=True)
    time.sleep(seconds)
    return training_step(module, batch, batch_idx)


if __name__ == "__main__":
    ImageClassifier.training_step = slow_step  # type: ignore[method-assign]  # that is what this program is for
    sys.exit(main(sys.argv[2:]))
