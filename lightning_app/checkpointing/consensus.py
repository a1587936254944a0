"""How ranks agree between two steps, at almost no cost.

Each rank casts its votes, and all learn the highest. They do not do this at every step, but about twice a second, at
boundaries that rank 0 schedules, so the few hundred microseconds of an all-reduce stay below a thousandth of the time,
whatever a step takes. The all-reduce runs in CPU memory, over gloo, so no GPU has to be waited for.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed

SECONDS_BETWEEN = 0.5
NO_BATCH = 1 << 62


@dataclass(frozen=True)
class Votes:
    """What a rank wants, and then what all have agreed on.

    Attributes:
        stop: a signal's number, or another reason to save and stop; 0 to continue.
        bad_batch: number of the first batch with a NaN or infinite loss; NO_BATCH if there is none.
        save: rank 0 wants a checkpoint.
    """

    stop: int = 0
    bad_batch: int = NO_BATCH
    save: bool = False


class Agreement:
    """The ranks of a job at the boundaries of its steps.

    Args:
        world_size: with 1, every boundary agrees with itself.
    """

    def __init__(self, world_size: int) -> None:
        self.group: Any = distributed.new_group(backend="gloo") if world_size > 1 else None
        self.left = 0  # boundaries until the ranks agree
        self.passed = 0  # since they last agreed
        self.met = time.monotonic()

    def due(self) -> bool:
        """Whether the ranks agree at this boundary; call it once at each."""
        self.left, self.passed = self.left - 1, self.passed + 1
        return self.left <= 0

    def reach(self, votes: Votes) -> Votes:
        """Combine all ranks' votes; every rank has to call it."""
        if self.group is None:
            return votes
        own = torch.tensor([votes.stop, -votes.bad_batch, int(votes.save), self._next()])
        distributed.all_reduce(own, distributed.ReduceOp.MAX, group=self.group)
        stop, bad_batch, save, self.left = own.tolist()
        return Votes(stop, -bad_batch, bool(save))

    def _next(self) -> int:
        """Rank 0's count of boundaries until the ranks agree again."""
        now = time.monotonic()
        per_step, self.met = (now - self.met) / max(self.passed, 1), now
        passed, self.passed = self.passed, 0
        if distributed.get_rank() != 0:
            return 0
        # At most twice as far as the last time: the first steps are slow, and a single short one proves nothing.
        return max(1, min(int(SECONDS_BETWEEN / max(per_step, 1e-6)), 2 * passed))
