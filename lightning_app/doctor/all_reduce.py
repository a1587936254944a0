"""An all-reduce of the size of MobileNetV2's gradients, checked and timed."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

NUMBERS = 2_236_682  # parameters of MobileNetV2 with ten classes
ROUNDS = 5


@dataclass(frozen=True)
class Reduction:
    """The result.

    Attributes:
        backend: gloo or nccl.
        right: every number is the sum over the ranks.
        milliseconds: median of ROUNDS.
        slowest_ms: the slowest of them.
    """

    backend: str
    right: bool
    milliseconds: float
    slowest_ms: float


def reduce_numbers(backend: str, device: torch.device, group: Any = None) -> Reduction:
    """Sum rank + 1 over all ranks, in every position; all ranks call it together."""
    size = dist.get_world_size()
    seconds, right = [], True
    for _ in range(ROUNDS + 1):  # the first opens connections
        numbers = torch.full((NUMBERS,), dist.get_rank() + 1.0, device=device)
        synchronize(device)
        start = time.perf_counter()
        dist.all_reduce(numbers, group=group)
        synchronize(device)
        seconds.append(time.perf_counter() - start)
        right &= bool((numbers == size * (size + 1) / 2).all())
    milliseconds = [1000 * each for each in seconds[1:]]
    return Reduction(backend, right, statistics.median(milliseconds), max(milliseconds))


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
