"""Two ranks of one run beside two independent ones: how long they wait for each other.

    torchrun --standalone --nproc-per-node 2 -m lightning_app.bench.contestants.rank_scaling

Each process has an equal part of the cores and of the batch, and takes steps alternately with and without DDP around
the same model; both start every turn together. Rank 0 prints JSON: images/s of all processes, by contestant.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator

import torch
from torch import distributed

from lightning_app.bench.ddp_buckets import STEPS, seconds, stepper
from lightning_app.trainer.malloc import keep_freed_memory
from lightning_app.trainer.process_group import process_group
from lightning_app.trainer.strategy import BUCKET_MB

WARMUP_TURNS = 1
OURS = {"gradient_as_bucket_view": True, "bucket_cap_mb": BUCKET_MB}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=64, help="over all ranks (default: 64)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no turn that would end later")
    parser.add_argument("--image_size", type=int, default=224, help="side in pixels (default: 224)")
    return parser.parse_args()


def main() -> None:
    """Measure both, and print."""
    options = parse()
    keep_freed_memory()
    images = options.batch_size
    with process_group() as plan:
        options.batch_size //= distributed.get_world_size()
        contestants = {"ddp": stepper(OURS, plan, options), "independent": stepper(None, plan, options)}
        turns = [
            {name: seconds(step) for name, step in contestants.items()}
            for _ in turns_that_fit(options.turns + WARMUP_TURNS, options.seconds, plan.device)
        ][WARMUP_TURNS:]
        if distributed.get_rank() == 0:
            totals = {name: sum(turn[name] for turn in turns) for name in contestants}
            print(json.dumps({name: STEPS * images * len(turns) / total for name, total in totals.items()}))


def turns_that_fit(most: int, seconds: float, device: torch.device) -> Iterator[int]:
    """The number of turns, at least one that counts, until the next would end after `seconds`; all ranks agree."""
    began = last = time.perf_counter()
    for number in range(most):
        now = time.perf_counter()
        late = torch.tensor([int(now + (now - last) > began + seconds)], device=device)
        distributed.all_reduce(late, op=distributed.ReduceOp.MAX)
        if number > WARMUP_TURNS and late.item():
            return
        last = now
        yield number


if __name__ == "__main__":
    main()
