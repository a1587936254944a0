"""The rules of measuring in words, next to their constants. Without torch, because reports do not need it."""

from __future__ import annotations

WARM_UP = 3  # steps of a process
PAIRS = 4  # steps with communication, and as many without

RULES = (
    "Every mode runs `fit` in its own process tree, with the same recipe, global batch and order of images.",
    f"Not counted: the first {WARM_UP} steps of a process, and any step that starts an epoch, follows a validation, or "
    "shares its time with a checkpoint.",
    "Data path: the time it takes to make a step's batch (gather, augment, resample) on the training device, as a "
    "share of the step.",
    f"Communication: after the counted steps, {PAIRS} steps with and {PAIRS} without the exchange of gradients, "
    "alternating, with all ranks starting each step together. The share is how much shorter the slowest rank's step "
    "is without it, which includes the computing time that the exchange takes from the cores. Its range is over the "
    "rounds; a value below zero is within the machine's noise.",
    "Memory: the sum of the processes' peaks.",
)
