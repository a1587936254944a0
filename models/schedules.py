"""Learning-rate schedules that count optimizer steps."""

from __future__ import annotations

import math

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from models.errors import ModelError


class OneCycle(LRScheduler):
    """Up in a straight line to the optimizer's rate, down to zero along a cosine, once over the whole run.

    The length of the run is not an option: `set_total_steps` tells it before the first step.

    Args:
        optimizer: its learning rate is the peak.
        warmup: share of the run that goes up.
        start: rate at the first step, as a share of the peak.
    """

    def __init__(self, optimizer: Optimizer, warmup: float = 0.2, start: float = 0.04) -> None:
        if not 0 <= warmup < 1:
            raise ModelError(f"the schedule's warmup is {warmup}; expected a share of the run in [0, 1).")
        self.warmup, self.start = warmup, start
        self.total_steps = 1
        super().__init__(optimizer)

    def set_total_steps(self, total_steps: int) -> None:
        """Tell the schedule how many optimizer steps the run has."""
        self.total_steps = total_steps

    def get_lr(self) -> list[float | Tensor]:
        factor = self.factor(min(self.last_epoch / self.total_steps, 1.0))
        return [peak * factor for peak in self.base_lrs]

    def factor(self, progress: float) -> float:
        """The rate at a share of the run in [0, 1], relative to the peak."""
        if progress < self.warmup:
            return self.start + (1 - self.start) * progress / self.warmup
        return (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup))) / 2
