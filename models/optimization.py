"""From the user's factories to an optimizer and a schedule that Lightning can step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau

from models.errors import ModelError
from models.schedules import OneCycle, PerStep, steps_of_run

PER_STEP = (OneCycleLR, CyclicLR)  # torch's own that are defined per step; its others count epochs


def make_optimizer(
    factory: Callable[[Any], Optimizer], trained: list[nn.Parameter], head: list[nn.Parameter], head_lr_factor: float
) -> Optimizer:
    """The optimizer of what is trained; the head is a group of its own only where its rate is another one.

    Raises:
        ModelError: the factory refuses its options or these parameters.
    """
    try:
        if head_lr_factor == 1:
            return factory(trained)
        of_head = {id(parameter) for parameter in head}
        rest = [parameter for parameter in trained if id(parameter) not in of_head]
        parts = (("backbone", rest), ("head", head))
        optimizer = factory([{"name": name, "params": params} for name, params in parts if params])
    except (TypeError, ValueError) as error:
        raise ModelError(f"model.optimizer cannot be made ({error}).") from error
    optimizer.param_groups[-1]["lr"] *= head_lr_factor
    return optimizer


def schedule_config(scheduler: Any, trainer: pl.Trainer, head_lr_factor: float) -> dict[str, Any]:
    """A schedule as Lightning takes it, told the length of the run where it needs that.

    Raises:
        ModelError: it does not go with the run, or nothing says how long that is.
    """
    if isinstance(scheduler, ReduceLROnPlateau):
        return {"scheduler": scheduler, "monitor": getattr(scheduler, "monitor", "val/loss")}  # Lightning's has one
    if isinstance(scheduler, (OneCycle, PerStep)):
        scheduler.set_total_steps(total_steps(trainer))
        return {"scheduler": scheduler, "interval": "step"}
    if not isinstance(scheduler, PER_STEP):
        return {"scheduler": scheduler, "interval": "epoch"}
    if head_lr_factor != 1:
        raise ModelError(
            f"model.head_lr_factor is {head_lr_factor}, but {type(scheduler).__name__} sets rates of its own "
            "for all layers; use models.schedules.OneCycle, or leave head_lr_factor at 1."
        )
    if isinstance(scheduler, OneCycleLR) and scheduler.total_steps < (steps := total_steps(trainer)):
        raise ModelError(
            f"model.lr_scheduler is a OneCycleLR of {scheduler.total_steps} steps, but the run has {steps}; set its "
            f"total_steps to {steps}, or use models.schedules.OneCycle, which needs no number."
        )
    return {"scheduler": scheduler, "interval": "step"}


def total_steps(trainer: pl.Trainer) -> int:
    """Optimizer steps of the whole run.

    Our DataModule tells its batches. Lightning's `estimated_stepping_batches`, for all others, makes Lightning drop the
    loader's state on resume (https://github.com/Lightning-AI/pytorch-lightning/issues/20550).

    Raises:
        ModelError: nothing says when the run ends.
    """
    data = getattr(trainer, "datamodule", None)
    batches = getattr(data, "steps_per_epoch", None)
    if batches is None:
        estimated = trainer.estimated_stepping_batches
        steps = int(estimated) if estimated != float("inf") else None
    else:
        limit = trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * (1.0 if limit is None else limit))
        steps = steps_of_run(batches, trainer.max_epochs, trainer.max_steps, accumulation(trainer))
    if steps is None:
        raise ModelError(
            "model.lr_scheduler goes over the whole run, but nothing says how long that is: set trainer.max_epochs or "
            "trainer.max_steps (trainer.max_time may end it earlier), or model.lr_scheduler to null."
        )
    return max(steps, 1)


def accumulation(trainer: pl.Trainer) -> list[tuple[int, int]]:
    """From which epoch on, how many batches make a step."""
    for callback in getattr(trainer, "callbacks", ()):
        if isinstance(callback, GradientAccumulationScheduler):
            return sorted(callback.scheduling.items())
    return [(0, trainer.accumulate_grad_batches)]
