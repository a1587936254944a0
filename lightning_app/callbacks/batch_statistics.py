"""One set of BatchNorm statistics for all ranks."""

from __future__ import annotations

import lightning.pytorch as pl
import torch


class AverageBatchStatistics(pl.Callback):
    """Averages the running statistics over the ranks before they are used.

    In training, each rank normalises with its own batch; only in this do ranks differ. Comes after EMA in the list of
    callbacks, so that it works on the averaged model's statistics.
    """

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        average_buffers(pl_module, trainer.world_size)

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        average_buffers(pl_module, trainer.world_size)


def average_buffers(module: torch.nn.Module, world_size: int) -> None:
    """Replace every floating-point buffer by its mean over the ranks."""
    if world_size == 1:
        return
    buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    flat = torch.cat([buffer.flatten() for buffer in buffers])
    torch.distributed.all_reduce(flat)
    for buffer, mean in zip(buffers, (flat / world_size).split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(mean.view_as(buffer))
