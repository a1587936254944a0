"""Lightning's Trainer with our plugin: counts the rows that the ranks have seen, and writes its findings.

Run under a launcher: python plugin_program.py OUTPUT.json DEVICES
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lightning_app.rendezvous.environment import LauncherEnvironment

ROWS = 32


class Sum(pl.LightningModule):
    """Fits one number, and remembers the rows that it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[int] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.seen += batch[0].int().tolist()
        return (batch[0] - self.number).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def main(output: Path, devices: int) -> None:
    """Fit twice, with two Trainers."""
    # As if it were not installed: nothing on one node needs it.
    sys.modules["mpi4py"] = None  # type: ignore[assignment]  # how Python marks a module that cannot be imported
    model = Sum()
    for _ in range(2):
        trainer = pl.Trainer(
            accelerator="cpu",
            strategy="ddp",
            devices=devices,
            plugins=[LauncherEnvironment()],
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
        )
        model.seen = []
        trainer.fit(model, DataLoader(TensorDataset(torch.arange(ROWS).float()), batch_size=4, shuffle=True))
    seen = trainer.strategy.all_gather(torch.tensor(model.seen)).flatten().tolist()
    if trainer.is_global_zero:
        output.write_text(json.dumps({"seen": sorted(seen), "world_size": trainer.world_size}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
