"""State that differs between ranks, in a checkpoint that only rank 0 writes."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lightning_app.callbacks.ema import EMA
from lightning_app.callbacks.non_finite import floating_buffers


class RankState(pl.Callback):
    """Saves each rank's batch statistics, those of its average, and its losses since the last log.

    If the world size has changed, every rank gets the mean of the statistics and an equal part of the losses.
    """

    def __init__(self) -> None:
        self._saved: dict[str, Tensor] | None = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["ranks"] = {
            "statistics": gathered(trainer, statistics(trainer, pl_module)),
            "losses": gathered(trainer, pl_module.loss_since_log),  # type: ignore[arg-type]  # a list, not a module
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._saved = checkpoint["ranks"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Not when it is loaded: DDP starts by giving every rank the buffers of rank 0."""
        if self._saved is None:
            return
        saved, losses, self._saved = self._saved["statistics"], self._saved["losses"], None
        if len(saved) == trainer.world_size:
            own, own_losses = saved[trainer.global_rank], losses[trainer.global_rank]
        else:
            own, own_losses = saved.mean(dim=0), losses.sum(dim=0) / trainer.world_size
        buffers = statistics(trainer, pl_module)
        for buffer, values in zip(buffers, own.split([each.numel() for each in buffers]), strict=True):
            buffer.copy_(values.view_as(buffer))
        pl_module.loss_since_log = list(own_losses.to(pl_module.device).unbind())  # type: ignore[assignment]  # as above


def statistics(trainer: pl.Trainer, pl_module: pl.LightningModule) -> list[Tensor]:
    """The batch statistics of the model and of its average, if any."""
    averages = [callback.average for callback in trainer.callbacks if isinstance(callback, EMA)]  # type: ignore[attr-defined]  # set by a connector
    return [buffer for module in (pl_module, *averages) for buffer in floating_buffers(module)]


def gathered(trainer: pl.Trainer, tensors: list[Tensor]) -> Tensor:
    """The tensors of every rank, concatenated: float32 [world_size, n] in CPU memory."""
    device = trainer.strategy.root_device
    own = torch.cat([tensor.detach().float().flatten() for tensor in tensors]) if tensors else torch.empty(0)
    everyone = trainer.strategy.all_gather(own.to(device))
    return everyone.reshape(trainer.world_size, -1).cpu()
