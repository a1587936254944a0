"""The cost of DDP's buckets: one step of MobileNetV2 under several settings, alternating, on a launcher's ranks.

    mpirun -np 2 python -m lightning_app.bench.ddp_buckets

The settings alternate every few steps, so that a noisy machine slows all; rank 0 prints time ratios, round by round, to
DDP's default setting (buckets of 25 MB, gradients copied).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from lightning_app.bench.random_data import CLASSES
from lightning_app.trainer.malloc import keep_freed_memory
from lightning_app.trainer.plan import Plan
from lightning_app.trainer.process_group import process_group
from lightning_app.trainer.strategy import no_buffer_broadcast
from models.normalized_network import IMAGENET_MEAN, IMAGENET_STD, Network

OWN = "25 MB, copied"
SETTINGS: dict[str, dict[str, Any]] = {
    OWN: {},
    "25 MB, view": {"gradient_as_bucket_view": True},
    "4 MB, view": {"gradient_as_bucket_view": True, "bucket_cap_mb": 4},
    "2 MB, view": {"gradient_as_bucket_view": True, "bucket_cap_mb": 2},
    "1 MB, view": {"gradient_as_bucket_view": True, "bucket_cap_mb": 1},
}
STEPS = 4  # per turn


def main() -> None:
    """Measure all settings and print their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=32, help="images per rank (default: 32)")
    parser.add_argument("--image_size", type=int, default=96, help="side in pixels (default: 96)")
    options = parser.parse_args()
    keep_freed_memory()
    with process_group() as plan:
        steps = {name: stepper(setting, plan, options) for name, setting in SETTINGS.items()}
        rounds = [{name: seconds(step) for name, step in steps.items()} for _ in range(options.rounds + 1)][1:]
        if distributed.get_rank() == 0:
            print(table(rounds))


def stepper(setting: dict[str, Any] | None, plan: Plan, options: argparse.Namespace) -> Callable[[], None]:
    """A training step on one fixed batch; without a setting, without DDP."""
    torch.manual_seed(0)
    device = plan.device
    network = Network("mobilenet_v2", CLASSES, IMAGENET_MEAN, IMAGENET_STD, dropout=0.0).to(device)
    model: torch.nn.Module = network
    if setting is not None:
        model = DistributedDataParallel(network, static_graph=True, **no_buffer_broadcast(), **setting)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    images = torch.rand(options.batch_size, 3, options.image_size, options.image_size, device=device)
    labels = torch.randint(CLASSES, (options.batch_size,), device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=plan.precision == "bf16-mixed"):
            loss = F.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def seconds(step: Callable[[], None]) -> float:
    """Seconds of a few steps, with all ranks starting together."""
    distributed.barrier()
    started = time.perf_counter()
    for _ in range(STEPS):
        step()
    distributed.barrier()
    return time.perf_counter() - started


def table(rounds: list[dict[str, float]]) -> str:
    """Median, smallest and largest ratio of each setting to DDP's default."""
    rows = [f"{'time of a step / that with ' + OWN:<44}{'median':>8}{'min':>8}{'max':>8}"]
    for name in SETTINGS:
        ratios = [figures[name] / figures[OWN] for figures in rounds]
        spread = statistics.median(ratios), min(ratios), max(ratios)
        rows.append(f"{name:<44}" + "".join(f"{ratio:8.3f}" for ratio in spread))
    return "\n".join(rows)


if __name__ == "__main__":
    main()
