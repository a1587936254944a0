"""Two ranks of one run beside two independent ones: what they have to wait for each other.

    torchrun --standalone --nproc-per-node 2 -m lightning_app.bench.rank_scaling

Each process has an equal part of the cores and of the batch, and takes steps in turn with and without DDP around the
same model; both start every turn together. Rank 0 prints JSON: images/s of all processes, by contestant.
"""

from __future__ import annotations

import argparse
import json

from torch import distributed

from lightning_app.bench.ddp_buckets import STEPS, seconds, stepper
from lightning_app.trainer.malloc import keep_freed_memory
from lightning_app.trainer.process_group import process_group
from lightning_app.trainer.strategy import BUCKET_MB

OURS = {"gradient_as_bucket_view": True, "bucket_cap_mb": BUCKET_MB}


def main() -> None:
    """Measure both, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=64, help="of all ranks together (default: 64)")
    parser.add_argument("--image_size", type=int, default=224, help="side in pixels (default: 224)")
    options = parser.parse_args()
    keep_freed_memory()
    images = options.batch_size
    with process_group() as plan:
        options.batch_size //= distributed.get_world_size()
        contestants = {"ddp": stepper(OURS, plan, options), "independent": stepper(None, plan, options)}
        turns = [{name: seconds(step) for name, step in contestants.items()} for _ in range(options.turns + 1)][1:]
        if distributed.get_rank() == 0:
            totals = {name: sum(turn[name] for turn in turns) for name in contestants}
            print(json.dumps({name: STEPS * images * len(turns) / total for name, total in totals.items()}))


if __name__ == "__main__":
    main()
