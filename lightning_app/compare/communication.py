"""What exchanging gradients costs: the same training steps in turn with and without it."""

# No `from __future__ import annotations`: DDP compares a hook's annotations with types, not with their names.

import time
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from lightning_app.compare.rules import PAIRS

FIRST = 1  # pairs that are not counted: the hook is new


class Communication:
    """Takes turns between steps that reduce their gradients and steps that keep them, after the counted steps.

    Without the exchange ranks drift apart, so this comes last, and the model is not to be used. All ranks begin each
    step together, so that none is charged with the delay of another's step before.

    Attributes:
        seconds: of the counted steps, `with` and `without`.
    """

    def __init__(self, model: DistributedDataParallel, device: torch.device) -> None:
        self.seconds: dict[str, list[float]] = {"with": [], "without": []}
        self._device, self._began, self._steps = device, 0.0, 0
        model.register_comm_hook(None, self._reduce)

    @property
    def done(self) -> bool:
        """Whether all pairs have been measured."""
        return self._steps >= 2 * (FIRST + PAIRS)

    @property
    def _kind(self) -> str:
        return "without" if self._steps % 2 else "with"

    def begin(self) -> None:
        """Before a step."""
        dist.barrier()
        self._began = self._now()

    def end(self) -> None:
        """After it."""
        if self._steps >= 2 * FIRST:
            self.seconds[self._kind].append(self._now() - self._began)
        self._steps += 1

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def _reduce(self, state: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        """As DDP does by itself, or not at all."""
        if self._kind == "without":
            kept: torch.futures.Future[torch.Tensor] = torch.futures.Future()
            kept.set_result(bucket.buffer())
            return kept
        reduced = dist.all_reduce(bucket.buffer().div_(dist.get_world_size()), async_op=True)
        return reduced.get_future().then(lambda future: future.value()[0])
