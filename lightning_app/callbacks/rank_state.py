"""What differs from rank to rank, in a checkpoint that rank 0 writes alone."""

from __future__ import annotations

import logging
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lightning_app.callbacks.ema import EMA
from lightning_app.callbacks.non_finite import floating_buffers

log = logging.getLogger(__name__)


class RankState(pl.Callback):
    """Saves, for each rank, its batch statistics, those of its average, and its losses since the last log.

    Comes after EMA in the list of callbacks: what EMA restores from rank 0's state is then replaced by the rank's own.
    Where the world size has changed, every rank gets the mean of the statistics and an equal part of the losses.
    """

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
        saved, losses = checkpoint["ranks"]["statistics"], checkpoint["ranks"]["losses"]
        if len(saved) == trainer.world_size:
            own, own_losses = saved[trainer.global_rank], losses[trainer.global_rank]
        else:
            own, own_losses = saved.mean(dim=0), losses.sum(dim=0) / trainer.world_size
        own_buffers = statistics(trainer, pl_module)
        for buffer, values in zip(own_buffers, own.split([each.numel() for each in own_buffers]), strict=True):
            buffer.copy_(values.view_as(buffer))
        device = trainer.strategy.root_device
        pl_module.loss_since_log = list(own_losses.to(device).unbind())  # type: ignore[assignment]  # as above


def statistics(trainer: pl.Trainer, pl_module: pl.LightningModule) -> list[Tensor]:
    """The batch statistics of the model and, where there is one, of its average."""
    averages = [callback.average for callback in trainer.callbacks if isinstance(callback, EMA)]  # type: ignore[attr-defined]  # set by a connector
    return [buffer for module in (pl_module, *averages) for buffer in floating_buffers(module)]


def gathered(trainer: pl.Trainer, tensors: list[Tensor]) -> Tensor:
    """The tensors of every rank, end to end: float32 [world_size, n] in CPU memory."""
    device = trainer.strategy.root_device
    own = torch.cat([tensor.detach().float().flatten() for tensor in tensors]) if tensors else torch.empty(0)
    everyone = trainer.strategy.all_gather(own.to(device))
    return everyone.reshape(trainer.world_size, -1).cpu()
