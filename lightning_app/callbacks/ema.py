"""The exponential moving average of the weights, which is tested and exported."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lightning_app.callbacks.lightning_patches import AveragedWeights


class EMA(AveragedWeights):
    """Lightning's weight averaging with a decay that grows to its value, on the model's device.

    At step t the decay is min(decay, (1 + t) / (10 + t)), as in TensorFlow's ExponentialMovingAverage: otherwise its
    first weights would hold back a short run (0.999 ** 700 is still a half).

    Args:
        decay: share of the old average that each step keeps.
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        self.decay = decay

    @property
    def average(self) -> torch.nn.Module:
        """The averaged model, during training."""
        return self.averaged.module

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step > self.last_update:  # not between the batches of an accumulated step
            kept = min(self.decay, (1 + step) / (10 + step)) if self.last_update else 0.0
            self.update(pl_module, kept)
            self.last_update = step

    @torch.no_grad()
    def update(self, pl_module: pl.LightningModule, kept: float) -> None:
        """Update the average. (AveragedModel.update_parameters reads its counter from the device several times.)"""
        pairs = zip(everything(self.average), everything(pl_module), strict=True)
        averaged, current = map(list, zip(*((a, c) for a, c in pairs if a.is_floating_point()), strict=True))
        get_ema_multi_avg_fn(kept)(averaged, current, 0)
        for average, count in zip(self.average.buffers(), pl_module.buffers(), strict=True):
            if not average.is_floating_point():  # BatchNorm's count of batches
                average.copy_(count)
        self.averaged.n_averaged += 1


def everything(module: torch.nn.Module) -> list[Tensor]:
    """Parameters and buffers."""
    return [*module.parameters(), *module.buffers()]
