"""Which images a rank sees in a step: batches as positions, not as pixels.

The order of an epoch is a function of (seed, epoch) alone and the batch size is the global batch's, so 1, 2 or 64 ranks
go through the same batches, each taking its slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.augmentation import DRAWS, FIRST_DRAWS


class Shard(NamedTuple):
    """One rank's part of one global batch.

    Attributes:
        split: train, val or test.
        epoch: decides the order and the random draws.
        start, stop: positions in the epoch's order; equal if this rank has no images.
        size: images to put into the batch, at least 1; those beyond `stop - start` are padding.
        global_size: images in the global batch, over all ranks.
        first: position at which the global batch starts.
    """

    split: str
    epoch: int
    start: int
    stop: int
    size: int
    global_size: int
    first: int = 0


class TrainShards:
    """A training epoch: this rank's slices of the global batches, in order; the last batch is short.

    Args:
        num_images: images in the split.
        batch_size: of the global batch.
        rank, world_size: this process among those that share a batch.
        epoch: called when an epoch starts; returns its number.
        behind: called then too; returns how many of its batches are done, if the run is resumed.
    """

    def __init__(
        self,
        num_images: int,
        batch_size: int,
        rank: int,
        world_size: int,
        epoch: Callable[[], int],
        behind: Callable[[], int] = lambda: 0,
    ) -> None:
        self.num_images, self.batch_size = num_images, batch_size
        self.rank, self.world_size = rank, world_size
        self.epoch, self.behind = epoch, behind

    def __len__(self) -> int:
        return -(-self.num_images // self.batch_size)

    def __iter__(self) -> Iterator[Shard]:
        epoch = self.epoch()
        for first in range(self.behind() * self.batch_size, self.num_images, self.batch_size):
            yield self.shard(epoch, first)

    def state_dict(self) -> dict[str, int]:
        """Empty, because the trainer counts the batches; its existence tells Lightning that an epoch can be resumed."""
        return {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Nothing to do."""

    def shard(self, epoch: int, first: int) -> Shard:
        """This rank's slice of the global batch that starts at position `first`."""
        global_size = min(self.batch_size, self.num_images - first)
        start = first + self.rank * global_size // self.world_size
        stop = first + (self.rank + 1) * global_size // self.world_size
        return Shard("train", epoch, start, stop, max(stop - start, 1), global_size, first)


class EvalShards:
    """Every image of a split once, in order, in chunks of one size dealt to the ranks in turn.

    The last chunk is padded to the full size: logits differ in their last bits with the size of the batch, and so could
    a count if the chunks depended on the number of ranks. A rank without a chunk gets one of padding only: Lightning
    skips an empty loader, and the other ranks would wait for it at the end.
    """

    def __init__(self, split: str, num_images: int, chunk_size: int, rank: int, world_size: int) -> None:
        self.split, self.num_images, self.chunk_size = split, num_images, chunk_size
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return max(len(self._starts()), 1)

    def __iter__(self) -> Iterator[Shard]:
        for start in self._starts():
            stop = min(start + self.chunk_size, self.num_images)
            yield Shard(self.split, 0, start, stop, self.chunk_size, stop - start)
        if not self._starts():
            yield Shard(self.split, 0, 0, 0, self.chunk_size, 0)

    def _starts(self) -> range:
        return range(self.rank * self.chunk_size, self.num_images, self.world_size * self.chunk_size)


class EpochDraws(NamedTuple):
    """Everything random in an epoch, drawn at once so that no step has to.

    Attributes:
        order: int64 [N], positions to indices within the split.
        draws: float32 [N, DRAWS], uniform in [0, 1), by position.
    """

    order: Tensor
    draws: Tensor


def draw_epoch(num_images: int, seed: int, epoch: int, balanced: Tensor | None = None) -> EpochDraws:
    """The order and the draws of an epoch: the same on every rank and device.

    Args:
        num_images: images in the split.
        balanced: int64 [num_images], labels, for an order in which every class has the same share; None uses each image
            once.
    """
    seeds = np.random.SeedSequence((seed, epoch)).generate_state(3, np.uint64)
    order, first, more = (torch.Generator().manual_seed(int(each >> 1)) for each in seeds)
    draws = torch.rand(num_images, FIRST_DRAWS, generator=first)
    draws = torch.cat([draws, torch.rand(num_images, DRAWS - FIRST_DRAWS, generator=more)], dim=1)
    return EpochDraws(shuffle(num_images, order) if balanced is None else balance(balanced, order), draws)


def shuffle(num_images: int, generator: torch.Generator) -> Tensor:
    """int64 [num_images], each once."""
    return torch.randperm(num_images, generator=generator)


def balance(labels: Tensor, generator: torch.Generator) -> Tensor:
    """int64 [N], indices; each class has N / classes of them, or one more.

    Within a class, every image appears once before any appears twice, so that nothing repeats more than necessary.
    """
    classes = labels.unique()
    extra = torch.randperm(len(classes), generator=generator) < len(labels) % len(classes)
    parts = []
    for label, more in zip(classes, extra.tolist(), strict=True):
        indices = (labels == label).nonzero().flatten()
        wanted = len(labels) // len(classes) + more
        rounds = [indices[shuffle(len(indices), generator)] for _ in range(-(-wanted // len(indices)))]
        parts.append(torch.cat(rounds)[:wanted] if rounds else indices[:0])
    drawn = torch.cat(parts)
    return drawn[shuffle(len(drawn), generator)]
