"""Images in TensorBoard: an augmented batch, and the confusion matrices."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_app.results.plots import confusion_figure

SHOWN = 64  # images of the batch


class Pictures(pl.Callback):
    """Logs the first training batch as the network sees it, and the last confusion matrices."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == 0 and (writer := tensorboard(trainer)):
            from torchvision.utils import make_grid

            writer.add_image("train/batch", make_grid(batch.images[:SHOWN].float().cpu(), nrow=8), 0)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Drawing takes as long as an epoch of the quickstart's validation, so only the last validation is drawn.
        if "val" in pl_module.results:  # type: ignore[operator]  # a dict, not a module
            self._confusion("val", trainer, pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._confusion("test", trainer, pl_module)

    def _confusion(self, split: str, trainer: pl.Trainer, pl_module: Any) -> None:
        if writer := tensorboard(trainer):
            counts = pl_module.results[split]["confusion"].cpu().numpy()
            classes = trainer.datamodule.packed.classes  # type: ignore[attr-defined]  # Lightning sets it, untyped
            writer.add_figure(f"{split}/confusion", confusion_figure(counts, classes), trainer.global_step)


def tensorboard(trainer: pl.Trainer) -> Any:
    """TensorBoard's writer on rank 0, if there is one."""
    if not trainer.is_global_zero:
        return None
    return next((logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)), None)
