"""The only place that reaches into Lightning's private parts.

Written against lightning 2.6.6. tests/lightning_app/callbacks/test_lightning_patches.py compares the patched code with
the installed Lightning and fails if it has changed; pyproject.toml has the upper bound.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import AveragedModel

from lightning_app.failure.hang_watch import Progress


def leave_sigterm_alone(trainer: pl.Trainer) -> None:
    """Keep Lightning from handling signals.

    Its SIGTERM handler starts a collective, wherever the signal hits the process; and its teardown restores all
    handlers from before the first step (trainer/connectors/signal_connector.py).
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def skip_sigterm_broadcast(trainer: pl.Trainer) -> None:
    """Skip Lightning's own agreement on SIGTERM, which never sees signals that we handle.

    It is a blocking broadcast from the device at each step of several ranks (loops/training_epoch_loop.py,
    _broadcast_sigterm_tensor).
    """
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def correct_step_count(trainer: pl.Trainer) -> None:
    """Remove the extra step that Lightning counts for its loggers when it restarts at a validation.

    (loops/training_epoch_loop.py, on_advance_end after _skip_next_val.)
    """
    trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


def end_restart(trainer: pl.Trainer) -> None:
    """Let the epoch in which a run resumes end like any other, once its first batch is there.

    While the fit loop restarts, no schedule that waits for a metric steps at the end of the epoch, because checkpoints
    lack metrics (loops/fit_loop.py, on_advance_end); but this epoch computes its own.
    """
    trainer.fit_loop._restarting = False


def batches_completed(trainer: pl.Trainer) -> int:
    """Completed training batches, over all epochs."""
    return trainer.fit_loop.epoch_loop.batch_progress.total.completed


def progress_of(trainer: pl.Trainer) -> Progress:
    """How far the loops have come; may be called from another thread."""
    training = trainer.fit_loop.epoch_loop
    evaluated = [loop.batch_progress.total.ready for loop in (training.val_loop, trainer.test_loop)]
    batches = training.batch_progress.total
    return Progress(batches.ready, batches.completed, sum(evaluated))


def within_a_step(trainer: pl.Trainer) -> bool:
    """Whether gradients are being accumulated: the optimizer has not stepped after the last batch."""
    return trainer.fit_loop._should_accumulate()


def rewind(fit_loop: dict[str, Any]) -> None:
    """Set a checkpoint's counters to those of a boundary: the batch just fetched has not started.

    If no batch of the epoch is done, the epoch has not started either, so nothing has to be restarted.

    Args:
        fit_loop: checkpoint["loops"]["fit_loop"].
    """
    batches = fit_loop["epoch_loop.batch_progress"]
    batches["is_last_batch"] = False
    for counts in (batches["total"], batches["current"]):
        counts["ready"] = counts["started"] = counts["processed"] = counts["completed"]
    if batches["current"]["completed"] == 0:
        for counts in fit_loop["epoch_progress"].values():
            counts["ready"] = counts["started"] = counts["processed"]


class AveragedWeights(WeightAveraging):
    """Lightning's weight averaging, built on the device where the model will be."""

    @property
    def averaged(self) -> AveragedModel:
        """torch's averaged model; only during training."""
        assert self._average_model is not None
        return self._average_model

    @property
    def last_update(self) -> int:
        """Optimizer steps that are in the average."""
        return self._latest_update_step

    @last_update.setter
    def last_update(self, step: int) -> None:
        self._latest_update_step = step

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # The average is created before the model moves; without this it would stay on the CPU.
        self._device: torch.device | int | None = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
