"""The whole program against the same model on one fixed batch, in one process, a few steps each in turn."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F

from lightning_app.bench.noise import CLASSES, NoiseData
from lightning_app.callbacks.ema import EMA
from lightning_app.callbacks.reseed import Reseed
from lightning_app.memory import keep_freed_memory
from lightning_app.trainer import Trainer
from models.classifier import ImageClassifier

BLOCK = 3  # steps in turn
WARMUP_BLOCKS = 1


class FixedBatchInBetween(pl.Callback):
    """Times blocks of the program's own steps, and after each as many bare steps on one fixed batch."""

    def __init__(self) -> None:
        self.program_seconds: list[float] = []
        self.fixed_seconds: list[float] = []
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = clock()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % BLOCK:
            return
        self.program_seconds.append(clock() - self._started)
        started = clock()
        for _ in range(BLOCK):
            bare_step(trainer, pl_module, batch)
        self.fixed_seconds.append(clock() - started)
        self._started = clock()


def bare_step(trainer: pl.Trainer, model: Any, batch: Any) -> None:
    """What no program can do without: forward, loss, backward, optimizer."""
    optimizer = trainer.optimizers[0]
    with trainer.precision_plugin.forward_context():
        loss = F.cross_entropy(model.network(batch.images), batch.labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def clock() -> float:
    """Seconds, when the device has done all it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Train for some steps and print {"program": images/s, "fixed_batch": images/s}."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--image_size", type=int, required=True)
    options = parser.parse_args()
    keep_freed_memory()
    blocks = WARMUP_BLOCKS + -(-options.steps // BLOCK)
    timing = FixedBatchInBetween()
    trainer = Trainer(
        max_epochs=1,
        callbacks=[Reseed(0), EMA(), timing],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = NoiseData(blocks * BLOCK * options.batch_size, options.batch_size, options.image_size)
    trainer.fit(ImageClassifier(CLASSES, weights="none"), datamodule=data)
    images = (blocks - WARMUP_BLOCKS) * BLOCK * options.batch_size
    figures = {
        "fixed_batch": images / sum(timing.fixed_seconds[WARMUP_BLOCKS:]),
        "program": images / sum(timing.program_seconds[WARMUP_BLOCKS:]),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
