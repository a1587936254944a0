"""The whole program, the same model on one fixed batch, and torchvision's model as it is: a few steps each in turn."""

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
from models.backbones import build_backbone
from models.classifier import ImageClassifier

BLOCK = 3  # steps in turn
WARMUP_BLOCKS = 1


class StepsInBetween(pl.Callback):
    """Times blocks of the program's own steps, and after each as many bare steps of the other contestants.

    Attributes:
        seconds: of each block, by contestant: `program`; `fixed_batch`, the same model and optimizer; `plain`, the
            model that torchvision builds with torch's own AdamW, in the same precision and layout.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {"program": [], "fixed_batch": [], "plain": []}
        self._plain = build_backbone("mobilenet_v2", CLASSES).to(memory_format=torch.channels_last).train()
        self._plain_optimizer: torch.optim.Optimizer
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._plain_optimizer = torch.optim.AdamW(self._plain.to(pl_module.device).parameters(), lr=3e-4)
        self._started = clock()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % BLOCK:
            return
        self.seconds["program"].append(clock() - self._started)
        images = batch.images.contiguous(memory_format=torch.channels_last)
        for name, network, optimizer, pixels in (
            ("fixed_batch", pl_module.network, trainer.optimizers[0], batch.images),
            ("plain", self._plain, self._plain_optimizer, images),
        ):
            started = clock()
            for _ in range(BLOCK):
                with trainer.precision_plugin.forward_context():
                    loss = F.cross_entropy(network(pixels), batch.labels)
                bare_step(loss, optimizer)
            self.seconds[name].append(clock() - started)
        self._started = clock()


def bare_step(loss: torch.Tensor, optimizer: Any) -> None:
    """What no program can do without, after the forward: backward, optimizer."""
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def clock() -> float:
    """Seconds, when the device has done all it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Train for some steps and print the images/s of each contestant as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--image_size", type=int, required=True)
    options = parser.parse_args()
    keep_freed_memory()
    blocks = WARMUP_BLOCKS + -(-options.steps // BLOCK)
    timing = StepsInBetween()
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
    figures = {name: images / sum(seconds[WARMUP_BLOCKS:]) for name, seconds in timing.seconds.items()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
