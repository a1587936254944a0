"""Trains with everything frozen that depends on the rank, and writes logged losses and counts, for three cases.

wide: shards of many images. narrow: one or two images a rank, and for one of four ranks
none. accumulated: as wide, with a step for every two batches.

Run under any launcher: python parity_program.py OUTPUT.json [processes to start itself]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import Logger
from sklearn.datasets import load_digits
from torch import Tensor

from datamodules.augmentation import Augment
from datamodules.datamodule import ImageData
from lightning_app.launchers.detection import this_launch
from lightning_app.trainer.trainer import Trainer
from models.classifier import ImageClassifier

IMAGE_SIZE = 32
LEAST_VARIANCE = 0.1


class Case(NamedTuple):
    """What is trained on."""

    batch_size: int
    val_fraction: float
    accumulated: int = 1


CASES = {
    # 1,437 images: 33 batches of 43, which no number of ranks divides, and one of 18.
    "wide": Case(batch_size=43, val_fraction=0.0),
    # 71 images: 23 batches of 3, of which one in four ranks gets none, and one of 2.
    "narrow": Case(batch_size=3, val_fraction=0.95),
    "accumulated": Case(batch_size=43, val_fraction=0.0, accumulated=2),
}


class FrozenStatistics(ImageClassifier):
    """BatchNorm with fixed statistics, those of a batch; no dropout."""

    def __init__(self) -> None:
        super().__init__(
            num_classes=10,
            weights="none",
            dropout=0.0,
            optimizer=lambda params: torch.optim.SGD(params, lr=0.03),
            lr_scheduler=None,
        )
        norms = [module for module in self.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = None  # the plain average
        with torch.no_grad():
            self(some_digits())
        for norm in norms:
            # Constant channels would amplify every rounding error, by 300 in each of 52 layers.
            norm.running_var.clamp_(min=LEAST_VARIANCE)
        self.train()  # Lightning keeps the modes that it finds

    def train(self, mode: bool = True) -> FrozenStatistics:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        return self


class LoggedLosses(Logger):
    """Keeps the values logged as train/loss."""

    name, version = "losses", 0

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.losses += [value for name, value in metrics.items() if name == "train/loss"]

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass


def some_digits() -> Tensor:
    """Pixels float [256, 3, size, size] in [0, 1]."""
    images = torch.from_numpy(load_digits().images[:256]).float() / 16
    return F.interpolate(images[:, None].expand(-1, 3, -1, -1), size=IMAGE_SIZE, mode="bilinear")


def train(case: Case, cache_dir: Path, processes: int | None) -> dict[str, Any]:
    """Train one epoch and test; returns what must not depend on the ranks."""
    pl.seed_everything(0)
    torch.set_num_threads(1)  # or the statistics depend on what the previous Trainer set
    model = FrozenStatistics()
    data = ImageData(
        dataset="digits",
        batch_size=case.batch_size,
        image_size=IMAGE_SIZE,
        val_fraction=case.val_fraction,
        eval_batch_size=50,
        augment=Augment(rotation=10),
        cache_dir=str(cache_dir),
    )
    logged = LoggedLosses()
    trainer = Trainer(
        strategy="ddp" if processes else "auto",
        devices=processes,
        precision="32-true",
        max_epochs=1,
        accumulate_grad_batches=case.accumulated,
        limit_val_batches=0,
        logger=logged,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    confusion = model.results["test"]["confusion"]
    return {
        "launcher": this_launch().launcher,
        "world_size": trainer.world_size,
        "losses": logged.losses,
        "counted": int(confusion.sum()),
        "confusion": confusion.tolist(),
    }


def main(output: Path, processes: int | None) -> None:
    """Train every case; rank 0 writes the results."""
    results = {name: train(case, output.parent / "packed", processes) for name, case in CASES.items()}
    if this_launch().global_rank == 0:
        output.write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
