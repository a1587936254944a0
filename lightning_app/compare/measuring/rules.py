"""The rules of measuring in words, beside the constants that they state. Without torch: reports need none."""

from __future__ import annotations

WARM_UP = 3  # steps of a process
PAIRS = 4  # steps with communication, and as many without

RULES = (
    "Every mode is a process tree of its own that runs `fit` with the same recipe, global batch and order of images.",
    f"Not counted: the first {WARM_UP} steps of a process, and a step that began an epoch, came after a validation, or "
    "shared its time with a checkpoint.",
    "Data path: the time in which a step's batch is made (gather, augment, resample) on the training device, as a "
    "share of the step.",
    f"Communication: after the counted steps, {PAIRS} steps with and {PAIRS} without the exchange of gradients in "
    "turn, all ranks beginning each together; the share is what a step is shorter by, of the slowest rank. It "
    "includes what the exchange takes from the cores that compute. Its range is over the rounds; below zero it is less "
    "than the machine's noise.",
    "Memory: the sum of the processes' peaks.",
)
