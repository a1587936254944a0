"""The whole program, a bare loop, the model on one fixed batch, and torchvision's model, in turns of a few steps."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.augmentation import Augment
from datamodules.batches import BatchMaker, ImageBatch
from datamodules.sampling import Shard
from lightning_app.bench.random_data import CLASSES, NoiseData, original_augment
from lightning_app.callbacks.ema import EMA
from lightning_app.callbacks.non_finite import LossWatch
from lightning_app.callbacks.reseed import Reseed
from lightning_app.callbacks.throughput import Throughput
from lightning_app.cli.console import quiet_lightning
from lightning_app.trainer.malloc import keep_freed_memory
from lightning_app.trainer.trainer import Trainer
from models.backbones import build_backbone
from models.classifier import ImageClassifier

BLOCK = 3  # steps per turn
WARMUP_ROUNDS = 1
AUGMENTS = {"program": Augment(crop_scale=0.7, pad_crop=0), "program_original_augment": original_augment()}


class AlternatingData(NoiseData):
    """Noise whose augmentation switches between two batches.

    Attributes:
        augmented: name of the augmentation in use.
    """

    def __init__(self, images: int, batch_size: int, image_size: int) -> None:
        super().__init__(images, batch_size, image_size)
        self.augmented = next(iter(AUGMENTS))
        self._makers: dict[str, BatchMaker | None] = {}

    def make(self, shard: Shard, device: torch.device) -> ImageBatch:
        """With the augmentation in use, which keeps what it computed for the epoch."""
        self.augment, self._maker = AUGMENTS[self.augmented], self._makers.get(self.augmented)
        batch = super().make(shard, device)
        self._makers[self.augmented] = self._maker
        return batch


class StepsInBetween(pl.Callback):
    """Times blocks of the program's steps, and after each, equally many steps of the other contestants.

    Attributes:
        seconds: of each block, by contestant: `program`, with the augmentation of cifar10.yaml;
            `program_original_augment`, with the original study's; `bare_loop`, the same model, batches, optimizer,
            schedule and average without Lightning; `fixed_batch`, the same model and optimizer on one batch; `plain`,
            the model that torchvision builds with torch's own AdamW on that batch, in the same precision and layout.
    """

    def __init__(self, data: AlternatingData, ema: EMA, most_seconds: float = math.inf) -> None:
        self.data, self.ema = data, ema
        self._round_began = clock()
        self._deadline = self._round_began + most_seconds
        self.seconds: dict[str, list[float]] = {name: [] for name in (*AUGMENTS, "bare_loop", "fixed_batch", "plain")}
        self._plain = build_backbone("mobilenet_v2", CLASSES).to(memory_format=torch.channels_last).train()
        self._plain_optimizer: torch.optim.Optimizer
        self._contestant = next(iter(AUGMENTS))
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._plain_optimizer = torch.optim.AdamW(self._plain.to(pl_module.device).parameters(), lr=3e-4)
        self._started = clock()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % BLOCK:
            return
        self.seconds[self._contestant].append(clock() - self._started)
        names = list(AUGMENTS)
        if self._contestant == names[-1]:
            self._others(trainer, pl_module, batch)
            trainer.should_stop = self._next_would_be_late()
        self._contestant = names[(names.index(self._contestant) + 1) % len(names)]
        self.data.augmented = self._contestant
        self._started = clock()

    def _next_would_be_late(self) -> bool:
        """Whether another round of all contestants would end after the deadline; one that counts always runs."""
        began, self._round_began = self._round_began, clock()
        counted = len(self.seconds["plain"]) - WARMUP_ROUNDS
        return counted > 0 and self._round_began + (self._round_began - began) > self._deadline

    def _others(self, trainer: Any, pl_module: Any, batch: Any) -> None:
        """A block of each of the others."""
        [optimizer], [schedule] = trainer.optimizers, trainer.lr_scheduler_configs
        images = batch.images.contiguous(memory_format=torch.channels_last)
        self.data.augmented = "program"
        shards, firsts = self.data.train_dataloader(), itertools.count(0, self.data.batch_size)

        def bare_loop() -> None:
            made = self.data.make(shards.shard(trainer.current_epoch, next(firsts)), pl_module.device)
            step(trainer, lambda: pl_module.network(made.images), made.labels, optimizer)
            schedule.scheduler.step()
            self.ema.update(pl_module, 0.999)

        contestants: dict[str, Callable[[], None]] = {
            "bare_loop": bare_loop,
            "fixed_batch": lambda: step(trainer, lambda: pl_module.network(batch.images), batch.labels, optimizer),
            "plain": lambda: step(trainer, lambda: self._plain(images), batch.labels, self._plain_optimizer),
        }
        for name, take in contestants.items():
            started = clock()
            for _ in range(BLOCK):
                take()
            self.seconds[name].append(clock() - started)


def step(trainer: pl.Trainer, forward: Callable[[], Tensor], labels: Tensor, optimizer: Any) -> None:
    """The minimum of any program: forward, backward, optimizer."""
    with trainer.precision_plugin.forward_context():
        loss = F.cross_entropy(forward(), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def clock() -> float:
    """Seconds, once the device has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--image_size", type=int, required=True)
    parser.add_argument("--device", choices=["cpu", "gpu"], help="(default: a GPU if there is one)")
    parser.add_argument("--precision", help="(default: the fastest)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no round that would end later")
    return parser.parse_args()


def main() -> None:
    """Train for some steps and print the images/s of each contestant as JSON."""
    options = parse()
    quiet_lightning()
    keep_freed_memory()
    rounds = WARMUP_ROUNDS + -(-options.steps // BLOCK)
    ema = EMA()
    data = AlternatingData(rounds * BLOCK * len(AUGMENTS) * options.batch_size, options.batch_size, options.image_size)
    timing = StepsInBetween(data, ema, options.seconds)
    trainer = Trainer(
        strategy=options.device or ("gpu" if torch.cuda.is_available() else "cpu"),  # one, like its baseline
        precision=options.precision,
        max_epochs=1,
        callbacks=[Reseed(0), ema, LossWatch(), Throughput(), timing],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(ImageClassifier(CLASSES, weights="none"), datamodule=data)
    counted = BLOCK * (len(timing.seconds["plain"]) - WARMUP_ROUNDS)
    images = counted * options.batch_size
    found = {name: images / sum(seconds[WARMUP_ROUNDS:]) for name, seconds in timing.seconds.items()}
    print(json.dumps(found | {"counted_steps": counted}))


if __name__ == "__main__":
    main()
