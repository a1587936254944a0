"""When a checkpoint is due."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from lightning_app.checkpointing.best import LOWER_IS_BETTER, Mode
from lightning_app.errors import UsageError

RETRY_SHARE = 0.1  # factor on the steps and minutes between two, after one that could not be written


@dataclass(frozen=True)
class SavingOptions:
    """When checkpoints are written, how many are kept, and which is the best. The last is always written.

    Args:
        every_n_steps: optimizer steps between two checkpoints.
        every_n_minutes: minutes between two checkpoints; whichever comes first.
        keep: how many of the newest to keep, besides the best.
        max_share: largest share of the run time spent on checkpoints; they become rarer rather than exceed it.
        monitor: the validation metric that chooses the best checkpoint.
        mode: whether the best checkpoint has the highest (max) or the lowest (min) value.
    """

    every_n_steps: int = 1000
    every_n_minutes: float = 10.0
    keep: int = 2
    max_share: float = 0.01
    monitor: str = "val/acc"
    mode: Mode = "max"

    def __post_init__(self) -> None:
        if self.every_n_steps < 1 or self.keep < 1:
            raise UsageError("--checkpoint.every_n_steps and --checkpoint.keep have to be 1 or more.")
        if self.every_n_minutes <= 0 or not 0 < self.max_share <= 1:
            raise UsageError("--checkpoint.every_n_minutes has to be above 0, and --checkpoint.max_share in (0, 1].")
        if self.mode == "max" and self.monitor in LOWER_IS_BETTER:
            raise UsageError(
                f"checkpoint.monitor is {self.monitor} and checkpoint.mode is max, which would keep the worst "
                "checkpoint; add --checkpoint.mode min."
            )


class SavingClock:
    """Counts steps, minutes and the cost of checkpoints.

    Args:
        options: when.
        step: optimizer steps done before training starts.
        now: a clock in seconds, with any origin.
    """

    def __init__(self, options: SavingOptions, step: int, now: Callable[[], float] = time.monotonic) -> None:
        self.options, self.now = options, now
        self.step = step
        self.started = self.saved = self.now()
        self.cost_s = self.spent_s = 0.0  # of the last one; of all
        self.written = self.kept = 0

    def due(self, step: int) -> bool:
        """Whether to save at this boundary."""
        now = self.now()
        due = step - self.step >= self.options.every_n_steps or now - self.saved >= 60 * self.options.every_n_minutes
        to_come = 2 * self.cost_s  # this one and the final one, which is always written
        return due and self.spent_s + to_come <= self.options.max_share * (now - self.started + to_come)

    def wrote(self, step: int, began: float) -> None:
        """Record a checkpoint that was started at a time of this clock."""
        self._tried(step, began)
        self.written += 1

    def failed(self, step: int, began: float) -> None:
        """Record one that could not be written: the next is due after a tenth of the usual interval."""
        self._tried(step, began)
        self.step -= int((1 - RETRY_SHARE) * self.options.every_n_steps)
        self.saved -= (1 - RETRY_SHARE) * 60 * self.options.every_n_minutes

    def _tried(self, step: int, began: float) -> None:
        self.step, self.saved = step, self.now()
        self.cost_s = self.saved - began
        self.spent_s += self.cost_s

    def kept_in_memory(self, began: float) -> None:
        """Record one that is not written yet."""
        self.spent_s, self.kept = self.spent_s + self.now() - began, self.kept + 1

    def summary(self) -> str:
        """How many there were, and what they cost."""
        share = self.spent_s / max(self.now() - self.started, 1e-9)
        return (
            f"saved {self.written} times, and kept the best in memory {self.kept} times, in {self.spent_s:.2f} s: "
            f"{share:.2%} of the training time"
        )
