"""A progress bar that waits for a GPU only when the loss is logged anyway."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar


class Bar(TQDMProgressBar):
    """Lightning's bar with the last logged loss."""

    def __init__(self) -> None:
        super().__init__()
        self._loss: dict[str, str] = {}

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        if trainer.training and trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # set by a connector
            loss = trainer.callback_metrics.get("train/loss")
            self._loss = {} if loss is None else {"train/loss": f"{float(loss):.3f}"}
        return {**super().get_metrics(trainer, pl_module), **self._loss}
