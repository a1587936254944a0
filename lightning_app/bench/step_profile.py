"""The most expensive kernels in ten steps of the whole program, the GPU's idle time, and the floor.

The floor is the time it takes to move the minimum through memory: the input and output of each convolution and
BatchNorm, once in the forward pass and twice in the backward pass.

    python -m lightning_app.bench.step_profile --batch_size 256 --to profile.txt
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from lightning_app.bench.contestants.step_timing import clock
from lightning_app.bench.random_data import CLASSES, NoiseData
from lightning_app.callbacks.ema import EMA
from lightning_app.callbacks.reseed import Reseed
from lightning_app.cli.console import quiet_lightning
from lightning_app.trainer.trainer import Trainer
from models.classifier import ImageClassifier
from models.normalized_network import Network

WARMUP, STEPS = 5, 10
COPIED = {"cuda": 1 << 30, "cpu": 1 << 26}  # bytes, too many for any cache
COPIES = 10
ROWS = 25  # kernels in the table


class ProfileSteps(pl.Callback):
    """Profiles whole steps: batch, forward, backward, optimizer and callbacks.

    Attributes:
        seconds: wall time of all profiled steps.
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


def step_bytes(batch_size: int, image_size: int, bytes_per_value: int) -> int:
    """The minimum that the convolutions and BatchNorms of a step have to read and write."""
    values = 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal values
        values += 3 * (given[0].numel() + output.numel())  # forward once, backward twice

    network = Network("mobilenet_v2", CLASSES, kernels=False).train().to("meta")
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.empty(batch_size, 3, image_size, image_size, device="meta"))
    return values * bytes_per_value


def bandwidth(device: str) -> float:
    """Bytes per second of a copy, read and written."""
    source = torch.zeros(COPIED[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    started = clock()
    for _ in range(COPIES):
        target.copy_(source)
    return 2 * COPIES * source.nbytes / (clock() - started)


def floor(needed: int, possible: float, taken: float) -> str:
    """How far a step is from the floor, in words; from bytes, bytes per second, and seconds."""
    least = needed / possible
    return (
        f"floor of a step: {needed / 1e9:.3g} GB at {possible / 1e9:.0f} GB/s, {1000 * least:.3g} ms; a step takes "
        f"{taken / least:.1f} times that"
    )


def report(steps: ProfileSteps, device: str) -> str:
    """The table, and on a GPU its idle time."""
    table = steps.profile.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=ROWS)
    lines = [table, f"{STEPS} steps in {steps.seconds:.3f} s"]
    if device == "cuda":
        events = [
            event for event in steps.profile.events() or [] if event.device_type == torch.autograd.DeviceType.CUDA
        ]
        busy = busy_seconds([(event.time_range.start / 1e6, event.time_range.end / 1e6) for event in events])
        lines.append(
            f"kernels per step: {len(events) / STEPS:.0f}; the GPU is idle {1 - busy / steps.seconds:.1%} of the time"
        )
    return "\n".join(lines)


def main() -> None:
    """Train for some steps on random images, and print."""
    parser = argparse.ArgumentParser(prog="python -m lightning_app.bench.step_profile")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--to", type=Path, help="also write the report to this file")
    options = parser.parse_args()
    quiet_lightning()
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
    needed = step_bytes(options.batch_size, options.image_size, 2 if "16" in trainer.precision else 4)
    text = f"{report(steps, device)}\n{floor(needed, bandwidth(device), steps.seconds / STEPS)}"
    print(text)
    if options.to:
        options.to.write_text(text + "\n")


if __name__ == "__main__":
    main()
