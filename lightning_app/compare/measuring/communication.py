"""What exchanging gradients costs: the same training steps, alternating with and without it."""

# No `from __future__ import annotations`: DDP compares a hook's annotations with types, not with their names.

from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from lightning_app.compare.measuring.timestamps import Mark, length, mark

FIRST = 1  # pairs that are not counted: the hook is new


class Communication:
    """Alternates between steps that reduce their gradients and steps that keep them, after the counted steps.

    Without the exchange ranks drift apart, so this comes last, and the model should not be used afterwards. All ranks
    start each step together, so that none is charged with another's delay in the previous step.

    Args:
        model: whose gradients are exchanged.
        device: of training.
        pairs: number of steps with, and of steps without.

    Attributes:
        seconds: of the counted steps, `with` and `without`.
        buckets: for each counted step without, the bytes of every gradient bucket and the seconds since the start of
            the step after which it was ready to be sent.
    """

    def __init__(self, model: DistributedDataParallel, device: torch.device, pairs: int) -> None:
        self.seconds: dict[str, list[float]] = {"with": [], "without": []}
        self.buckets: list[list[tuple[int, float]]] = []
        self._device, self._pairs, self._steps = device, pairs, 0
        self._began, self._ready = mark(device), list[tuple[int, Mark]]()
        model.register_comm_hook(None, self._reduce)

    @property
    def done(self) -> bool:
        """Whether all pairs have been measured."""
        return self._steps >= 2 * (FIRST + self._pairs)

    @property
    def _kind(self) -> str:
        return "without" if self._steps % 2 else "with"

    def begin(self) -> None:
        """Before a step."""
        dist.barrier()
        self._began, self._ready = mark(self._device), []

    def end(self) -> None:
        """After it."""
        if self._steps >= 2 * FIRST:
            self.seconds[self._kind].append(length(self._began, mark(self._device)))
            if self._kind == "without":
                self.buckets.append([(size, length(self._began, ready)) for size, ready in self._ready])
        self._steps += 1

    def _reduce(self, state: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        """As DDP does by default, or not at all."""
        buffer = bucket.buffer()
        self._ready.append((buffer.nbytes, mark(self._device)))
        if self._kind == "without":
            kept: torch.futures.Future[torch.Tensor] = torch.futures.Future()
            kept.set_result(buffer)
            return kept
        reduced = dist.all_reduce(buffer.div_(dist.get_world_size()), async_op=True)
        return reduced.get_future().then(lambda future: future.value()[0])
