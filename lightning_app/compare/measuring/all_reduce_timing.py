"""All-reduce from 1 kB to 64 MB over the current link: a program for a launcher's ranks.

    mpirun -np 2 python -m lightning_app.compare.measuring.all_reduce_timing FOLDER

Each rank writes rank-r.json: {"points": [{"bytes", "seconds", "low", "high"}], ...}, the median of several.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from lightning_app.doctor.all_reduce import synchronize
from lightning_app.files import replace_file
from lightning_app.trainer.process_group import process_group

SIZES = (*(1024 * 4**power for power in range(8)), 64 << 20)  # 1 kB to 16 MB by fours, and 64 MB
SECONDS_A_SIZE = 0.5
LEAST, MOST = 3, 50  # how often each is measured
BYTES = 4  # of a float32


def main(folder: Path) -> None:
    """Measure all sizes."""
    with process_group() as plan:
        device = plan.device
        if device.type == "cuda":
            torch.cuda.set_device(device)
        rank = dist.get_rank()
        found = {
            "rank": rank,
            "world_size": dist.get_world_size(),
            "device": device.type,
            "backend": dist.get_backend(),
            "points": [point(size, device) for size in SIZES],
        }
        replace_file(folder / f"rank-{rank}.json", json.dumps(found).encode())
        dist.barrier()


def point(size: int, device: torch.device) -> dict[str, Any]:
    """One size: bytes, and the seconds of an all-reduce."""
    numbers = torch.zeros(size // BYTES, device=device)
    timed(numbers)  # connections and buffers
    slowest = torch.tensor([timed(numbers)], device=device)
    dist.all_reduce(slowest, op=dist.ReduceOp.MAX)  # so that all ranks measure equally often
    often = min(MOST, max(LEAST, int(SECONDS_A_SIZE / slowest.item())))
    seconds = [timed(numbers) for _ in range(often)]
    return {"bytes": size, "seconds": statistics.median(seconds), "low": min(seconds), "high": max(seconds)}


def timed(numbers: torch.Tensor) -> float:
    """Seconds of one all-reduce, with all ranks starting together."""
    dist.barrier()
    synchronize(numbers.device)
    began = time.perf_counter()
    dist.all_reduce(numbers)
    synchronize(numbers.device)
    return time.perf_counter() - began


if __name__ == "__main__":
    main(Path(sys.argv[1]))
