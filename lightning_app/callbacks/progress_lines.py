"""Progress for a batch log: plain timestamped lines instead of a bar that redraws itself."""

from __future__ import annotations

import datetime
import math
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar

SECONDS_BETWEEN_LINES = 15.0


class PlainProgress(ProgressBar):
    """One timestamped line every quarter of a minute, and one per validation, from rank 0."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._started = self._printed = time.monotonic()
        self._first_step = 0

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started, self._first_step = time.monotonic(), trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if time.monotonic() - self._printed >= SECONDS_BETWEEN_LINES:
            self._line(f"{self._position(trainer, batch_idx)}  {shown(trainer, 'train/')}  {self._eta(trainer)}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._line(f"validation after epoch {trainer.current_epoch + 1}  {shown(trainer, 'val/')}")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._line(f"test  {shown(trainer, 'test/')}")

    def _position(self, trainer: pl.Trainer, batch_idx: int) -> str:
        return (
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  step {batch_idx + 1}/{self.total_train_batches}"
        )

    def _eta(self, trainer: pl.Trainer) -> str:
        done = trainer.global_step - self._first_step
        per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        ends = [steps for steps in (per_epoch * (trainer.max_epochs or 1), trainer.max_steps) if steps > 0]
        if not ends:
            return "no end"
        seconds = (time.monotonic() - self._started) / max(done, 1) * (min(ends) - trainer.global_step)
        return f"ETA {datetime.timedelta(seconds=round(seconds))}"

    def _line(self, text: str) -> None:
        self._printed = time.monotonic()
        if self._enabled:
            print(f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}  {text}", flush=True)


def shown(trainer: pl.Trainer, prefix: str) -> str:
    """The logged metrics with a prefix, in short form."""
    metrics = trainer.callback_metrics
    return "  ".join(f"{name} {float(metrics[name]):.4f}" for name in sorted(metrics) if name.startswith(prefix))
