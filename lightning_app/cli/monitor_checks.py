"""Refuses, before the first step, a callback or schedule that waits for a metric which will not be there."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lightning_app.errors import UsageError
from models.classifier import ImageClassifier

# What the model logs, and so what one of Lightning's callbacks can monitor.
METRICS = ("train/loss", *(f"val/{name}" for name in ("acc", "top3", "ece", "loss", "balanced_acc", "f1")))
PLATEAUS = ("torch.optim.lr_scheduler.ReduceLROnPlateau", "lightning.pytorch.cli.ReduceLROnPlateau")


class Monitor(NamedTuple):
    """Something that waits for a metric.

    Attributes:
        what: what to call it in an error.
        metric: the name of the metric.
        every_epoch: whether it needs the metric at the end of every epoch; otherwise, after each validation.
        otherwise: what to do without validation.
    """

    what: str
    metric: str
    every_epoch: bool
    otherwise: str = "monitor train/loss"


def monitors(callbacks: Sequence[pl.Callback], schedule: Mapping[str, Any] | str | None) -> Iterator[Monitor]:
    """What Lightning's callbacks wait for, and the schedule.

    Args:
        schedule: the option model.lr_scheduler: class_path and init_args, or the path of a function.
    """
    for callback in callbacks:
        if isinstance(callback, (EarlyStopping, ModelCheckpoint)) and callback.monitor is not None:
            at_epoch_end = isinstance(callback, EarlyStopping) and bool(callback._check_on_train_epoch_end)
            yield Monitor(f"{type(callback).__name__}'s monitor", callback.monitor, at_epoch_end)
    if isinstance(schedule, Mapping) and schedule["class_path"] in PLATEAUS:
        metric = schedule.get("init_args", {}).get("monitor", "val/loss")  # torch's has none
        otherwise = f"use {PLATEAUS[1]} with the monitor train/loss"
        yield Monitor("the monitor of model.lr_scheduler", metric, True, otherwise)


def logs_more(model: ImageClassifier, callbacks: Sequence[pl.Callback]) -> bool:
    """Whether a subclass or a user's callback may log other metrics than METRICS."""
    own = [callback for callback in callbacks if not type(callback).__module__.startswith("lightning.")]
    return bool(own) or type(model) is not ImageClassifier


def check_logged(what: str, metric: str) -> None:
    """Raise a UsageError for a metric that nothing logs."""
    if metric in (*METRICS, "epoch", "step"):
        return
    near = difflib.get_close_matches(metric, METRICS, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise UsageError(f"{what} is {metric}; expected one of {', '.join(METRICS)}{hint}")


def check_validated(monitor: Monitor, val_images: int, trainer: pl.Trainer) -> None:
    """Raise a UsageError if the metric comes from a validation that this run, or one of its epochs, leaves out."""
    if not monitor.metric.startswith("val/"):
        return
    waits = f"{monitor.what} is {monitor.metric}, but"
    if not val_images:
        raise UsageError(f"{waits} there are no validation images; set data.val_fraction, or {monitor.otherwise}.")
    if not trainer.limit_val_batches:
        raise UsageError(f"{waits} trainer.limit_val_batches is 0; leave that out, or {monitor.otherwise}.")
    every = trainer.check_val_every_n_epoch
    if monitor.every_epoch and every and every > 1:
        raise UsageError(
            f"{waits} trainer.check_val_every_n_epoch is {every}, and it is needed after every epoch; leave that "
            f"out, or {monitor.otherwise}."
        )
