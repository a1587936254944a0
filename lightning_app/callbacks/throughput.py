"""Images per second in training."""

from __future__ import annotations

import statistics
import time
from typing import Any

import lightning.pytorch as pl


class Throughput(pl.Callback):
    """Logs `train/images_per_second` over the global batch, and keeps the run's median.

    The clock runs between two logged steps, so a GPU is waited for only when the loss is logged anyway. It restarts at
    each epoch and attempt. Validation never counts, and the first step, which warms up, counts only if it is logged
    itself, so that the curve has a point at every such step.
    """

    def __init__(self) -> None:
        self.rates: list[float] = []
        self._since: float | None = None
        self._images = self._step = 0
        self._first = True

    @property
    def median(self) -> float | None:
        """Images per second, or None before any measurement."""
        return statistics.median(self.rates) if self.rates else None

    def state_dict(self) -> dict[str, Any]:
        return {"rates": self.rates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rates = list(state_dict["rates"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._since is None:
            self._since, self._images, self._first = time.perf_counter(), 0, True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._images += batch.global_size
        if trainer.global_step == self._step:
            return  # gradients are being accumulated
        self._step = trainer.global_step
        logged = self._step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]  # set by a connector
        if not (logged or self._first):
            return
        assert self._since is not None, "set when the batch began"
        now = time.perf_counter()
        if logged:
            self.rates.append(self._images / (now - self._since))
            metrics = {"train/images_per_second": self.rates[-1], "train/resolution": float(batch.images.shape[-1])}
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step=self._step - 1)
        self._since, self._images, self._first = now, 0, False
