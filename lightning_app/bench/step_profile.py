"""The costliest kernels of ten steps of the whole program, and the share of time in which a GPU waits.

python -m lightning_app.bench.step_profile --batch_size 256 --to profile.txt
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.profiler import ProfilerActivity, profile

from lightning_app.bench.contestants.step_timing import clock
from lightning_app.bench.random_data import CLASSES, NoiseData
from lightning_app.callbacks.ema import EMA
from lightning_app.callbacks.reseed import Reseed
from lightning_app.trainer.trainer import Trainer
from models.classifier import ImageClassifier

WARMUP, STEPS = 5, 10
ROWS = 25  # kernels in the table


class ProfileSteps(pl.Callback):
    """Profiles whole steps: batch, forward, backward, optimizer and callbacks.

    Attributes:
        seconds: of the profiled steps together, on the clock.
    """

    def __init__(self, device: str) -> None:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
        self.profile = profile(activities=activities)
        self.seconds = 0.0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARMUP:
            self.seconds = -clock()
            self.profile.start()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARMUP + STEPS - 1:
            self.seconds += clock()
            self.profile.stop()


def busy_seconds(spans: list[tuple[float, float]]) -> float:
    """Time covered by at least one of the (start, end) spans."""
    covered, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(end - max(start, until), 0.0)
        until = max(until, end)
    return covered


def report(steps: ProfileSteps, device: str) -> str:
    """The table, and on a GPU how long it had nothing to do."""
    table = steps.profile.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=ROWS)
    lines = [table, f"{STEPS} steps in {steps.seconds:.3f} s"]
    if device == "cuda":
        events = [
            event for event in steps.profile.events() or [] if event.device_type == torch.autograd.DeviceType.CUDA
        ]
        busy = busy_seconds([(event.time_range.start / 1e6, event.time_range.end / 1e6) for event in events])
        lines.append(
            f"kernels a step: {len(events) / STEPS:.0f}; the GPU waits {1 - busy / steps.seconds:.1%} of the time"
        )
    return "\n".join(lines)


def main() -> None:
    """Train for some steps on random images, and print."""
    parser = argparse.ArgumentParser(prog="python -m lightning_app.bench.step_profile")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--to", type=Path, help="also write the report to this file")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    steps = ProfileSteps(device)
    trainer = Trainer(
        strategy="gpu" if device == "cuda" else "cpu",
        max_epochs=1,
        callbacks=[Reseed(0), EMA(), steps],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = NoiseData((WARMUP + STEPS) * options.batch_size, options.batch_size, options.image_size)
    trainer.fit(ImageClassifier(CLASSES, weights="none"), datamodule=data)
    text = report(steps, device)
    print(text)
    if options.to:
        options.to.write_text(text + "\n")


if __name__ == "__main__":
    main()
