"""Trains one epoch with everything that depends on the rank frozen, and writes per-step losses and counts.

Run under any launcher: python parity_program.py OUTPUT.json [processes to start itself]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from datamodules.augment import Augment
from datamodules.images import ImageData
from lightning_app.launch import this_launch
from lightning_app.trainer import Trainer
from models.classifier import ImageClassifier

BATCH_SIZE = 43  # 1,437 images: 33 full batches and one of 18; no number of ranks divides 43


class FrozenStatistics(ImageClassifier):
    """BatchNorm with fixed statistics, no dropout; records the loss of each global batch."""

    def __init__(self) -> None:
        super().__init__(
            num_classes=10,
            weights="none",
            dropout=0.0,
            optimizer=lambda params: torch.optim.SGD(params, lr=0.01),
            lr_scheduler=None,
        )
        self.step_losses: list[float] = []
        self.train()  # Lightning keeps the modes that it finds

    def train(self, mode: bool = True) -> FrozenStatistics:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        return self

    def _log_train_loss(self, loss: Tensor) -> None:
        self.step_losses.append(float(self.trainer.strategy.reduce(loss.clone(), reduce_op="sum")))


def main(output: Path, processes: int | None) -> None:
    """Train and test; rank 0 writes the results."""
    pl.seed_everything(0)
    model = FrozenStatistics()
    data = ImageData(
        dataset="digits",
        batch_size=BATCH_SIZE,
        image_size=32,
        val_fraction=0,
        eval_batch_size=50,
        augment=Augment(rotation=10),
        cache_dir=str(output.parent / "packed"),
    )
    trainer = Trainer(
        strategy="ddp" if processes else "auto",
        devices=processes,
        precision="32-true",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        output.write_text(json.dumps(results(model, trainer)))


def results(model: FrozenStatistics, trainer: pl.Trainer) -> dict[str, Any]:
    """What must not depend on the ranks."""
    return {
        "launcher": this_launch().launcher,
        "world_size": trainer.world_size,
        "losses": model.step_losses,
        "counted": int(model.results["test"]["confusion"].sum()),
        "confusion": model.results["test"]["confusion"].tolist(),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
