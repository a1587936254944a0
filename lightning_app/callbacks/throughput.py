"""Images per second while training."""

from __future__ import annotations

import statistics
import time
from typing import Any

import lightning.pytorch as pl


class Throughput(pl.Callback):
    """Log `train/images_per_second` over the global batch, and keep the run's median.

    The clock runs between two logged steps, so a GPU is waited for at most where the loss is logged anyway.
    It starts anew at each epoch: neither validation nor the first step, which warms up, is counted.
    """

    def __init__(self) -> None:
        self.rates: list[float] = []
        self._since: float | None = None
        self._images = 0

    @property
    def median(self) -> float | None:
        """Images per second, or None before anything was measured."""
        return statistics.median(self.rates) if self.rates else None

    def state_dict(self) -> dict[str, Any]:
        return {"rates": self.rates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rates = list(state_dict["rates"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._since is None:
            self._since, self._images = time.perf_counter(), 0
            return
        self._images += batch.global_size
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # set by a connector
            now = time.perf_counter()
            self.rates.append(self._images / (now - self._since))
            self._since, self._images = now, 0
            metrics = {"train/images_per_second": self.rates[-1], "train/resolution": float(batch.images.shape[-1])}
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step=trainer.global_step - 1)
