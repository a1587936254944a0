"""How ranks agree at the boundary between two steps, at next to no cost.

Each rank casts its votes and all learn the highest. Not at every step: the ranks meet about twice a second, at
boundaries that rank 0 counts out, so the few hundred microseconds of a reduction stay below a thousandth of the time
whatever a step takes. The reduction is of CPU memory, over gloo, so that no GPU is waited for.
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
        stop: a signal's number, or another cause to save and stop; 0 to go on.
        bad_batch: number of the first batch with a loss that is no finite number; NO_BATCH if there is none.
        save: rank 0 wants a checkpoint.
    """

    stop: int = 0
    bad_batch: int = NO_BATCH
    save: bool = False


class Agreement:
    """The ranks of a job at the boundaries of its steps.

    Args:
        world_size: 1 agrees with itself, at every boundary.
    """

    def __init__(self, world_size: int) -> None:
        self.group: Any = distributed.new_group(backend="gloo") if world_size > 1 else None
        self.left = 0  # boundaries until the ranks meet
        self.passed = 0  # since they met
        self.met = time.monotonic()

    def due(self) -> bool:
        """Whether the ranks meet at this boundary; to be asked once at each."""
        self.left, self.passed = self.left - 1, self.passed + 1
        return self.left <= 0

    def reach(self, votes: Votes) -> Votes:
        """All ranks' votes as one; every rank has to come."""
        if self.group is None:
            return votes
        own = torch.tensor([votes.stop, -votes.bad_batch, int(votes.save), self._next()])
        distributed.all_reduce(own, distributed.ReduceOp.MAX, group=self.group)
        stop, bad_batch, save, self.left = own.tolist()
        return Votes(stop, -bad_batch, bool(save))

    def _next(self) -> int:
        """Rank 0's count of boundaries until the ranks meet again."""
        now = time.monotonic()
        per_step, self.met = (now - self.met) / max(self.passed, 1), now
        passed, self.passed = self.passed, 0
        if distributed.get_rank() != 0:
            return 0
        # At most twice as far as the last time: the first steps are slow, and one short one proves nothing.
        return max(1, min(int(SECONDS_BETWEEN / max(per_step, 1e-6)), 2 * passed))
