"""The user's factories: kept through copies and checkpoints, and turned into an optimizer and a schedule."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import lightning.pytorch as pl
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau

from models.errors import ModelError
from models.schedules import OneCycle, PerStep, steps_of_run

FACTORIES = ("optimizer", "lr_scheduler")
DEFAULT = "default"
Self = TypeVar("Self", bound="WithFactories")
PER_STEP = (OneCycleLR, CyclicLR)  # torch's schedules that are defined per step; its others count epochs


class WithFactories(pl.LightningModule):
    """A module whose `optimizer` and `lr_scheduler` are functions, by default lambdas of its __init__.

    Attributes:
        lost_factories: names of those that the loaded checkpoint's run had and this module lacks: a checkpoint cannot
            store a script's functions, only the command line's options.
    """

    optimizer: Any
    lr_scheduler: Any

    def __init__(self) -> None:
        super().__init__()
        self.lost_factories: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        """For pickle, which cannot name lambdas."""
        state = super().__getstate__()
        defaults = {name: DEFAULT for name in FACTORIES if state[name] is self._default_factory(name)}
        return state | defaults

    def __setstate__(self, state: dict[str, Any]) -> None:
        defaults = {name: self._default_factory(name) for name in FACTORIES if isinstance(state[name], str)}
        super().__setstate__(state | defaults)

    def __deepcopy__(self: Self, memo: dict[int, Any]) -> Self:
        """A copy, as weight averaging makes one, that shares the factories.

        They refer to the program that parsed them, and so to its Trainer, data and child processes.
        """
        memo |= {id(factory): factory for factory in (self.optimizer, self.lr_scheduler)}
        copied = memo[id(self)] = type(self).__new__(type(self))
        copied.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return copied

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "optimizer" not in self.hparams:  # otherwise the command line's options are there
            checkpoint["own_factories"] = self._own_factories()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        own = self._own_factories()
        self.lost_factories = [name for name in checkpoint.get("own_factories", ()) if name not in own]

    def check_factories(self) -> None:
        """Raise a ModelError if the checkpoint's run had a factory that this module lacks."""
        if self.lost_factories:
            raise ModelError(
                f"the checkpoint does not contain the {' and '.join(self.lost_factories)} of the script that trained "
                f"it; pass them again: ImageClassifier.load_from_checkpoint(path, {self.lost_factories[0]}=...)."
            )

    def _own_factories(self) -> list[str]:
        """Those that are not the defaults."""
        return [name for name in FACTORIES if getattr(self, name) is not self._default_factory(name)]

    @classmethod
    def _default_factory(cls, name: str) -> Any:
        """The default in the __init__ of the first class that has this argument; a subclass may pass on **kwargs."""
        signatures = (inspect.signature(kind.__init__).parameters for kind in cls.__mro__)  # type: ignore[misc]  # of each
        return next(parameters[name].default for parameters in signatures if name in parameters)


def make_optimizer(
    factory: Callable[[Any], Optimizer], trained: list[nn.Parameter], head: list[nn.Parameter], head_lr_factor: float
) -> Optimizer:
    """The optimizer for the trained parameters; the head is a separate group only if its rate differs.

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
        raise ModelError(f"model.optimizer cannot be created ({error}).") from error
    optimizer.param_groups[-1]["lr"] *= head_lr_factor
    return optimizer


def schedule_config(scheduler: Any, trainer: pl.Trainer, head_lr_factor: float) -> dict[str, Any]:
    """A schedule in Lightning's form, told the length of the run if it needs that.

    Raises:
        ModelError: it does not fit the run, or the run's length is unknown.
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
            f"model.head_lr_factor is {head_lr_factor}, but {type(scheduler).__name__} sets its own rates for all "
            "layers; use models.schedules.OneCycle, or leave head_lr_factor at 1."
        )
    if isinstance(scheduler, OneCycleLR) and scheduler.total_steps < (steps := total_steps(trainer)):
        raise ModelError(
            f"model.lr_scheduler is a OneCycleLR of {scheduler.total_steps} steps, but the run has {steps}; set its "
            f"total_steps to {steps}, or use models.schedules.OneCycle, which needs no number."
        )
    return {"scheduler": scheduler, "interval": "step"}


def check_can_be_saved(scheduler: Any) -> None:
    """Raise a ModelError for a schedule that torch cannot store in a checkpoint: now, not at the first save."""
    try:
        scheduler.state_dict()
    except (AttributeError, TypeError) as error:  # a LambdaLR asks a callable that is not a function for its attributes
        raise ModelError(
            f"model.lr_scheduler is a {type(scheduler).__name__} that no checkpoint can hold ({error}); give it a "
            "function written in Python, not a built-in one such as math.sqrt."
        ) from error


def total_steps(trainer: pl.Trainer) -> int:
    """Optimizer steps of the whole run.

    Our DataModule knows its batches. Lightning's `estimated_stepping_batches`, used for all others, makes Lightning
    drop the loader's state on resume (https://github.com/Lightning-AI/pytorch-lightning/issues/20550).

    Raises:
        ModelError: the end of the run is unknown.
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
            "model.lr_scheduler spans the whole run, but the run has no end: set trainer.max_epochs or "
            "trainer.max_steps (trainer.max_time may end it earlier), or model.lr_scheduler to null."
        )
    return max(steps, 1)


def accumulation(trainer: pl.Trainer) -> list[tuple[int, int]]:
    """How many batches make a step, by first epoch."""
    for callback in getattr(trainer, "callbacks", ()):
        if isinstance(callback, GradientAccumulationScheduler):
            return sorted(callback.scheduling.items())
    return [(0, trainer.accumulate_grad_batches)]
