"""The exponential moving average of the weights, which is what gets tested and exported."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class EMA(WeightAveraging):
    """Lightning's weight averaging with a decay that grows to its value, on the model's own device.

    At step t the decay is min(decay, (1 + t) / (10 + t)), as in TensorFlow's ExponentialMovingAverage:
    a short run would else be held back by its first weights (0.999 ** 700 is still a half).

    Args:
        decay: share of the old average that each step keeps.
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay
        self._step = 0

    @property
    def average(self) -> torch.nn.Module:
        """The averaged model, while training."""
        assert self._average_model is not None
        return self._average_model.module

    def _average(self, averaged: Any, current: Any, num_averaged: Tensor | int) -> None:
        get_ema_multi_avg_fn(min(self.decay, (1 + self._step) / (10 + self._step)))(averaged, current, num_averaged)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # The average is built before the model moves; without this it would stay on the CPU.
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._step = trainer.global_step
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
