"""The cost for ranks to agree at a boundary, without the time they wait for each other.

python -m torch.distributed.run --nproc-per-node 2 tests/cluster/agreement_cost.py
"""

from __future__ import annotations

import statistics
import time

from torch import distributed

from lightning_app.checkpointing.consensus import SECONDS_BETWEEN, Agreement, Votes

ROUNDS = 500


def main() -> None:
    """Measure; rank 0 prints the median."""
    distributed.init_process_group("gloo")
    agreement, seconds = Agreement(distributed.get_world_size()), []
    for _ in range(ROUNDS):
        distributed.barrier()
        began = time.perf_counter()
        agreement.reach(Votes())
        seconds.append(time.perf_counter() - began)
    median = statistics.median(seconds)
    if distributed.get_rank() == 0:
        print(f"{1e6 * median:.0f} us, at most {median / SECONDS_BETWEEN:.3%} of the time")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
