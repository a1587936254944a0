"""Learning-rate schedules that count optimizer steps, and know the length of the run."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, SequentialLR

from models.errors import ModelError

AUTO = "auto"


class OneCycle(LRScheduler):
    """Linearly up to the optimizer's rate, then down to zero along a cosine, once over the whole run.

    The length of the run is not an option: `set_total_steps` sets it before the first step.

    Args:
        optimizer: its learning rate is the peak.
        warmup: share of the run in which the rate rises.
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


class PerStep(LRScheduler):
    """torch schedules that step with the optimizer: one, several in sequence, or several multiplied.

    Args:
        optimizer: its learning rate is the starting rate.
        schedules: each with `class_path` and `init_args`, without the optimizer; `auto` for the steps of the run.
        milestones: when the next schedule takes over, as in SequentialLR: optimizer steps, or a share of the run (below
            1). Without, several schedules are multiplied, as in ChainedScheduler.

    A warm-up of 500 steps and a cosine over the run:

        class_path: models.schedules.PerStep
        init_args:
          schedules:
            - {class_path: torch.optim.lr_scheduler.LinearLR, init_args: {start_factor: 0.01, total_iters: 500}}
            - {class_path: torch.optim.lr_scheduler.CosineAnnealingLR, init_args: {T_max: auto}}
          milestones: [500]
    """

    def __init__(
        self, optimizer: Optimizer, schedules: list[dict[str, Any]], milestones: list[float] | None = None
    ) -> None:
        # Not LRScheduler's constructor: the schedules are created once the length of the run is known, and do the work.
        self.optimizer, self.schedules, self.milestones = optimizer, schedules, milestones
        if not schedules:
            raise ModelError("model.lr_scheduler.schedules is empty; expected at least one schedule.")
        if milestones is not None and len(milestones) != len(schedules) - 1:
            raise ModelError(
                f"model.lr_scheduler has {len(schedules)} schedules and {len(milestones)} milestones; expected "
                f"{len(schedules) - 1}."
            )

    def set_total_steps(self, total_steps: int) -> None:
        """Create the schedules for a run of this many optimizer steps."""
        made = [make_schedule(self.optimizer, each, total_steps) for each in self.schedules]
        self.inner: LRScheduler | SequentialLR | ChainedScheduler = made[0]
        if self.milestones:
            at = [round(each * total_steps) if each < 1 else int(each) for each in self.milestones]
            self.inner = SequentialLR(self.optimizer, made, at)
        elif len(made) > 1:
            self.inner = ChainedScheduler(made, self.optimizer)

    def step(self, epoch: int | None = None) -> None:
        """As in torch, after an optimizer step."""
        self.inner.step()

    def get_last_lr(self) -> list[float | Tensor]:
        return self.inner.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner.load_state_dict(state_dict)


def make_schedule(optimizer: Optimizer, schedule: dict[str, Any], total_steps: int) -> LRScheduler:
    """A schedule from its class_path and init_args.

    Raises:
        ModelError: the class does not exist, or does not accept these arguments.
    """
    kind = schedule_class(schedule.get("class_path", ""))
    options = {key: total_steps if value == AUTO else value for key, value in (schedule.get("init_args") or {}).items()}
    try:
        return kind(optimizer, **options)
    except (TypeError, ValueError) as error:
        raise ModelError(f"model.lr_scheduler: {kind.__name__} cannot be created ({error}).") from error


def schedule_class(class_path: str) -> type[LRScheduler]:
    """A class by its path; without a module, torch's of this name."""
    module, _, name = class_path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module or "torch.optim.lr_scheduler"), name)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"model.lr_scheduler has no schedule {class_path!r} ({error}).") from error
    if not (isinstance(kind, type) and issubclass(kind, LRScheduler)):
        raise ModelError(f"model.lr_scheduler: {class_path} is not a torch schedule.")
    return kind


def steps_of_run(
    batches: int, max_epochs: int | None, max_steps: int, accumulate: Sequence[tuple[int, int]] = ((0, 1),)
) -> int | None:
    """Optimizer steps of a run; None if its end is unknown.

    Args:
        batches: per epoch.
        max_epochs: None or -1 for no limit.
        max_steps: -1 for no limit.
        accumulate: (first epoch, batches per step), ascending, from 0 on.
    """
    limits = [max_steps] if max_steps >= 0 else []
    if max_epochs is not None and max_epochs >= 0:
        ends = [*(first for first, _ in accumulate[1:]), max_epochs]
        by_part = [
            -(-batches // factor) * max(min(end, max_epochs) - first, 0)
            for (first, factor), end in zip(accumulate, ends, strict=True)
        ]
        limits.append(sum(by_part))
    return min(limits, default=None)
