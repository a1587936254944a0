"""A training step of our model, eager and with torch.compile, on one fixed batch, alternating every few steps."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from typing import get_args

import torch
import torch.nn.functional as F

from datamodules.batches import input_type
from lightning_app.bench.contestants.step_timing import BLOCK, WARMUP_ROUNDS, clock
from lightning_app.bench.random_data import CLASSES
from lightning_app.trainer.malloc import keep_freed_memory
from models.classifier import ImageClassifier
from models.compiled import CompileMode

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--image_size", type=int, required=True)
    parser.add_argument("--device", choices=["cpu", "gpu"], required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--mode", choices=get_args(CompileMode), default="default")
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no round that would end later")
    return parser.parse_args()


def main() -> None:
    """Print, as JSON, the images/s of both, and the seconds of the first compiled steps, which compile."""
    options = parse()
    keep_freed_memory()
    if options.device == "gpu":  # as lightning_app.trainer.trainer does
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    steps = {"eager": training_step(None, options), "compiled": training_step(options.mode, options)}
    rounds = measure(steps, WARMUP_ROUNDS + -(-options.steps // BLOCK), options.seconds)
    counted = rounds[WARMUP_ROUNDS:]
    images = BLOCK * options.batch_size * len(counted)
    found = {name: images / sum(seconds[name] for seconds in counted) for name in steps}
    print(json.dumps(found | {"compile_seconds": rounds[0]["compiled"], "counted_steps": BLOCK * len(counted)}))


def training_step(mode: CompileMode | None, options: argparse.Namespace) -> Callable[[], None]:
    """Forward, backward and optimizer on one batch, as in the program."""
    device = torch.device("cuda" if options.device == "gpu" else "cpu")
    torch.manual_seed(0)
    model = ImageClassifier(CLASSES, weights="none", compile=mode).to(device).train()
    optimizer = model.optimizer(model.parameters())
    shape = (options.batch_size, 3, options.image_size, options.image_size)
    images = torch.rand(shape, device=device).to(
        input_type(options.precision, device), memory_format=torch.channels_last
    )
    labels = torch.randint(CLASSES, (options.batch_size,), device=device)
    dtype = AUTOCAST.get(options.precision)

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure(steps: dict[str, Callable[[], None]], most: int, seconds: float) -> list[dict[str, float]]:
    """Seconds of a block of each, round by round, until the next round would be late; at least one that counts."""
    began = last = clock()
    rounds: list[dict[str, float]] = []
    while len(rounds) < most and (len(rounds) <= WARMUP_ROUNDS or 2 * clock() - last <= began + seconds):
        last = clock()
        rounds.append({name: block_seconds(step) for name, step in steps.items()})
    return rounds


def block_seconds(step: Callable[[], None]) -> float:
    """Seconds of several steps in a row."""
    started = clock()
    for _ in range(BLOCK):
        step()
    return clock() - started


if __name__ == "__main__":
    main()
